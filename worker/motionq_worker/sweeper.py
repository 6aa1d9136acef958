"""Once an hour one worker of all removes staged files that no job needs any more."""

from __future__ import annotations

import logging
import threading
import time

from motionq.contract.errors import MotionQueueError
from motionq.contract.store import JobStore, reachable
from motionq_worker.sweeping import Shared, local_root, sweep

EVERY = 3600.0  # seconds between two sweeps
_ASK = 300.0  # seconds between two questions of one worker whether it is time

_log = logging.getLogger(__name__)


LOOPBACK = "127.0.0.1"  # where the local stack's sandbox listens


class Sweeper:
    """Called at each tick; sweeps in a thread of its own."""

    def __init__(self, store: JobStore, staging_url: str, ttl: float) -> None:
        self._store = store
        self._url = staging_url
        self._ttl = ttl
        self._ask_at = 0.0
        self._sweeping: threading.Thread | None = None

    def look(self) -> None:
        """Sweeps if it is time and nobody else does. Raises QueueUnavailable."""
        if time.monotonic() < self._ask_at:
            return
        self._ask_at = time.monotonic() + _ASK
        with reachable():
            mine = self._store.redis.set(self._store.keys.sweep, "1", nx=True, px=int(EVERY * 1000))
            # Jobs that were made for the vendor's stand-in may lie beside real ones, in the same storage.
            sandbox = self._store.redis.get(self._store.keys.vendor) == LOOPBACK
        if mine and not sandbox:
            self._sweeping = threading.Thread(target=self._sweep, name="motionq-sweeper", daemon=True)
            self._sweeping.start()

    def close(self) -> None:
        """Waits for a sweep under way; one that takes longer may be cut short anywhere."""
        if self._sweeping:
            self._sweeping.join(timeout=5)

    def _sweep(self) -> None:
        try:
            root = local_root(self._url)
            if root is None:
                return
            swept = sweep(self._store, root, ttl=self._ttl)
            if swept.files:
                _log.info("removed %d staged files that no job needs (%d bytes)", swept.files, swept.size)
        except (Shared, MotionQueueError) as error:
            _log.warning("%s", error)
        except OSError as error:
            _log.warning("the staging storage can't be swept: %s", error.strerror or type(error).__name__)
        except Exception:  # a defect of ours must not look like a clean storage
            _log.exception("the staging storage can't be swept")
