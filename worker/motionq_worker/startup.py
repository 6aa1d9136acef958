"""What a worker says about the queue's server when it starts."""

from __future__ import annotations

import logging

from motionq.contract.connection import reachable
from motionq.contract.errors import QueueUnavailable
from motionq.contract.store import JobStore

_log = logging.getLogger(__name__)


def look_at_the_server(store: JobStore) -> None:
    """One line for a server that is away (Celery goes on trying), or that forgets."""
    try:
        with reachable():
            append_only = int(store.redis.info("persistence").get("aof_enabled", 0))
    except QueueUnavailable as error:
        _log.error("%s; trying until it answers", error)
        return
    if not append_only:
        _log.warning(
            "the queue's server keeps no append-only file: after a restart it may not know what was bought, and buy it "
            "again; set `appendonly yes`"
        )
