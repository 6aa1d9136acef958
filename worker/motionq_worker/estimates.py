"""Learns how long the vendor takes, and keeps the schedules that follow from it. Knows Redis; the rules are elsewhere.

What looks teach is gathered per process, and written with the next verdict or, without one, every ten seconds.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from redis.client import Pipeline
from redis.exceptions import RedisError

from motionq.contract.durations import (
    CALLBACKS,
    KINDS,
    MEMORY,
    Lesson,
    LookRow,
    Sketch,
    best_known,
    kind_of,
    lesson_of,
    parse,
)
from motionq.contract.record import Record
from motionq.contract.settings import Settings
from motionq.contract.states import State
from motionq.contract.store import JobStore, Waiting
from motionq_worker.kie.messages import Phase, Reading
from motionq_worker.schedule import Schedule, Terms, schedule_for

REFRESH = 10.0  # seconds for which a process plans with what it knows
_CLOCKS = 2.0  # seconds by which the vendor's clock and ours may drift apart during one task
# Callbacks are trusted like five of which a half did not come, and never more than 99 in 100.
_DOUBT, _DOUBTED, _LEAST_SILENT = 5.0, 0.5, 0.01

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Known:
    """What a process knows, from one moment to the next. `schedules` fills as they are asked for."""

    at: float = float("-inf")
    texts: Mapping[str, str] = field(default_factory=dict)
    running: int = 0
    schedules: dict[str, Schedule] = field(default_factory=dict)


class Estimates:
    """Past durations in Redis, and what follows from them. Safe to use from several threads."""

    def __init__(self, store: JobStore, settings: Settings) -> None:
        self._store = store
        self._callbacks = settings.public_base_url is not None
        self._cost = settings.read_cost
        self._reads = settings.read_rate[0] / settings.read_rate[1]
        self._known = _Known()
        self._lock = threading.Lock()
        self._rows: dict[str, list[LookRow]] = {}
        self._calls = (0, 0)  # ends that were seen; those of them that no callback announced

    # -- what is known ----------------------------------------------------------------------------------------------
    def refresh(self) -> None:
        """Writes what was learned and reads what all workers know, every ten seconds; a server in trouble can wait."""
        if time.monotonic() - self._known.at < REFRESH:
            return
        keys = self._store.keys
        pipe = self._store.redis.pipeline(transaction=False)
        pipe.hgetall(keys.durations)
        for state in (State.RUNNING, State.CANCELLING):
            pipe.zcard(keys.state(state))
        self.teach(pipe)
        try:
            texts, *counts = pipe.execute(raise_on_error=False)[:3]
        except RedisError as error:
            _log.debug("what was learned can't be read: %s", type(error).__name__)
            return
        if isinstance(texts, dict) and all(isinstance(count, int) for count in counts):
            self._known = _Known(time.monotonic(), texts, sum(counts))
            return
        # A key of another type, say. What was known holds, and is not asked for again at every batch.
        _log.warning(
            "what was learned can't be read: %s", [str(a) for a in (texts, *counts) if isinstance(a, Exception)]
        )
        self._known = replace(self._known, at=time.monotonic())

    def schedule(self, job: Waiting | Record) -> Schedule:
        """When to look at a job's task, by what this process knows: no I/O."""
        known, kind = self._known, _kind(job)
        if kind not in known.schedules:
            known.schedules[kind] = schedule_for(best_known(kind, known.texts), self._terms(known))
        return known.schedules[kind]

    def _terms(self, known: _Known) -> Terms:
        silent = silent_share(parse(known.texts.get(CALLBACKS))) if self._callbacks else 1.0
        return Terms(cost=self._cost, silent=silent, running=known.running, reads=self._reads)

    # -- what looks teach -------------------------------------------------------------------------------------------
    def still(self, job: Waiting | Record, look: object, now: int) -> None:
        """A task that goes on at `now` (ms) is older than it was at the look before; so was one that has failed."""
        if isinstance(look, Reading) and look.phase in (Phase.RUNNING, Phase.FAIL):
            self._gather(_kind(job), (*_ages(job, now), False))

    def ended(self, record: Record, reading: Reading, now: int) -> None:
        """A task has ended well, and was seen to at `now` (ms)."""
        before, age = _ages(record, now)
        end = vendors_duration(record, reading, now)
        self._gather(_kind(record), (before, (before + age) / 2 if end is None else end, True))
        announced = any(purchase.candidate == record.task_id for purchase in record.purchases)
        with self._lock:
            self._calls = self._calls[0] + 1, self._calls[1] + (not announced)

    def teach(self, pipe: Pipeline | Any) -> None:
        """Queues all that was learned since the last time: one call for each kind of job."""
        with self._lock:
            rows, self._rows = self._rows, {}
            (ends, silent), self._calls = self._calls, (0, 0)
        for kind, looks in rows.items():
            self._teach(pipe, kind, lesson_of(looks))
        if self._callbacks and ends:
            self._teach(pipe, CALLBACKS, Lesson({0: ends}, {0: silent}))

    def _gather(self, kind: str, row: LookRow) -> None:
        with self._lock:
            self._rows.setdefault(kind, []).append(row)

    def _teach(self, pipe: Any, kind: str, lesson: Lesson) -> None:
        if lesson.reached or lesson.ended:
            counts = {"reached": lesson.reached, "ended": lesson.ended}
            self._store.scripts.run("learn", {"kind": kind, **counts, "memory": MEMORY, "kinds": KINDS}, pipe)


def silent_share(calls: Sketch) -> float:
    """The share of ends that no callback announces, by what was seen (bin 0 of the field `callbacks`)."""
    return max(_LEAST_SILENT, (calls.ended[0] + _DOUBTED) / (calls.reached[0] + _DOUBT))


def vendors_duration(record: Record, reading: Reading, now: int) -> float | None:
    """Seconds the vendor says it took, unless it can't have been so long: nothing is made before it is asked for."""
    if reading.completed_ms is None or reading.created_ms is None:
        return None
    said = (reading.completed_ms - reading.created_ms) / 1000
    sent = record.purchase.sent_at if record.purchase else None
    longest = (now - (sent or record.running_since)) / 1000 + _CLOCKS
    return said if 0 < said <= longest else None


def _kind(job: Waiting | Record) -> str:
    spec = job.spec if isinstance(job, Record) else job
    return kind_of(spec.model, spec.mode, job.video_seconds)


def _ages(job: Waiting | Record, now: int) -> tuple[float, float]:
    """Seconds of age at the look before, and at `now` (ms)."""
    age = max(0.0, (now - job.running_since) / 1000)
    return min(age, max(0.0, (job.updated_at - job.running_since) / 1000)), age
