"""The one way to the queue's server."""

from __future__ import annotations

from redis import Redis

from motionq.contract.errors import InvalidSettings
from motionq.contract.settings import Settings


def connect(settings: Settings) -> Redis:
    """A client of the queue's server; it connects on first use.

    Raises InvalidSettings for an address that can't be read (without showing it: it may hold a password), and
    QueueUnavailable when no server is known.
    """
    try:
        return Redis.from_url(
            settings.server(),
            decode_responses=True,
            socket_timeout=settings.read_timeout,
            socket_connect_timeout=settings.connect_timeout,
            health_check_interval=30,
        )
    except ValueError as error:
        raise InvalidSettings(f"REDIS_URL: not a usable address ({type(error).__name__})") from None
