"""Idempotency keys that two different requests want."""

from __future__ import annotations

from collections.abc import Sequence

from motionq.contract.errors import IdempotencyConflict
from motionq.contract.store import Created, NewJob


def refuse_double_keys(new: Sequence[NewJob]) -> None:
    """One call must not give one key to two requests: the first would be enqueued before the second is refused.

    Raises IdempotencyConflict.
    """
    first: dict[tuple[str, str], NewJob] = {}
    for job in new:
        if job.idempotency_key is not None:
            other = first.setdefault((job.tenant, job.idempotency_key), job)
            if other.spec.digest() != job.spec.digest():
                raise IdempotencyConflict(job.idempotency_key, other.id)


def refuse_conflicts(new: Sequence[NewJob], outcomes: Sequence[Created]) -> None:
    """Raises IdempotencyConflict where a key belongs to a job with another request."""
    for job, outcome in zip(new, outcomes, strict=True):
        if outcome.outcome == "conflict":
            raise IdempotencyConflict(str(job.idempotency_key), outcome.job_id)
