"""Wakes a worker from an event loop that must not wait for it: many wishes, few messages, one thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

PAUSE = 0.05  # seconds between two wake-ups: a worker's clock turns no faster

_log = logging.getLogger(__name__)


class Waker:
    """Calls `send`, which may block, in a thread of its own, soon after `wake`; wishes meanwhile count as one.

    `close` ends the thread and calls `end`. A failure of `send` costs a tick's time at most, so it is only logged.
    """

    def __init__(self, send: Callable[[], None], end: Callable[[], None] = lambda: None) -> None:
        self._send = send
        self._end = end
        self._wanted = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Wish for a wake-up; returns at once. Call from one thread only."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="motionq-waker", daemon=True)
            self._thread.start()
        self._wanted.set()

    def close(self) -> None:
        """No more wake-ups; waits a little for one that is under way."""
        self._stopped.set()
        self._wanted.set()
        if self._thread:
            self._thread.join(timeout=2)
        self._end()

    def _run(self) -> None:
        while self._wanted.wait() and not self._stopped.is_set():
            self._wanted.clear()
            try:
                self._send()
            except Exception as error:  # whatever it is, the callback itself is stored
                _log.warning("no worker could be woken: %s", type(error).__name__)
            self._stopped.wait(PAUSE)
