"""A helper: a process beside this one that forks a decoder for each file. `decoders.py` is what it runs.

It knows no secret, and ends with this process however that ends, since this one holds the only other end of its control
channel.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

# What it needs to find its interpreter and libraries; everything else, keys and tokens included, stays here.
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME")
_PATIENCE = 30.0  # seconds in which a helper must take a request; the first one waits for its imports
_END = 5.0  # seconds in which it must end
_MOST = 64 * 1024  # bytes of an answer: one that was made to write without end takes no memory of ours


class Ended(NamedTuple):
    """What a decoder wrote, and its exit code (below 0: the signal that ended it)."""

    output: bytes
    code: int


class Helper:
    """One helper process, for any number of threads at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair()
        self._control.settimeout(_PATIENCE)
        try:
            with theirs:
                self._process = _start(theirs)
        except BaseException:
            self._control.close()
            raise

    @property
    def pid(self) -> int:
        """Its process ID."""
        return self._process.pid

    def ask(self, request: bytes, seconds: float) -> Ended | None:
        """Have one file decoded; None when this helper is gone.

        Raises TimeoutError after `seconds`, and OSError where no process can be forked.
        """
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                if not self._hand_over(request, ours, theirs):
                    return None
            try:
                return _ended(_read(ours, seconds))
            finally:
                with suppress(OSError):  # closing alone is not seen where a process forked meanwhile has a copy
                    ours.shutdown(socket.SHUT_RDWR)

    def close(self) -> int:
        """End it with all its decoders; returns its exit code. May be repeated."""
        with self._lock:
            self._control.close()
        try:
            return self._process.wait(_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def forget(self) -> None:
        """In a forked process: it is the parent's, and must not live on through us."""
        self._control.close()
        self._process.returncode = 0  # not ours to wait for

    def _hand_over(self, request: bytes, ours: socket.socket, theirs: socket.socket) -> bool:
        """Whether the helper took the request."""
        with self._lock, suppress(OSError):
            ours.sendall(request)
            socket.send_fds(self._control, [b"?"], [theirs.fileno()])
            return bool(self._control.recv(1))
        return False


def _start(control: socket.socket) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "motionq_worker.decoders"],
        stdin=control.fileno(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=_environment(),
        cwd="/",
        start_new_session=True,  # Ctrl+C is for the worker, which may still have files to look at
    )


def _environment() -> dict[str, str]:
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return passed | {"PYTHONPATH": os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path if entry)}


def _read(answer: socket.socket, seconds: float) -> bytes:
    """The end of what comes, when it has ended. Raises TimeoutError."""
    ends, output = time.monotonic() + seconds, b""
    with suppress(ConnectionError):  # the helper was killed: what came until then
        while chunk := _receive(answer, ends):
            output = (output + chunk)[-_MOST:]
    return output


def _receive(answer: socket.socket, ends: float) -> bytes:
    left = ends - time.monotonic()
    if left <= 0:
        raise TimeoutError
    answer.settimeout(left)
    return answer.recv(_MOST)


def _ended(said: bytes) -> Ended | None:
    """An answer without the helper's line behind it: the helper is gone."""
    output, _, last = said.rstrip(b"\n").rpartition(b"\n")
    match _words(last):
        case {"code": int(code)}:
            return Ended(output, code)
        case {"errno": int(number)}:
            raise OSError(number, os.strerror(number))
    return None


def _words(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None
