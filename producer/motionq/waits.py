"""Why a job waits, in a few words: what its last event says, or that the gate is closed."""

from __future__ import annotations

import time
from dataclasses import dataclass

from motionq.client import MotionQueue
from motionq.contract.connection import reachable
from motionq.contract.job import Job
from motionq.contract.states import HOMES, State
from motionq.gate import GateStatus
from motionq.output import clean

_GATE_CLOSED = "gate closed"
_AGAIN = {State.QUEUED: "upload", State.DELIVERING: "deliver"}  # the steps that are tried again when they fail
_GATE_LOOK = 2.0  # seconds for which one look at the gate serves all jobs


def why(job: Job, gate: GateStatus | None = None, again_in: float | None = None) -> str:
    """One phrase, empty where there is nothing to say. `gate`: as it is now; `again_in`: seconds to the next try."""
    if job.done:
        return ""
    if job.state is State.READY and gate is not None and not gate.open:
        reason = (gate.reason or "").replace("_", " ")
        return clean(": ".join(part for part in (_GATE_CLOSED, reason, gate.message) if part))
    note = job.events[-1].note if job.events and job.events[-1].state == job.state else None
    if not note:
        return ""
    return clean(note) + (f", again in {again_in:.0f} s" if again_in is not None else "")


@dataclass(frozen=True)
class _Try:
    """A failed try, known by the moment of its event, and when the next one comes: seconds of our monotonic clock."""

    event: object
    at: float


def held_by_the_gate(why: str) -> bool:
    """Whether this is what `why` said: nobody then knows when the job will be done."""
    return why.startswith(_GATE_CLOSED)


class Waits:
    """Answers `why` for jobs that are looked at again and again, with few questions to the server."""

    def __init__(self, queue: MotionQueue) -> None:
        self._queue = queue
        self._gate: GateStatus | None = None
        self._gate_until = 0.0
        self._tries: dict[str, _Try] = {}

    def of(self, job: Job) -> str:
        """Why this job waits now. Raises QueueUnavailable."""
        return why(job, self._gate_for(job), self._again_in(job))

    def _gate_for(self, job: Job) -> GateStatus | None:
        if job.state is not State.READY:
            return None
        if time.monotonic() >= self._gate_until:
            self._gate, self._gate_until = self._queue.gate(), time.monotonic() + _GATE_LOOK
        return self._gate

    def _again_in(self, job: Job) -> float | None:
        last = job.events[-1] if job.events else None
        if last is None or not last.note or _AGAIN.get(job.state) != last.step:
            return None
        known = self._tries.get(job.id)
        if known is None or known.event != last:
            known = self._tries[job.id] = _Try(last, time.monotonic() + self._alarm_in(job))
        return max(0.0, known.at - time.monotonic())

    def _alarm_in(self, job: Job) -> float:
        """Seconds until the job's alarm rings."""
        store = self._queue.store
        with reachable():
            alarm = store.redis.zscore(store.keys.due(HOMES[job.state]), job.id)
        return max(0.0, (float(alarm) - store.now()) / 1000) if alarm is not None else 0.0
