"""How commands on this machine find the stack that `motionq up` runs, and notice that it has gone.

`up` holds a lock on a file in its data directory as long as it lives; the kernel drops the lock with the process,
however that ends. So an address that was left behind is never taken for a server's: by now somebody else may listen
there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from motionq.contract.errors import QueueUnavailable

if sys.platform != "win32":  # the library runs there, the local stack does not
    import fcntl

STACK_FILE = "stack.json"
LOCK_FILE = "up.lock"
_UNKNOWN = "no queue server is known: start one with `motionq up --sandbox`, or set REDIS_URL"


def local_server(folder: Path) -> str:
    """The Redis URL that a running `motionq up` wrote into its data directory. Raises QueueUnavailable."""
    try:
        url = str(_told(folder)["redis_url"])
    except (OSError, ValueError, KeyError):
        raise QueueUnavailable(_UNKNOWN) from None
    if not runs(folder):
        raise QueueUnavailable(
            f"the local stack in {folder} has ended without cleaning up: start it again with `motionq up`, or set"
            " REDIS_URL"
        )
    return url


def local_stack(folder: Path) -> dict[str, Any]:
    """Everything that a running `motionq up` wrote into its data directory; nothing where none runs."""
    try:
        return _told(folder) if runs(folder) else {}
    except (OSError, ValueError):
        return {}


def _told(folder: Path) -> dict[str, Any]:
    found = json.loads((folder / STACK_FILE).read_text(encoding="utf-8"))
    return found if isinstance(found, dict) else {}


def runs(folder: Path) -> bool:
    """Whether a `motionq up` lives over this data directory."""
    if sys.platform == "win32":
        return False
    try:
        with (folder / LOCK_FILE).open("rb") as lock:
            fcntl.flock(lock.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
