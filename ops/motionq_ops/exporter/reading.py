"""One look at the server, in two round trips, however many jobs there are: sizes and first members of sets, hashes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from motionq.contract.connection import reachable
from motionq.contract.keys import QUEUES, STEPS
from motionq.contract.states import FINAL, UNFINISHED, State
from motionq.contract.store import JobStore
from motionq_ops.exporter.tenants import Counts, counts, spans
from motionq_worker.decisions import RESULTS_KEPT

WINDOWS: Mapping[str, int] = {"1h": 3_600_000, "24h": 86_400_000}  # ms
_DAY = 86_400_000  # ms


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What the server knew at `now`; times in ms since the epoch by its clock, None where a set is empty."""

    now: int
    jobs: Mapping[str, int]  # state → how many
    recent: Mapping[tuple[str, str], int]  # (window, state) → how many of the jobs created in it
    oldest: Mapping[str, int | None]  # state → when its oldest job was created
    by_tenant: Counts  # unfinished jobs
    ended: Counts  # ends of the last hour
    alarms: Mapping[str, int]  # step → how many alarms are set
    first_alarm: Mapping[str, int | None]  # step → the earliest one
    lines: Mapping[str, int]  # tenant → jobs in its line
    workers: Mapping[str, int]  # name → last sign of life
    queues: Mapping[str, int]  # Celery queue → messages that wait
    in_flight: int
    rate_used: int
    transfers: int
    candidates: int
    orphans: int
    unsettled: int  # failed jobs that were charged, or may have been, while the vendor still has what it made for them
    unsettled_since: int | None  # when the first of them failed
    doubted: bool
    spent: float  # credits, today (UTC)
    gate: Mapping[str, str] = field(default_factory=dict)  # empty while it is open
    metrics: Mapping[str, str] = field(default_factory=dict)  # what processes have counted
    memory: Mapping[str, Any] = field(default_factory=dict)  # INFO memory; empty where a hosted server keeps it secret
    disk: Mapping[str, Any] = field(default_factory=dict)  # INFO persistence; the same


class _Pipe:
    """Commands under names, and their answers."""

    def __init__(self, store: JobStore) -> None:
        self._pipe: Any = store.redis.pipeline(transaction=False)
        self._names: list[tuple[str, ...]] = []

    def want(self, name: tuple[str, ...], command: str, *arguments: object, **options: object) -> None:
        getattr(self._pipe, command)(*arguments, **options)
        self._names.append(name)

    def answers(self, *optional: tuple[str, ...]) -> dict[tuple[str, ...], Any]:
        """All answers; an optional one is left out where the server refuses the command."""
        with reachable():
            found = dict(zip(self._names, self._pipe.execute(raise_on_error=False), strict=True))
            for name, answer in list(found.items()):
                if isinstance(answer, Exception) and name not in optional:
                    raise answer
                if isinstance(answer, Exception):
                    del found[name]
        return found


def read(store: JobStore) -> Snapshot:
    """The server's figures. Raises QueueUnavailable."""
    first = _Pipe(store)
    first.want(("time",), "time")
    first.want(("tenants",), "zrange", store.keys.tenants, 0, -1)
    found = first.answers()
    now = int(found["time",][0]) * 1000 + int(found["time",][1]) // 1000
    tenants = [str(tenant) for tenant in found["tenants",]]

    pipe = _Pipe(store)
    _ask_for_jobs(pipe, store, now)
    _ask_for_the_rest(pipe, store, now)
    for tenant in tenants:
        pipe.want(("line", tenant), "zcard", store.keys.line(tenant))
    return _snapshot(now, tenants, pipe.answers(("memory",), ("disk",)))


def _ask_for_jobs(pipe: _Pipe, store: JobStore, now: int) -> None:
    for state in State:
        pipe.want(("jobs", state), "zcard", store.keys.state(state))
        for window, length in WINDOWS.items():
            pipe.want(("recent", window, state), "zcount", store.keys.state(state), now - length, "+inf")
    pipe.want(("by_tenant",), "hgetall", store.keys.by_tenant)
    for span in spans(now):
        pipe.want(("ends", str(span)), "hgetall", store.keys.ends(span))
    for state in UNFINISHED:
        pipe.want(("oldest", state), "zrange", store.keys.state(state), 0, 0, withscores=True)
    for step in STEPS:
        pipe.want(("alarms", step), "zcard", store.keys.due(step))
        pipe.want(("first_alarm", step), "zrange", store.keys.due(step), 0, 0, withscores=True)


def _ask_for_the_rest(pipe: _Pipe, store: JobStore, now: int) -> None:
    keys = store.keys
    for queue in QUEUES:
        pipe.want(("queue", queue), "llen", keys.queue(queue))
    pipe.want(("in_flight",), "zcard", keys.slots)
    pipe.want(("rate",), "zcount", keys.rate, f"({now}", "+inf")
    pipe.want(("transfers",), "zcount", keys.transfers, f"({now}", "+inf")
    pipe.want(("candidates",), "zcard", keys.candidates)
    pipe.want(("orphans",), "llen", keys.orphans)
    _ask_for_unsettled(pipe, store, now)
    pipe.want(("doubted",), "exists", keys.lied)
    pipe.want(("spent",), "hget", keys.spent, str(now // _DAY))
    pipe.want(("gate",), "hgetall", keys.gate)
    pipe.want(("metrics",), "hgetall", keys.metrics)
    pipe.want(("workers",), "zrange", keys.workers, 0, -1, withscores=True)
    pipe.want(("memory",), "info", "memory")
    pipe.want(("disk",), "info", "persistence")


def _ask_for_unsettled(pipe: _Pipe, store: JobStore, now: int) -> None:
    name, recent = store.keys.unsettled, now - RESULTS_KEPT
    pipe.want(("unsettled",), "zcount", name, recent, "+inf")
    first = {"byscore": True, "offset": 0, "num": 1, "withscores": True}
    pipe.want(("unsettled_since",), "zrange", name, recent, "+inf", **first)


def _snapshot(now: int, tenants: Iterable[str], found: Mapping[tuple[str, ...], Any]) -> Snapshot:
    return Snapshot(
        now=now,
        jobs={state: found["jobs", state] for state in State},
        recent={(window, state): found["recent", window, state] for window in WINDOWS for state in State},
        oldest={state: _score(found["oldest", state]) for state in UNFINISHED},
        by_tenant=counts([found["by_tenant",]], UNFINISHED),
        ended=counts((found["ends", str(span)] for span in spans(now)), FINAL),
        alarms={step: found["alarms", step] for step in STEPS},
        first_alarm={step: _score(found["first_alarm", step]) for step in STEPS},
        lines={tenant: found["line", tenant] for tenant in tenants},
        workers={str(name): int(seen) for name, seen in found["workers",]},
        queues={queue: found["queue", queue] for queue in QUEUES},
        in_flight=found["in_flight",],
        rate_used=found["rate",],
        transfers=found["transfers",],
        candidates=found["candidates",],
        orphans=found["orphans",],
        unsettled=found["unsettled",],
        unsettled_since=_score(found["unsettled_since",]),
        doubted=bool(found["doubted",]),
        spent=float(found["spent",] or 0),
        gate=found["gate",],
        metrics=found["metrics",],
        memory=found.get(("memory",), {}),
        disk=found.get(("disk",), {}),
    )


def _score(first: list[tuple[str, float]]) -> int | None:
    return int(first[0][1]) if first else None
