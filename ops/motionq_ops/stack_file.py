"""Where a running stack says that it runs: a lock, and `stack.json` for every command on this machine."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from motionq.contract.errors import MotionQueueError
from motionq.contract.local_stack import LOCK_FILE, STACK_FILE

_TRIES, _PAUSE = 5, 0.1  # a command that looks whether we run holds the lock for an instant


class AlreadyRunning(MotionQueueError):
    """Another stack runs over this data directory; the message is one sentence."""


@contextmanager
def sole_owner(data_dir: Path) -> Iterator[None]:
    """Own the data directory as long as the block runs. Raises AlreadyRunning.

    The kernel drops the lock with the process that holds it, so a stale stack.json is no obstacle.
    """
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (data_dir / LOCK_FILE).open("ab") as lock:
        if not any(_locked(lock, wait=_PAUSE if left else 0.0) for left in reversed(range(_TRIES))):
            raise AlreadyRunning(_by_whom(data_dir))
        remove(data_dir)  # what a killed one left behind
        yield


def _locked(lock: IO[bytes], *, wait: float) -> bool:
    """Whether the lock is ours now; `wait`: seconds until the next try."""
    try:
        fcntl.flock(lock.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(wait)
        return False
    return True


def _by_whom(data_dir: Path) -> str:
    pid = read(data_dir).get("pid")
    process = f" (process {pid})" if pid else ""
    return f"a stack runs already over {data_dir}{process}: end it first, or take another --data-dir"


def read(data_dir: Path) -> dict[str, Any]:
    """What the stack of this data directory said; empty if there is none."""
    with suppress(OSError, ValueError):
        found = json.loads((data_dir / STACK_FILE).read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}


def write(data_dir: Path, addresses: dict[str, Any]) -> None:
    """Say where the stack listens; readers see the whole file or none. Only this user can read it."""
    path = data_dir / STACK_FILE
    part = path.with_name(f"{path.name}.part")
    part.touch(mode=0o600)
    part.write_text(json.dumps(addresses | {"pid": os.getpid()}, indent=1) + "\n", encoding="utf-8")
    part.replace(path)


def remove(data_dir: Path) -> None:
    """Take the word back."""
    (data_dir / STACK_FILE).unlink(missing_ok=True)
