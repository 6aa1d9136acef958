"""`motionq up` as a process of its own, and what is left of it afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from motionq_ops.plan import without_settings
from motionq_ops.redis_server import free_port
from support.command import WHOLE, run
from support.waiting import eventually

COMMAND = (sys.executable, "-P", "-c", "from motionq_ops.cli import main; main()")


def environment(home: Path, **more: str) -> dict[str, str]:
    """A newcomer's environment: an empty home and no setting of motionq but those given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "PYTEST_"))}
    return without_settings(kept) | {"HOME": str(home)} | more


def quickly(home: Path, *words: str, timeout: float = 60.0, **more: str) -> subprocess.CompletedProcess[str]:
    """A verb that only says something, in the folder `home`: forked, for starting Python takes longer than the verb."""
    answer = run(WHOLE, words, home, environment(home, **more), timeout=timeout)
    return subprocess.CompletedProcess(words, answer.code, answer.out, answer.err)


def motionq(home: Path, *words: str, timeout: float = 60.0, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a verb of the command line to its end, in the folder `home`, in a process of its own from the beginning."""
    return subprocess.run(
        [*COMMAND, *words], env=environment(home, **more), cwd=home, capture_output=True, text=True, timeout=timeout
    )


class Up:
    """A running `motionq up`; `settings` are set for it alone, not for other commands."""

    def __init__(self, home: Path, words: Sequence[str], settings: Mapping[str, str]) -> None:
        self.home = home
        self.data = home / "data"
        self.errors = Path(tempfile.mkstemp(dir=home, suffix=".stderr")[1])
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*COMMAND, "up", "--data-dir", str(self.data), f"--callback-port={free_port()}", *words],
                env=environment(home, **settings),
                cwd=home,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        """Return when it says so; the line stands alone."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line == "motionq: ready\n", self.said()

    def said(self) -> str:
        """Everything on its stderr so far."""
        return self.errors.read_text(encoding="utf-8")

    @property
    def addresses(self) -> dict[str, Any]:
        """What it tells other commands."""
        found: dict[str, Any] = json.loads((self.data / "stack.json").read_text(encoding="utf-8"))
        return found

    def command(self, *words: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a verb that finds this stack."""
        return quickly(self.home, *words, timeout=timeout, MOTIONQ_DATA_DIR=str(self.data))

    def children(self) -> dict[int, str]:
        """Its living descendants: process ID to command line."""
        return descendants(self.process.pid)

    def child(self, part: str) -> int:
        """The process ID of the child whose command line contains `part`."""
        return next(pid for pid, command in self.children().items() if part in command)

    def order_fault(self, rule: dict[str, Any]) -> None:
        """Order a fault of the sandbox."""
        request = urllib.request.Request(f"{self.addresses['sandbox_url']}/sandbox/faults", json.dumps(rule).encode())
        urllib.request.urlopen(request, timeout=10).close()

    def ledger(self, call: str) -> list[dict[str, Any]]:
        """The sandbox's ledger of one call."""
        lines: list[dict[str, Any]] = self._of_the_sandbox(f"ledger?call={call}")["requests"]
        return lines

    def summary(self) -> dict[str, Any]:
        """The sandbox's totals."""
        totals: dict[str, Any] = self._of_the_sandbox("ledger?summary=1")["summary"]
        return totals

    def _of_the_sandbox(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.addresses['sandbox_url']}/sandbox/{path}", timeout=10) as answer:
            return json.load(answer)

    def interrupt(self, number: int = signal.SIGINT) -> float:
        """Send a signal; how many seconds it took to end."""
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(30)
        return time.monotonic() - began


@contextmanager
def up(home: Path, *words: str, **settings: str) -> Iterator[Up]:
    """A ready stack over `home`/data; whatever is left of it is killed afterwards."""
    stack = Up(home, words, settings)
    seen: dict[int, str] = {}
    try:
        stack.wait_until_ready()
        seen = stack.children()
        yield stack
    finally:
        seen |= stack.children()
        if stack.process.poll() is None:
            stack.interrupt()
        for pid in living(seen):
            os.kill(pid, signal.SIGKILL)
        if stack.process.stdout:
            stack.process.stdout.close()


def descendants(pid: int) -> dict[int, str]:
    """The living children of a process, and theirs: process ID to command line."""
    rows = _processes()
    found: dict[int, str] = {}
    parents = {pid}
    while parents:
        new = {child: command for child, (parent, command) in rows.items() if parent in parents and child not in found}
        found |= new
        parents = set(new)
    return found


def living(pids: Sequence[int] | dict[int, str]) -> set[int]:
    """Those of the processes that still run."""
    return set(pids) & set(_processes())


def gone(pids: Sequence[int] | dict[int, str], timeout: float) -> None:
    """Wait until all these processes have ended."""
    eventually(lambda: not living(pids), timeout)


def _processes() -> dict[int, tuple[int, str]]:
    listing = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=", "-o", "ppid=", "-o", "stat=", "-o", "command="],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.split(None, 3) for line in listing.stdout.splitlines()]
    return {int(row[0]): (int(row[1]), row[3]) for row in rows if len(row) == 4 and not row[2].startswith("Z")}
