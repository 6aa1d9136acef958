"""Spares kombu the making of a Redis client for every command: a tenth of a busy worker's processor time.

kombu's Redis transport (5.7) makes a new client object over its connection pool for each message that it publishes,
takes or acknowledges. A client over a pool holds no state of its own and may be shared by threads: one is enough.
"""

from __future__ import annotations

from typing import Any

from kombu.transport.redis import Channel

_make = Channel._create_client
_NAME = "_motionq_client"


def keep_clients() -> None:
    """From now on; may be repeated."""
    Channel._create_client = _kept  # type: ignore[method-assign]


def _kept(channel: Any, asynchronous: bool = False) -> Any:
    if asynchronous:  # these own a connection each
        return _make(channel, asynchronous=True)
    pool, client = channel.__dict__.get(_NAME, (None, None))
    if client is None or pool is not channel.pool:
        client = _make(channel)
        channel.__dict__[_NAME] = channel.pool, client
    return client
