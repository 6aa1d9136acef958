"""Learns how long the vendor takes, so that callers can be told when their job will be done."""

from __future__ import annotations

import json

from motionq.contract.record import Record
from motionq.contract.store import JobStore
from motionq.estimate import duration_field

_WEIGHT = 0.2  # of the newest duration: the vendor's speed drifts within hours


class Estimates:
    """Mean durations per model and mode, in Redis. Two workers learning at once may lose one lesson; no harm."""

    def __init__(self, store: JobStore) -> None:
        self._store = store

    def learn(self, record: Record, seconds: float) -> None:
        """One more job of this kind took `seconds` from its task ID to the verdict."""
        field, redis, key = duration_field(record.spec.model, record.spec.mode), self._store.redis, self._store.keys
        known = redis.hget(key.durations, field)
        count, mean = json.loads(known) if known else (0, seconds)
        mean += (seconds - mean) * max(_WEIGHT, 1 / (count + 1))
        redis.hset(key.durations, field, json.dumps([min(count + 1, 1000), round(mean, 2)]))
