"""When a job will be done, from how long the vendor took for jobs like it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from motionq.contract.durations import best_known, kind_of, kinds_like, median_left, survival
from motionq.contract.record import Record
from motionq.contract.states import FINAL, HOMES, State

# Seconds a job spends around the generation when nothing has to wait: upload, arming, delivery. Measured.
AROUND = 8.0
_BEFORE = (State.QUEUED, State.UPLOADING, State.READY, State.ARMED, State.SUBMITTING)


def fields_for(records: Iterable[Record]) -> list[str]:
    """The fields of `durations` from which these records' times can be told."""
    stems = {kind_of(r.spec.model, r.spec.mode, 0.0) for r in records if r.state not in FINAL}
    return [kind for stem in sorted(stems) for kind in kinds_like(stem)]


def backs_off(record: Record) -> str | None:
    """The step whose alarm a job waits for before it goes on, where that is longer than a step takes; else None.

    Its upload may be tried again in minutes, or wait for its turn among many; so may its delivery; and a failure that
    may become a success is looked at again.
    """
    suspect = record.purchase is not None and record.purchase.suspect_at is not None
    waits = {
        State.QUEUED: True,
        State.DELIVERING: record.tries > 0,
        State.RUNNING: suspect,
    }
    return HOMES[record.state] if waits.get(record.state) else None


def eta_seconds(record: Record, durations: Mapping[str, str], now: int, alarm: float = 0.0) -> float | None:
    """Seconds until the job is likely done; None while nothing is known or the job has ended.

    `durations` maps kinds of jobs to sketches (contract/durations.py); `now` and `alarm` (0: it does not back off) are
    in ms.
    """
    if record.state in FINAL or record.state is State.SUBMIT_UNKNOWN:
        return None
    idle = max(0.0, (alarm - now) / 1000)
    if record.state is State.DELIVERING:
        return round(idle + AROUND / 2, 1)
    kind = kind_of(record.spec.model, record.spec.mode, record.video_seconds)
    sketch = best_known(kind, durations)
    if sketch.known < 1.0:
        return None
    alive = survival(sketch)
    if record.state in _BEFORE:
        return round(idle + median_left(alive, 0.0) + AROUND, 1)
    left = median_left(alive, max(0.0, (now - record.running_since) / 1000))
    return round(max(1.0, left, idle) + AROUND / 2, 1)
