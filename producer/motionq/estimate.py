"""When a job will be done, from how long the vendor took for jobs like it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from motionq.contract.record import Record
from motionq.contract.states import FINAL, State

# Seconds a job spends around the generation when nothing has to wait: upload, arming, delivery. Measured.
AROUND = 8.0
_BEFORE = (State.QUEUED, State.UPLOADING, State.READY, State.ARMED, State.SUBMITTING)


def duration_field(model: str, mode: str) -> str:
    """The field of `durations` that jobs like this one share."""
    return f"{model} {mode}"


def eta_seconds(record: Record, durations: Mapping[str, str], now: int) -> float | None:
    """Seconds until the job is likely done; None while nothing is known or the job has ended.

    `durations` maps `duration_field` to a JSON array of count and mean in seconds; `now` is in ms.
    """
    known = durations.get(duration_field(record.spec.model, record.spec.mode))
    if record.state in FINAL or record.state is State.SUBMIT_UNKNOWN:
        return None
    if record.state is State.DELIVERING:
        return AROUND / 2
    if known is None:
        return None
    mean = float(json.loads(known)[1])
    if record.state in _BEFORE:
        return round(mean + AROUND, 1)
    return round(max(1.0, mean + AROUND / 2 - (now - record.running_since) / 1000), 1)
