"""When a job will be done, from how long the vendor took for jobs like it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from motionq.contract.durations import best_known, kind_of, kinds_like, median_left, survival
from motionq.contract.record import Record
from motionq.contract.states import FINAL, HOMES, State

# Seconds a job spends around the generation when nothing has to wait: upload, arming, delivery. Measured.
AROUND = 8.0


@dataclass(frozen=True, kw_only=True)
class Line:
    """What a job that waits to be bought has before it.

    `open`: the gate; `free` of `slots`: how many may be bought at once; `per_second`: the rate of purchases; `before`:
    how many jobs will be bought first, None where that is not known.
    """

    open: bool = True
    free: int = 1
    slots: int = 1
    per_second: float = math.inf
    before: int | None = 0

    def at(self, before: int | None) -> Line:
        """The same line, at this place."""
        return replace(self, before=before)

    def seconds(self, generation: float) -> float | None:
        """Until the job is bought, where a generation takes so long; None while nobody can say."""
        if not self.open or self.before is None:
            return None
        first = max(0, self.before + 1 - max(0, self.free))  # those that must end before it finds a slot
        return max(self.before / self.per_second, first * generation / self.slots)


_BEFORE = (State.QUEUED, State.UPLOADING, State.READY, State.ARMED, State.SUBMITTING)
_IN_LINE = (State.QUEUED, State.UPLOADING, State.READY)


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


def eta_seconds(
    record: Record, durations: Mapping[str, str], now: int, alarm: float = 0.0, line: Line = Line()
) -> float | None:
    """Seconds until the job is likely done; None while nothing is known or the job has ended.

    `durations` maps kinds of jobs to sketches (contract/durations.py); `now` and `alarm` (0: it does not back off) are
    in ms; `line`: what is before a job that waits to be bought.
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
        generation = median_left(alive, 0.0)
        waits = line.seconds(generation + AROUND) if record.state in _IN_LINE else 0.0
        return None if waits is None else round(max(idle, waits) + generation + AROUND, 1)
    left = median_left(alive, max(0.0, (now - record.running_since) / 1000))
    return round(max(1.0, left, idle) + AROUND / 2, 1)
