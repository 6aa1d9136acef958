"""The queue's server, judged: version, what it keeps, what it throws away, memory, clock."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from motionq.contract.durability import NOEVICTION
from motionq_ops.doctor.findings import Finding, error, ok, warning
from motionq_ops.doctor.server_facts import ServerFacts

OLDEST = {"Redis": (6, 2), "Valkey": (7, 2)}
TIGHT, FULL = 0.70, 0.85  # shares of maxmemory; the gate buys nothing above the latter (contract/lua/admit.lua)
SMALL = 64 * 1024**2  # bytes of maxmemory
OFF, FAR_OFF = 2.0, 60.0  # seconds between two clocks
MB = 1024**2


def judge_server(facts: ServerFacts) -> Iterator[Finding]:
    """Every finding about the server."""
    yield _version(facts)
    yield from _role(facts)
    yield from _append_only(facts)
    yield from _disk(facts)
    yield from _eviction(facts)
    yield _memory(facts)
    yield _clock(facts)


def _version(facts: ServerFacts) -> Finding:
    oldest = OLDEST[facts.product]
    wanted = ".".join(map(str, oldest))
    name = f"{facts.product} {facts.version}"
    if tuple(map(int, re.findall(r"\d+", facts.version)[:2])) >= oldest:
        return ok("server", name, value=facts.version, limit=wanted)
    return error(
        "server",
        f"{name} is older than {wanted}",
        value=facts.version,
        limit=wanted,
        why="the scripts that move jobs use commands that it does not have",
        mend=f"upgrade to {facts.product} {wanted} or newer",
    )


def _role(facts: ServerFacts) -> Iterator[Finding]:
    if facts.cluster:
        yield error(
            "server",
            "it runs in cluster mode",
            value="cluster",
            limit="standalone",
            why="neither Celery's transport nor the scripts work on a cluster",
            mend="use one server, with replicas if you like (cluster-enabled no)",
        )
    if facts.role != "master":
        yield error(
            "server",
            "REDIS_URL names a replica",
            value=facts.role,
            limit="master",
            why="a replica takes no writes: no job is enqueued or moved",
            mend="set MOTIONQ_REDIS_URL to the primary, or promote this one: redis-cli REPLICAOF NO ONE",
        )


_Words = Mapping[str, Any]  # of a finding
_UNREADABLE: _Words = {
    "what": "whether the server keeps an append-only file can't be read",
    "limit": "appendonly yes",
    "why": "without one it may not know after a restart what was bought",
    "mend": "look in the console of your hosted server, or allow this user INFO",
}
_NO_FILE: _Words = {
    "what": "the server keeps no append-only file",
    "value": "appendonly no",
    "limit": "appendonly yes",
    "why": "after a restart it may not know what was bought: jobs are lost, or bought again",
    "mend": "redis-cli CONFIG SET appendonly yes, and `appendonly yes` in its configuration",
}
_NEVER_SYNCED: _Words = {
    "what": "the append-only file is synced when the kernel likes (appendfsync no)",
    "value": "no",
    "limit": "everysec",
    "why": "each purchase waits 35 s until it is safe on disk",
    "mend": "redis-cli CONFIG SET appendfsync everysec, and the same in its configuration",
}
_SYNC_UNREADABLE: _Words = {
    "what": "append-only file, but how often it is synced can't be read",
    "limit": "everysec",
    "why": "motionq takes everysec for granted; with `no` a loss of power may lose a purchase",
    "mend": "look at appendfsync in the console of your hosted server, or allow this user CONFIG GET",
}
_MORE_ROOM = (
    "redis-cli CONFIG SET maxmemory SIZE, and the same in its configuration (Compose: REDIS_MAXMEMORY and "
    "REDIS_MEMORY_LIMIT together); or lower MOTIONQ_JOB_TTL"
)
_REWRITES_UNSYNCED: _Words = {
    "what": "the append-only file is not synced while it is rewritten (no-appendfsync-on-rewrite yes)",
    "value": "yes",
    "limit": "no",
    "why": "a loss of power in a rewrite may lose 30 s of writes, and with them a purchase",
    "mend": "redis-cli CONFIG SET no-appendfsync-on-rewrite no, and the same in its configuration",
}
_NEVER_REWRITTEN: _Words = {
    "what": "the append-only file is never rewritten (auto-aof-rewrite-percentage 0)",
    "value": "0",
    "limit": "100",
    "why": "it grows until its disk is full, and then writes are refused; a backup that was broken off leaves it so",
    "mend": "redis-cli CONFIG SET auto-aof-rewrite-percentage 100, unless a backup runs at this moment",
}


def _append_only(facts: ServerFacts) -> Iterator[Finding]:
    keeping = facts.keeping
    if keeping.append_only is None:
        yield warning("persistence", **_UNREADABLE)
    elif not keeping.append_only:
        yield (warning if facts.replicas else error)("persistence", **_NO_FILE)
    elif facts.appendfsync == "no":
        yield warning("persistence", **_NEVER_SYNCED)
    elif facts.appendfsync is None:
        yield warning("persistence", **_SYNC_UNREADABLE)
    else:
        yield ok("persistence", f"append-only file, appendfsync {facts.appendfsync}", value=facts.appendfsync)
    if keeping.rewrites_unsynced:
        yield warning("persistence", **_REWRITES_UNSYNCED)
    if keeping.append_only and facts.rewrite_percentage == "0":
        yield warning("persistence", **_NEVER_REWRITTEN)


def _disk(facts: ServerFacts) -> Iterator[Finding]:
    failed = {
        "the append-only file": facts.append_written or facts.keeping.append_only is False,
        "the snapshot (BGSAVE)": facts.snapshot_written,
    }
    for name, well in failed.items():
        if not well:
            yield error(
                "persistence",
                f"the last write of {name} failed",
                value="err",
                limit="ok",
                why="the server refuses writes until it succeeds: nothing is enqueued or moved",
                mend="free its disk (df -h, the server's log says why), then redis-cli BGSAVE",
            )
    if facts.delayed_syncs:
        yield warning(
            "persistence",
            f"its disk was too slow for appendfsync everysec, {facts.delayed_syncs} times since the server's start",
            value=facts.delayed_syncs,
            limit=0,
            why="nothing is armed or sent while the disk syncs, since nothing written then is safe yet",
            mend="give the server a faster disk, or one of its own (INFO persistence: aof_delayed_fsync)",
        )
    if not facts.append_rewritten:
        yield warning(
            "persistence",
            "the last rewrite of the append-only file failed",
            value="err",
            limit="ok",
            why="the file grows until its disk is full, and then every write is refused",
            mend="free its disk, then redis-cli BGREWRITEAOF",
        )


def _eviction(facts: ServerFacts) -> Iterator[Finding]:
    policy = facts.keeping.policy
    more: dict[str, Any] = {
        "value": policy,
        "limit": NOEVICTION,
        "why": "when memory is full the server throws records away: paid jobs are forgotten, and bought again",
        "mend": "redis-cli CONFIG SET maxmemory-policy noeviction, and the same in its configuration (or the "
        "parameter group of a hosted server)",
    }
    if policy is None:
        yield warning("eviction", "maxmemory-policy can't be read", **more)
    elif policy != NOEVICTION:
        yield error("eviction", f"maxmemory-policy is {policy}; workers refuse to start", **more)
    else:
        yield ok("eviction", "maxmemory-policy noeviction", value=policy, limit=NOEVICTION)
    if facts.evicted:
        more |= {"value": facts.evicted, "limit": 0}
        yield warning("eviction", f"{facts.evicted} keys were thrown away since the server was started", **more)


def _memory(facts: ServerFacts) -> Finding:
    limit, name = (facts.limit, "maxmemory") if facts.limit else (facts.machine, "the machine's memory")
    share = facts.used / limit if limit else 0.0
    what = f"{facts.used / MB:,.0f} MB used of {limit / MB:,.0f} MB ({name})"
    more = {"value": facts.used, "limit": limit or None}
    room = {"mend": _MORE_ROOM}
    if facts.limit and share >= FULL:
        why = "above 85 % nothing is bought, above 90 % no job is taken in"
        return error("memory", what, why=why, **more, **room)
    if share >= TIGHT:
        why = "above 85 % of maxmemory nothing is bought, above 90 % no job is taken in"
        why = why if facts.limit else "without maxmemory the system ends the server when the machine is full"
        return warning("memory", what, why=why, **more, **room)
    if 0 < facts.limit < SMALL:
        why = "a burst of jobs fills it; a running job takes about 2 KB, Celery's messages a few more"
        return warning("memory", f"{what}, which is little", why=why, **more, **room)
    return ok("memory", what, **more)


def _clock(facts: ServerFacts) -> Finding:
    off = abs(facts.skew)
    doubt = facts.round_trip / 2
    ahead = "ahead of" if facts.skew > 0 else "behind"
    more = {"value": round(facts.skew, 3), "limit": OFF}
    if off - doubt <= OFF:
        return ok("clock", f"within {max(off, doubt, 0.001):.3g} s of the server's", **more)
    level = error if off - doubt > FAR_OFF else warning
    return level(
        "clock",
        f"this machine's clock is {off:.1f} s {ahead} the server's",
        why="deadlines, signed addresses and the comparison with kie.ai's times go wrong",
        mend="run a time service on both machines: timedatectl set-ntp true (or chrony)",
        **more,
    )
