"""What a person was promised is not lost with the server's last second: the answer waits until the write is safe."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis

from motionq.contract.connection import reachable
from motionq.contract.durability import replicas_have_it, server_identity, settles_after
from motionq.contract.errors import QueueUnavailable
from motionq.contract.store import JobStore

_PATIENCE = 30.0  # seconds for which a sick disk or a slow replica is waited for
_LOOK = 0.2
_ASK_AGAIN = "look at the job, and ask again if it is not as you wanted it"


@contextmanager
def safely(store: JobStore) -> Iterator[list[int]]:
    """Ends when every write whose moment was put into the list (ms of the server's clock) survives a loss of power.

    Raises QueueUnavailable when that can't be said: the writes are then made, and may be lost.
    """
    with reachable():
        server = server_identity(store.redis)
    moments: list[int] = []
    yield moments
    if moments:
        with reachable():
            _settle(store, max(moments), server)


def _settle(store: JobStore, latest: int, server: str) -> None:
    time.sleep(max(0.0, latest / 1000 + settles_after(store.redis) - store.now() / 1000))
    ends = time.monotonic() + _PATIENCE
    while not (_disk_takes_it(store.redis) and replicas_have_it(store.redis, store.keys)):
        if time.monotonic() > ends:
            raise QueueUnavailable(f"it is written, but the server's disk or a replica lags behind: {_ASK_AGAIN}")
        time.sleep(_LOOK)
    if server_identity(store.redis) != server:
        raise QueueUnavailable(f"the queue's server was restarted before the write was safe: {_ASK_AGAIN}")


def _disk_takes_it(redis: Redis) -> bool:
    disk = redis.info("persistence")
    return not int(disk.get("aof_enabled", 0)) or disk.get("aof_last_write_status") == "ok"
