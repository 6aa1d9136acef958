"""Jobs held against the sets that wake them: jobs without alarms, alarms without jobs, slots without purchases.

Judged and mended on the server, job by job, in one Lua call for a batch (contract/lua/mend.lua): beside running workers
any other way would see jobs in the middle of a move. Whatever the number of jobs, memory stays flat here, and no call
keeps the server busy for more than milliseconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from motionq.contract.connection import reachable
from motionq.contract.keys import STEPS
from motionq.contract.states import State
from motionq.contract.store import JobStore
from motionq_ops.doctor.findings import Finding, Level, ok
from motionq_ops.doctor.kinds import KINDS

BATCH = 25
_SHOWN = 3  # examples of each kind


@dataclass(frozen=True)
class Wrong:
    """What did not agree: see the kinds in contract/lua/mend.lua and mend_slots.lua."""

    id: str
    kind: str
    place: str


@dataclass
class Survey:
    """What a walk over all jobs found. `mended`: the kinds that can be were mended on the way."""

    mended: bool
    jobs: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[Wrong]] = field(default_factory=dict)
    _seen: set[Wrong] = field(default_factory=set)  # of what is wrong alone

    def add(self, found: Iterable[Wrong]) -> None:
        """A stray may be met in each of its sets, and is counted once for each."""
        for wrong in found:
            if wrong not in self._seen:
                self._seen.add(wrong)
                self.counts[wrong.kind] += 1
                self.examples.setdefault(wrong.kind, [])
                if len(self.examples[wrong.kind]) < _SHOWN:
                    self.examples[wrong.kind].append(wrong)


def survey(store: JobStore, *, fix: bool, lease: float) -> Survey:
    """Walks over every record, every set and every slot. `lease` in seconds. Raises QueueUnavailable."""
    seen = Survey(mended=fix)
    with reachable():
        for ids in _batches(_records(store)):
            seen.jobs += len(ids)
            seen.add(_held(store, fix, lease, ids=ids))
        for name in _sets(store):
            for ids in _batches(_members(store, name)):
                seen.add(_held(store, fix, lease, ids=_without_record(store, ids)))
        for tenants in _batches(_tenants(store)):
            for tenant in tenants:
                _look_at_line(store, tenant, seen, fix, lease)
            seen.add(_held(store, fix, lease, tenants=tenants))
        for members in _batches(_members(store, store.keys.slots)):
            found = store.scripts.run("mend_slots", {"members": members, "fix": fix or None})
            seen.add(Wrong(*row) for row in found)
    return seen


def _look_at_line(store: JobStore, tenant: str, seen: Survey, fix: bool, lease: float) -> None:
    for ids in _batches(_members(store, store.keys.line(tenant))):
        seen.add(_held(store, fix, lease, ids=ids, line=tenant))


def _held(store: JobStore, fix: bool, lease: float, **what: Any) -> Iterator[Wrong]:
    if not any(what.values()):
        return iter(())
    found = store.scripts.run("mend", {**what, "fix": fix or None, "lease": int(lease * 1000)})
    return (Wrong(*row) for row in found)


def _without_record(store: JobStore, ids: Sequence[str]) -> list[str]:
    """The others were looked at as records."""
    pipe = store.redis.pipeline(transaction=False)
    for job_id in ids:
        pipe.hget(store.keys.job(job_id), "state")
    return [job_id for job_id, there in zip(ids, pipe.execute(), strict=True) if not there]


def _records(store: JobStore) -> Iterator[str]:
    prefix = store.keys.job("")
    yield from (str(name).removeprefix(prefix) for name in store.redis.scan_iter(f"{prefix}*", count=1000))


def _tenants(store: JobStore) -> Iterator[str]:
    """Those that the gate knows, and those that have a line."""
    prefix = store.keys.line("")
    yield from _members(store, store.keys.tenants)
    yield from (str(name).removeprefix(prefix) for name in store.redis.scan_iter(f"{prefix}*", count=1000))


def _sets(store: JobStore) -> list[str]:
    keys = store.keys
    return [*map(keys.due, STEPS), *map(keys.state, State), keys.ended, keys.unsettled]


def _members(store: JobStore, name: str) -> Iterator[str]:
    return (str(member) for member, _ in store.redis.zscan_iter(name, count=BATCH))


def _batches(items: Iterator[str]) -> Iterator[list[str]]:
    while batch := list(islice(items, BATCH)):
        yield batch


def judge_survey(seen: Survey) -> Iterator[Finding]:
    """A finding for each kind that was met; what was mended is well now."""
    if not seen.counts:
        yield ok("indexes", f"{seen.jobs} jobs agree with their lines, alarms, indexes and slots", value=seen.jobs)
    for kind, told in KINDS.items():
        if count := seen.counts.get(kind, 0):
            mended = seen.mended and told.mends
            what = f"{told.what}: {count} ({_examples(seen.examples[kind], count)})"
            yield Finding(
                check=told.check,
                level=Level.OK if mended else told.level,
                what=f"mended: {what}" if mended else what,
                value=count,
                limit=0,
                why="" if mended else told.why,
                mend="" if mended else told.mend,
            )


def _examples(wrongs: Sequence[Wrong], count: int) -> str:
    more = ", …" if count > len(wrongs) else ""
    return ", ".join(f"{wrong.id} in {wrong.place}" for wrong in wrongs) + more
