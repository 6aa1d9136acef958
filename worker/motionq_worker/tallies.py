"""Sees to it that the counts of jobs by state and tenant add up: a release that keeps none may run beside this one."""

from __future__ import annotations

import logging
import time

from motionq.contract.store import JobStore, reachable

EVERY = 300.0  # seconds between two looks of one worker

_log = logging.getLogger(__name__)


class Tallies:
    """Called at each tick by the worker whose turn it is."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._next = 0.0

    def look(self) -> None:
        """Has jobs counted anew where the counts are wrong (contract/lua/recount.lua). Raises QueueUnavailable."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + EVERY
        with reachable():
            states = self._store.scripts.run("recount", {})
        if states:
            _log.info("jobs by tenant did not add up and were counted anew: %s", ", ".join(sorted(states)))
