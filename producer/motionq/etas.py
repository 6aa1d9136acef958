"""Reads what `estimate.py` needs, for many jobs in one round trip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from motionq.contract.connection import reachable
from motionq.contract.record import Record
from motionq.contract.settings import Settings
from motionq.contract.states import State
from motionq.contract.store import JobStore
from motionq.estimate import Line, backs_off, eta_seconds, fields_for

_FEW = 500  # waiting jobs whose places in the line are asked for; of more nobody reads the times one by one
_WAITING = (State.QUEUED, State.UPLOADING, State.READY)


def etas(store: JobStore, settings: Settings, records: Sequence[Record]) -> dict[str, float | None]:
    """Seconds until each job is likely done; None where nothing can be said. Raises QueueUnavailable."""
    fields = fields_for(records)
    if not fields:
        return {}
    alarms = {record.id: step for record in records if (step := backs_off(record))}
    waiting = [record for record in records if record.state in _WAITING]
    places = waiting if len(waiting) <= _FEW else []
    pipe = store.redis.pipeline(transaction=False)
    pipe.time()
    pipe.hmget(store.keys.durations, fields)
    pipe.exists(store.keys.gate)
    pipe.zcard(store.keys.slots)
    for state in _WAITING:
        pipe.zcard(store.keys.state(state))
    for job_id, step in alarms.items():
        pipe.zscore(store.keys.due(step), job_id)
    for record in places:
        pipe.zrank(store.keys.state(record.state), record.id)
    with reachable():
        clock, known, closed, slots, *rest = pipe.execute()
    counts = dict(zip(_WAITING, rest, strict=False))
    found = iter(rest[len(_WAITING) :])
    when = {job_id: float(next(found) or 0) for job_id in alarms}
    before = {record.id: _before(record, counts, next(found)) for record in places}
    line = Line(
        open=not closed,
        free=settings.max_in_flight - int(slots),
        slots=settings.max_in_flight,
        per_second=settings.submit_rate[0] / settings.submit_rate[1],
    )
    now = int(clock[0]) * 1000 + int(clock[1]) // 1000
    durations = {field: str(text) for field, text in zip(fields, known, strict=True) if text}
    return {r.id: eta_seconds(r, durations, now, when.get(r.id, 0.0), line.at(before.get(r.id))) for r in records}


def _before(record: Record, counts: Mapping[State, Any], rank: Any) -> int:
    """How many jobs will be bought before this one, as if all were served by age."""
    nearer = _WAITING[_WAITING.index(record.state) + 1 :]
    return int(rank or 0) + sum(int(counts[state]) for state in nearer)
