"""Finds out that the server's data is older than it was: a backup was restored, and may lack purchases."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

from motionq.contract.store import JobStore, reachable

_EVERY = 10.0  # seconds between two beats
_OLDER = 120_000  # ms by which a restored backup is told from a loss of power (2 s at most)


class Beat:
    """The server's clock, noted on the server and on this machine; the two part when the server goes back in time.

    Beside it stands a random name of these records, and so in the file's name: another server's records may be used
    from this machine as well, and their clock says nothing about these.
    """

    def __init__(self, store: JobStore, folder: Path) -> None:
        self._store = store
        self._folder = folder
        self._next = 0.0

    def beat(self) -> None:
        """Compares and notes, every 10 s. Raises QueueUnavailable."""
        if time.monotonic() < self._next:
            return
        with reachable():
            name, _, there = str(self._store.redis.get(self._store.keys.beat) or "").partition(" ")
        name = name or secrets.token_hex(8)
        file = self._folder / f"beat-{self._store.keys.namespace}-{name}"
        if 0 < int(there or 0) < _noted(file) - _OLDER:
            self._store.pause(
                "restored",
                "the records are older than what this worker has seen: look at kie.ai/logs for purchases that are "
                "missing, then resume",
            )
        now = self._store.now()
        with reachable():
            self._store.redis.set(self._store.keys.beat, f"{name} {now}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(str(now), encoding="utf-8")
        self._next = time.monotonic() + _EVERY


def _noted(file: Path) -> int:
    try:
        return int(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0
