"""How Celery talks to the queue's server: the one place that turns a Redis URL into broker settings.

Facts behind the values were measured; see docs/decisions/0002.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

from motionq.contract.keys import Keys
from motionq.contract.settings import Settings
from motionq.contract.tls import tls_options

START_TASK = "motionq.start"


def broker_url(redis_url: str) -> str:
    """The same server in Celery's words: `unix:///path?db=0` becomes `redis+socket:///path?virtual_host=0`.

    TLS is left out of it: that is `broker_tls`. So are the other options of the query: they are redis-py's, and kombu
    would stop at them.
    """
    parts = urlsplit(redis_url)
    query = parse_qs(parts.query)
    if parts.scheme != "unix":
        path = f"/{query['db'][0]}" if "db" in query else parts.path
        return urlunsplit((parts.scheme, parts.netloc, path, "", ""))
    database = query.get("db", ["0"])[0]
    credentials = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    return f"redis+socket://{credentials}{parts.path}?virtual_host={database}"


def broker_tls(redis_url: str) -> dict[str, Any] | None:
    """`broker_use_ssl`: kombu would not check the server's certificate without it, and Flower reads nothing else."""
    return tls_options(redis_url)


def broker_options(settings: Settings) -> dict[str, Any]:
    """`broker_transport_options`, equal for producers and workers."""
    return {
        "global_keyprefix": Keys(settings.namespace).kombu_prefix,
        "max_connections": settings.concurrency + 50,
        # kombu would keep each message that a worker holds a second time, for the case that the worker dies: a sixth of
        # a worker's processor time, for what the alarms do anyway.
        "ack_emulation": False,
        "socket_keepalive": True,
        "socket_timeout": 30,
        "socket_connect_timeout": settings.connect_timeout,
    }
