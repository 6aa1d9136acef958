"""What a person was promised is not lost with the server's last second: the answer waits until the write is safe."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from motionq.contract.connection import reachable
from motionq.contract.durability import disk_rests, replicas_have_it, server_identity, settles_after
from motionq.contract.errors import QueueUnavailable
from motionq.contract.store import JobStore

_PATIENCE = 30.0  # seconds for which a sick disk or a slow replica is waited for
_LOOK = 0.2
_ASK_AGAIN = "look at the job, and ask again if it is not as you wanted it"


@contextmanager
def safely(store: JobStore) -> Iterator[list[int]]:
    """Ends when every write that was noted in the list (by its moment, say) survives a loss of power.

    Raises QueueUnavailable when that can't be said: the writes are then made, and may be lost.
    """
    with reachable():
        server = server_identity(store.redis)
    written: list[int] = []
    yield written
    if written:
        with reachable():
            _settle(store, server)


def _settle(store: JobStore, server: str) -> None:
    settles = settles_after(store.redis)
    if settles:  # else it was on the disk before the server answered
        _until(lambda: disk_rests(store.redis))
        time.sleep(settles)
    _until(lambda: disk_rests(store.redis) and replicas_have_it(store.redis, store.keys))
    if server_identity(store.redis) != server:
        raise QueueUnavailable(f"the queue's server was restarted before the write was safe: {_ASK_AGAIN}")


def _until(done: Callable[[], bool]) -> None:
    ends = time.monotonic() + _PATIENCE
    while not done():
        if time.monotonic() > ends:
            raise QueueUnavailable(f"it is written, but the server's disk or a replica lags behind: {_ASK_AGAIN}")
        time.sleep(_LOOK)
