"""Run a program that ends with the process that started it, even if that one is killed.

Used as `python -I -S leash.py PARENT PROGRAM ARGUMENTS…`: it becomes PROGRAM, with the same process ID. On Linux the
kernel does the rest (prctl(2), PR_SET_PDEATHSIG; it watches the parent's *thread*, so start children from the main
thread). Elsewhere a small process beside the program looks after the parent twice a second.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # <sys/prctl.h>
_LOOK_SECONDS = 0.5


def leashed(program: list[str]) -> list[str]:
    """The command that runs `program` on a leash held by this process."""
    return [sys.executable, "-I", "-S", str(Path(__file__).resolve()), str(os.getpid()), *program]


def _ask_the_kernel() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def _start_watchdog(parent: int) -> None:
    """Fork a process that kills this one when `parent` is gone, and ends with this one."""
    program = os.getpid()
    if os.fork():
        return
    os.closerange(0, 1024)  # a lock or a pipe of the program must not live on in here
    while os.getppid() == program:
        if not _alive(parent):
            os.kill(program, signal.SIGKILL)
        time.sleep(_LOOK_SECONDS)
    os._exit(0)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def main(arguments: list[str], *, kernel: bool = sys.platform == "linux") -> None:
    """Put this process on the leash and become the program."""
    parent = int(arguments[0])
    if kernel:
        _ask_the_kernel()
    else:
        _start_watchdog(parent)
    if os.getppid() != parent:  # it was gone before the leash was tied
        sys.exit(1)
    os.execvp(arguments[1], arguments[1:])  # noqa: S606 - no shell


if __name__ == "__main__":
    main(sys.argv[1:])
