"""What the queue's server says of itself."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from motionq.contract.connection import reachable
from motionq.contract.durability import Keeping, keeping

_SAMPLES = 5  # of the clock; the quickest answer tells most


@dataclass(frozen=True, kw_only=True)
class ServerFacts:
    """Sizes in bytes, times in seconds. None: the server does not say."""

    product: str
    version: str
    role: str = "master"
    cluster: bool = False
    replicas: int = 0
    keeping: Keeping
    appendfsync: str | None = "everysec"
    append_written: bool = True
    append_rewritten: bool = True
    rewrite_percentage: str | None = "100"
    delayed_syncs: int = 0
    snapshot_written: bool = True
    used: int = 0
    limit: int = 0
    machine: int = 0
    evicted: int = 0
    skew: float = 0.0
    round_trip: float = 0.0


def look_at_server(redis: Redis) -> ServerFacts:
    """Raises QueueUnavailable."""
    with reachable():
        info: Mapping[str, Any] = redis.info()
        skew, round_trip = min((_skew(redis) for _ in range(_SAMPLES)), key=lambda sample: sample[1])
        return ServerFacts(
            product="Valkey" if "valkey_version" in info else "Redis",
            version=str(info.get("valkey_version") or info.get("redis_version") or "0"),
            role=str(info.get("role", "master")),
            cluster=str(info.get("cluster_enabled", "0")) == "1",
            replicas=int(info.get("connected_slaves", 0)),
            keeping=keeping(redis),
            appendfsync=_setting(redis, "appendfsync"),
            append_written=_well(info, "aof_last_write_status"),
            append_rewritten=_well(info, "aof_last_bgrewrite_status"),
            rewrite_percentage=_setting(redis, "auto-aof-rewrite-percentage"),
            delayed_syncs=int(info.get("aof_delayed_fsync", 0)),
            snapshot_written=_well(info, "rdb_last_bgsave_status"),
            used=int(info.get("used_memory", 0)),
            limit=int(info.get("maxmemory", 0)),
            machine=int(info.get("total_system_memory", 0)),
            evicted=int(info.get("evicted_keys", 0)),
            skew=skew,
            round_trip=round_trip,
        )


def _well(info: Mapping[str, Any], name: str) -> bool:
    return str(info.get(name, "ok")) == "ok"


def _setting(redis: Redis, name: str) -> str | None:
    """One directive of the server; None where asking is not allowed, as on hosted servers."""
    try:
        found = redis.config_get(name).get(name)
    except ResponseError:
        return None
    return str(found) if found else None


def _skew(redis: Redis) -> tuple[float, float]:
    """(seconds by which this machine's clock is ahead of the server's, seconds that asking took)."""
    began = time.time()
    whole, micro = redis.time()
    ended = time.time()
    return (began + ended) / 2 - (int(whole) + int(micro) / 1e6), ended - began
