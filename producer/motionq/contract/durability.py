"""When a write on the queue's server survives a loss of power, and a fail-over."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from motionq.contract.keys import Keys

# With appendfsync everysec the server begins an fsync within a second of a write, unless one is under way: then it puts
# the write off, and after two seconds goes on without. So a write survives a loss of power when the disk was at rest at
# or after it, and is at rest again this long later (`disk_rests`): an fsync has begun and ended in between. Time alone
# does not tell: an fsync of eight seconds was measured to leave a write unsynced all along, with aof_last_write_status
# ok. (WAITAOF does not serve: it was measured to answer before the fsync on Valkey 9.1.)
EVERYSEC = 2.1
_KERNEL = 35.0  # with appendfsync no the kernel writes when it likes: 30 s on Linux
_PATIENCE = 1000  # ms for which replicas are waited for

NOEVICTION = "noeviction"
BUYS_BELOW = 0.85  # share of maxmemory above which nothing new is bought: what is under way needs the rest


@dataclass(frozen=True)
class Keeping:
    """What the server does with what it is given.

    `append_only`: it keeps an append-only file; `policy`: its maxmemory-policy. None: it does not say. `identified`: it
    says which server it is; `rewrites_unsynced`: it syncs nothing while it rewrites its file.
    """

    append_only: bool | None
    policy: str | None
    identified: bool = True
    rewrites_unsynced: bool = False


def keeping(redis: Redis) -> Keeping:
    """Asks INFO first: hosted servers forbid CONFIG, and some of them parts of INFO."""
    append_only = _said(redis, "persistence", "aof_enabled")
    policy = _said(redis, "memory", "maxmemory_policy") or _configured(redis, "maxmemory-policy")
    return Keeping(
        append_only=None if append_only is None else append_only == "1",
        policy=policy,
        identified=bool(_said(redis, "server", "run_id") and _said(redis, "replication", "master_replid")),
        rewrites_unsynced=append_only == "1" and _configured(redis, "no-appendfsync-on-rewrite") == "yes",
    )


def _said(redis: Redis, section: str, name: str) -> str | None:
    try:
        found = redis.info(section).get(name)
    except ResponseError:
        return None
    return None if found is None else str(found)


def _configured(redis: Redis, name: str) -> str | None:
    try:
        return str(redis.config_get(name)[name])
    except (ResponseError, KeyError):
        return None


def says_when_it_syncs(redis: Redis) -> bool:
    """Whether the server lets us ask for `appendfsync`; else `settles_after` takes the slower one."""
    return _configured(redis, "appendfsync") is not None


def memory_used(redis: Redis) -> float:
    """The share of `maxmemory` that is taken; 0 without a limit, or where the server does not say."""
    try:
        return share_used(redis.info("memory"))
    except ResponseError:
        return 0.0


def share_used(memory: Mapping[str, Any]) -> float:
    """The same from what INFO memory has said; 0 where it said nothing."""
    limit = int(memory.get("maxmemory", 0))
    return int(memory["used_memory"]) / limit if limit else 0.0


def settles_after(redis: Redis) -> float:
    """Seconds until a write is on the server's disk; 0 where each is synced at once, or none is kept at all."""
    if not int(redis.info("persistence").get("aof_enabled", 0)):
        return 0.0
    try:
        policy = redis.config_get("appendfsync").get("appendfsync")
    except ResponseError:  # not allowed to ask: take the slower one
        policy = None
    return {"always": 0.0, "no": _KERNEL}.get(str(policy), EVERYSEC)


def disk_rests(redis: Redis) -> bool:
    """Whether the server takes what is written to its disk, and syncs nothing just now."""
    disk = redis.info("persistence")
    if not int(disk.get("aof_enabled", 0)):
        return True
    return disk.get("aof_last_write_status") == "ok" and not int(disk.get("aof_pending_bio_fsync", 0))


def replicas_have_it(redis: Redis, keys: Keys) -> bool:
    """Whether every connected replica has all that was written until now (True where there is none)."""
    replicas = int(redis.info("replication").get("connected_slaves", 0))
    if not replicas:
        return True
    # WAIT speaks of writes of its own connection only.
    with redis.client() as connection:  # type: ignore[no-untyped-call]
        connection.set(keys.replicated, secrets.token_hex(8), px=60_000)
        return int(connection.wait(replicas, _PATIENCE)) >= replicas


def server_identity(redis: Redis) -> str:
    """Which server this is: run_id alone would not do, since a fail-back brings the old one again."""
    return f"{redis.info('server')['run_id']}/{redis.info('replication').get('master_replid', '')}"
