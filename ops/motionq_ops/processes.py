"""One child process of the local stack: its command, its log, its end."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from motionq_ops.leash import leashed

LOG_LIMIT = 10 * 1000**2  # bytes; a longer log is put aside when its process starts


class Service(Protocol):
    """What a supervisor needs of a part of the stack."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def log(self) -> Path:
        """Where it writes."""

    def start(self) -> None:
        """Start it; call from the main thread (see leash.py)."""

    def ended(self) -> int | None:
        """Its exit code (negative: the signal that ended it) once it has ended; None while it runs."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """How a child is run. `log` receives what it prints."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    folder: Path | None = None  # None: where we are


class Child:
    """A child process in a session of its own, so that Ctrl+C reaches it through us alone."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """What people call it."""
        return self.command.name

    @property
    def log(self) -> Path:
        """Where it writes."""
        return self.command.log

    @property
    def pid(self) -> int | None:
        """Its process ID once it was started."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start it; what it prints is added to its log."""
        set_aside(self.log)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                leashed(list(self.command.argv)),
                env=dict(self.command.environment),
                cwd=self.command.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def ended(self) -> int | None:
        """Its exit code (negative: the signal that ended it) once it has ended; None while it runs."""
        return self._process.poll() if self._process else None

    def terminate(self) -> None:
        """Ask it to end."""
        if self._process and self._process.poll() is None:
            self._process.terminate()

    def kill(self) -> None:
        """End it and whatever it started, at once."""
        if self._process:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def wait(self, seconds: float) -> bool:
        """Whether it has ended within `seconds`."""
        if self._process is None:
            return True
        try:
            self._process.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            return False
        return True


def set_aside(log: Path) -> None:
    """Keep a log bounded: one longer than `LOG_LIMIT` becomes NAME.log.1, in place of an older one."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_LIMIT:
        log.replace(log.with_name(f"{log.name}.1"))


def last_words(log: Path) -> str:
    """The last line that a process wrote."""
    with suppress(OSError), log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
        lines = file.read().decode(errors="replace").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "it wrote nothing")
    return "it wrote nothing"
