"""Finds out that the server's data is older than it was: a backup was restored, and may lack purchases."""

from __future__ import annotations

import time
from pathlib import Path

from motionq.contract.store import JobStore, reachable

_EVERY = 10.0  # seconds between two beats
_OLDER = 120_000  # ms by which a restored backup is told from a loss of power (2 s at most)


class Beat:
    """The server's clock, noted on the server and on this machine; the two part when the server goes back in time."""

    def __init__(self, store: JobStore, folder: Path) -> None:
        self._store = store
        self._file = folder / f"beat-{store.keys.namespace}"
        self._next = 0.0

    def beat(self) -> None:
        """Compares and notes, every 10 s. Raises QueueUnavailable."""
        if time.monotonic() < self._next:
            return
        with reachable():
            there = int(self._store.redis.get(self._store.keys.beat) or 0)
        if 0 < there < self._here() - _OLDER:
            self._store.pause(
                "restored",
                "the records are older than what this worker has seen: look at kie.ai/logs for purchases that are "
                "missing, then resume",
            )
        now = self._store.now()
        with reachable():
            self._store.redis.set(self._store.keys.beat, now)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text(str(now), encoding="utf-8")
        self._next = time.monotonic() + _EVERY

    def _here(self) -> int:
        try:
            return int(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return 0
