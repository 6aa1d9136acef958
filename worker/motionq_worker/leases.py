"""Renews the claims of steps that move files, while they live: one thread per worker process."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator

from redis.exceptions import RedisError

from motionq.contract import states
from motionq.contract.errors import QueueUnavailable
from motionq.contract.store import JobStore

_log = logging.getLogger(__name__)


class ClaimLost(Exception):
    """Another execution has this job now; this one stops."""


class Lease:
    """The claim of one running step."""

    def __init__(self, job_id: str, claim: str) -> None:
        self.job_id = job_id
        self.claim = claim
        self.locks: set[str] = set()  # keys of upload locks that live as long as the claim
        self.lost = False

    @property
    def owner(self) -> str:
        """The value of its locks."""
        return f"{self.job_id}.{self.claim}"

    def check(self) -> None:
        """Raises ClaimLost when another execution took over."""
        if self.lost:
            raise ClaimLost(f"{self.job_id}: another worker has taken over")


class Leases:
    """All claims held by this process. `seconds` is the lease; it is renewed three times within it."""

    def __init__(self, store: JobStore, seconds: float) -> None:
        self._store = store
        self._seconds = seconds
        self._held: set[Lease] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def hold(self, job_id: str, claim: str) -> Iterator[Lease]:
        """Keeps the claim alive inside the `with`."""
        lease = Lease(job_id, claim)
        with self._lock:
            self._held.add(lease)
            self._start()
        try:
            yield lease
        finally:
            with self._lock:
                self._held.discard(lease)

    def hand_back(self, worker: str) -> list[str]:
        """Ends every claim, since this worker stops: its steps stop at once, and their alarms ring for another one.

        The turn is given back, as it was not the job that ended it. Where the server is away the lease ends by itself.
        Returns the jobs.
        """
        with self._lock:
            held = list(self._held)
        note = "cut off: this worker stops"
        for lease in held:
            lease.lost = True
            event = {"step": lease.claim.partition(".")[0], "worker": worker, "note": note}
            with contextlib.suppress(QueueUnavailable, RedisError):
                if locks := self._locks(lease):
                    self._store.redis.delete(*locks)
                self._store.move(
                    states.RENEW, lease.job_id, claim=lease.claim, add={"turns": -1}, alarm_in=0, event=event
                )
        return [lease.job_id for lease in held]

    def close(self) -> None:
        """Stops renewing."""
        self._stop.set()
        if self._thread:
            self._thread.join(timeout=5)

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="motionq-leases", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(self._seconds / 3):
            with self._lock:
                held = list(self._held)
            for lease in held:
                if not lease.lost:
                    self._try_to_renew(lease)

    def _try_to_renew(self, lease: Lease) -> None:
        try:
            self._renew(lease)
        except (QueueUnavailable, RedisError):
            # Not lost: the next round tries.
            _log.warning("the claim %s of job %s waits: the queue's server is away", lease.claim, lease.job_id)
        except Exception:  # a defect must not end the renewing of all others
            _log.exception("the claim %s of job %s could not be renewed", lease.claim, lease.job_id)

    def _renew(self, lease: Lease) -> None:
        milliseconds = int(self._seconds * 1000)
        moved = self._store.move(states.RENEW, lease.job_id, claim=lease.claim, alarm_in=milliseconds)
        lease.lost = lease.lost or not moved.ok
        for lock in self._locks(lease):
            self._store.redis.pexpire(lock, milliseconds)

    def _locks(self, lease: Lease) -> list[str]:
        """Those that are still this claim's: one that ended while the server was away may be another's by now."""
        return [lock for lock in list(lease.locks) if self._store.redis.get(lock) == lease.owner]
