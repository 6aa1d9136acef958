"""A sandbox in a process of its own, for the local stack, the demo and tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, Self
from urllib.parse import urlsplit

_START_SECONDS = 30.0
_STOP_SECONDS = 5.0
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class SandboxFailed(RuntimeError):
    """The sandbox did not start, or refused a control call; the text says why."""


class SandboxProcess:
    """Start and steer a sandbox. It ends with the process that started it, even if that one is killed.

    ``settings`` are the switches of :mod:`motionq_ops.sandbox.settings`; ``log`` is a file for its stderr.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        speed: float = 1.0,
        api_keys: Sequence[str] = ("sandbox-key",),
        hmac_key: str | None = None,
        credits: float = 100_000.0,
        settings: dict[str, Any] | None = None,
        arguments: Sequence[str] = (),
        log: Path | None = None,
    ) -> None:
        self.api_key = api_keys[0]
        self.url = ""
        self.files_url = ""
        self.port = port
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._command = _command(port, speed, api_keys, hmac_key, credits, settings or {}, arguments)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    @property
    def files_host(self) -> str:
        """Return the host and port of results and uploads: what a worker has to trust, since it is a private one."""
        return urlsplit(self.files_url).netloc

    @property
    def pid(self) -> int | None:
        """Return the process ID while it runs."""
        return self._process.pid if self._process else None

    def start(self) -> Self:
        """Start it and wait until it answers. Raises SandboxFailed."""
        with tempfile.TemporaryDirectory(prefix="motionq-sandbox-start-") as folder:
            ready, errors = Path(folder, "ready.json"), self._log or Path(folder, "stderr.txt")
            with errors.open("ab") as stderr:
                self._process = _spawn([*self._command, "--ready-file", str(ready)], stderr)
            try:
                _wait(ready.exists, self._process)
            except SandboxFailed as error:
                self.stop()
                raise SandboxFailed(f"{error}: {errors.read_text(errors='replace').strip()}") from None
            where = json.loads(ready.read_text(encoding="utf-8"))
        self.url, self.files_url, self.port = where["url"], where["files_url"], where["port"]
        return self

    def stop(self) -> None:
        """End it (SIGTERM, after 5 s SIGKILL); harmless when it does not run."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdin:
            process.stdin.close()

    def add_fault(
        self,
        fault: str,
        call: str | None = None,
        *,
        times: int | None = 1,
        skip: int = 0,
        match: dict[str, str] | None = None,
        **options: Any,
    ) -> None:
        """Order a fault: for the next ``times`` requests (None: all) after ``skip`` that fit. Raises SandboxFailed."""
        rule = {"fault": fault, "times": times, "skip": skip, "match": match or {}, **options}
        self.control("POST", "/sandbox/faults", rule | ({"call": call} if call else {}))

    def clear_faults(self) -> None:
        """Drop all fault rules."""
        self.control("DELETE", "/sandbox/faults")

    def ledger(self, call: str | None = None) -> list[dict[str, Any]]:
        """Return the requests so far, oldest first; of one call only, if named."""
        lines: list[dict[str, Any]] = self.control(
            "GET", f"/sandbox/ledger?call={call}" if call else "/sandbox/ledger"
        )["requests"]
        return lines

    def summary(self) -> dict[str, Any]:
        """Return the ledger's totals."""
        totals: dict[str, Any] = self.control("GET", "/sandbox/ledger?summary=1")["summary"]
        return totals

    def task(self, task_id: str) -> dict[str, Any]:
        """Return one task with its future."""
        found: dict[str, Any] = self.control("GET", f"/sandbox/tasks/{task_id}")
        return found

    def settings(self, **values: Any) -> dict[str, Any]:
        """Turn switches; returns all of them."""
        now: dict[str, Any] = self.control("POST", "/sandbox/settings", values)
        return now

    def advance(self, seconds: float) -> None:
        """Let simulated time jump forward."""
        self.control("POST", "/sandbox/advance", {"seconds": seconds})

    def set_credits(self, balance: float) -> None:
        """Set the balance of every account."""
        self.control("POST", "/sandbox/credits", {"balance": balance})

    def reset(self) -> None:
        """Forget tasks, uploads, ledger, faults and changed switches."""
        self.control("POST", "/sandbox/reset", {})

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """Call a control address. Raises SandboxFailed with the sandbox's own words."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, method=method)  # noqa: S310 - our own http address
        try:
            with _DIRECT.open(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise SandboxFailed(json.load(error)["error"]) from None


def _command(
    port: int,
    speed: float,
    keys: Sequence[str],
    hmac_key: str | None,
    credits: float,
    settings: dict[str, Any],
    arguments: Sequence[str],
) -> list[str]:
    command = [sys.executable, "-m", "motionq_ops.sandbox", "--stop-on-eof", f"--port={port}", f"--speed={speed}"]
    command += [f"--api-key={key}" for key in keys] + ([f"--hmac-key={hmac_key}"] if hmac_key else [])
    command += [f"--set={name}={json.dumps(value)}" for name, value in settings.items()]
    return [*command, f"--credits={credits}", *arguments]


def _spawn(command: list[str], stderr: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start it in a process group of its own, so that Ctrl+C reaches it through us alone."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        env=environment,
        start_new_session=True,
    )


def _wait(ready: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not ready():
        if process.poll() is not None:
            raise SandboxFailed(f"the sandbox ended with {process.returncode}")
        if time.monotonic() > deadline:
            raise SandboxFailed("the sandbox did not start in time")
        time.sleep(0.02)
