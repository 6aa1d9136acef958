"""The one way to the queue's server, and what its faults mean."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from motionq.contract.errors import InvalidSettings, QueueUnavailable
from motionq.contract.settings import Settings
from motionq.contract.tls import tls_options, without_tls_options
from motionq.contract.unreachable import not_permitted, why


def connect(settings: Settings) -> Redis:
    """A client of the queue's server; it connects on first use.

    Raises InvalidSettings for an address that can't be read (without showing it: it may hold a password), and
    QueueUnavailable when no server is known.
    """
    return client_of(
        settings.server(),
        socket_timeout=settings.read_timeout,
        socket_connect_timeout=settings.connect_timeout,
        health_check_interval=30,
    )


def client_of(url: str, **options: Any) -> Redis:
    """A client of the server at `url`, over TLS if it says so. Raises InvalidSettings as `connect` does."""
    try:
        tls = tls_options(url) or {}
        client = Redis.from_url(without_tls_options(url), decode_responses=True, **options, **tls)
        client.connection_pool.connection_class(**client.connection_pool.connection_kwargs)  # connects nothing
    except TypeError as error:  # it names the option, never a value
        unknown = re.search(r"argument '(\w+)'", str(error))
        name = unknown[1] if unknown else "?"
        raise InvalidSettings(f"REDIS_URL: its query has an option that is not known: {name}") from None
    except (ValueError, RedisError) as error:
        raise InvalidSettings(f"REDIS_URL: not a usable address ({type(error).__name__})") from None
    return client


# Answers of a server that is there and takes no writes now: its disk fails (MISCONF), too few replicas follow it, a
# script keeps it busy. Redis 6.2 wraps a script's error in words of its own, so the whole text is searched.
_TAKES_NO_WRITES = ("MISCONF", "NOREPLICAS", "READONLY", "BUSY", "MASTERDOWN", "LOADING", "CLUSTERDOWN")


@contextmanager
def reachable() -> Iterator[None]:
    """Turns the server's faults into QueueUnavailable, without its address (which may hold a password)."""
    try:
        yield
    except OutOfMemoryError as error:
        raise QueueUnavailable(FULL) from error
    except (RedisConnectionError, RedisTimeoutError) as error:
        raise QueueUnavailable(why(error)) from error
    except ResponseError as error:
        if "OOM " in str(error):
            raise QueueUnavailable(FULL) from error
        if sentence := not_permitted(error):
            raise QueueUnavailable(sentence) from error
        if not isinstance(error, ReadOnlyError) and not any(word in str(error) for word in _TAKES_NO_WRITES):
            raise
        raise QueueUnavailable("the queue's server takes no writes at this moment") from error


FULL = "the queue's server is full (maxmemory reached) and takes no new jobs"
