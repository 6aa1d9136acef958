"""Asks now and then what the account has left (a free call), so that an operator hears of it before it is used up."""

from __future__ import annotations

import logging
import threading
import time

from motionq.contract.store import JobStore, reachable
from motionq_worker.kie.client import KieClient
from motionq_worker.kie.errors import KieFault

EVERY = 300.0  # seconds between two questions, for all workers together
_LOOK = 60.0  # seconds between two looks of one worker at whether somebody has asked

_log = logging.getLogger(__name__)


class Balance:
    """Called at each tick by the worker whose turn it is; asks in a thread of its own. The client notes the answer."""

    def __init__(self, store: JobStore, client: KieClient) -> None:
        self._store = store
        self._client = client
        self._next = 0.0
        self._asking: threading.Thread | None = None

    def look(self) -> None:
        """Asks, unless some worker has done so lately. Raises QueueUnavailable."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _LOOK
        with reachable():
            asked = self._store.redis.hget(self._store.keys.metrics, "credits_at")
        if time.time() - int(asked or 0) / 1000 < EVERY:
            return
        self._asking = threading.Thread(target=self._ask, name="motionq-balance", daemon=True)
        self._asking.start()

    def close(self) -> None:
        """Waits for a question under way."""
        if self._asking:
            self._asking.join(timeout=5)

    def _ask(self) -> None:
        try:
            self._client.credits()
        except KieFault as fault:
            _log.info("what the account has left is not known: %s", fault)
