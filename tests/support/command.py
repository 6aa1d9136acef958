"""The command `motionq` as its users run it: a process of its own, and what it writes to a terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from support.shared import nursery
from support.waiting import eventually

MOTIONQ = (sys.executable, "-m", "motionq")
WHOLE = "motionq_ops.entry"  # the program with all of its verbs; `motionq` as a module has the job verbs alone


def run(
    module: str, words: Sequence[str], folder: Path, env: Mapping[str, str], *, stdin: str = "", timeout: float = 60.0
) -> Answer:
    """`python -m MODULE WORDS` to its end, in this folder and environment; forked, so that it need not import all.

    For what is said to a terminal or cut off in the middle start a process in the usual way.
    """
    with TemporaryDirectory() as name:
        given, out, err = (Path(name, stream) for stream in ("stdin", "stdout", "stderr"))
        given.write_text(stdin)
        child = nursery().start([module, *words], env, out, errors=err, stdin=given, folder=folder)
        try:
            eventually(lambda: child.code() is not None, timeout, interval=0.005)
        finally:
            child.kill()
        return Answer(child.code() or 0, out.read_text(), err.read_text())


@dataclass(frozen=True)
class Answer:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def jsons(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> dict[str, object]:
        (only,) = self.jsons
        assert list(only) == ["error"]
        error = only["error"]
        assert isinstance(error, dict)
        assert list(error) == ["kind", "field", "limit", "value", "message"]
        return error


class Command:
    """`motionq` in an empty folder, with nothing of the developer's environment."""

    def __init__(self, folder: Path, redis_url: str, namespace: str) -> None:
        self.folder = folder
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "REDIS_URL": redis_url,
            "MOTIONQ_NAMESPACE": namespace,
            "MOTIONQ_DATA_DIR": str(folder / "data"),
        }

    def __call__(self, *args: str, stdin: str = "", **env: str) -> Answer:
        return self.run("motionq", *args, stdin=stdin, **env)

    def run(self, module: str, *args: str, stdin: str = "", **env: str) -> Answer:
        """The same with another module than `motionq`."""
        answer = run(module, args, self.folder, self.env | env, stdin=stdin)
        assert "Traceback" not in answer.err
        assert "\x1b" not in answer.out + answer.err
        return answer

    def start(self, *args: str, stdout: int | IO[bytes], stderr: int | IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*MOTIONQ, *args],
            cwd=self.folder,
            env=self.env | {"TERM": "xterm", "COLUMNS": "100", "LINES": "30"},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )


class Screen:
    """All that a program writes to its terminal."""

    def __init__(self, fd: int) -> None:
        self.text = ""
        self._fd = fd
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while chunk := self._chunk():
            self.text += chunk.decode()

    def _chunk(self) -> bytes:
        try:
            return os.read(self._fd, 65536)
        except OSError:  # how Linux says that the other side of a terminal was closed
            return b""

    def ended(self) -> None:
        """Waits until the program's side is closed."""
        self._reader.join(timeout=10)
        assert not self._reader.is_alive()
