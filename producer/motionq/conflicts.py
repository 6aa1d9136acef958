"""Idempotency keys that two different requests want."""

from __future__ import annotations

from collections.abc import Sequence

from motionq.contract.errors import IdempotencyConflict, KeyConflict
from motionq.contract.store import Created, NewJob


def refuse_double_keys(new: Sequence[NewJob]) -> None:
    """One call must not give one key to two requests: the first would be enqueued before the second is refused.

    Raises IdempotencyConflict.
    """
    first: dict[tuple[str, str], tuple[int, NewJob]] = {}
    found = []
    for n, job in enumerate(new, 1):
        if job.idempotency_key is not None:
            other, owner = first.setdefault((job.tenant, job.idempotency_key), (n, job))
            if owner.spec.digest() != job.spec.digest():
                found.append(KeyConflict(n, job.idempotency_key, other=other))
    _refuse(found, len(new))


def refuse_conflicts(new: Sequence[NewJob], outcomes: Sequence[Created]) -> None:
    """Raises IdempotencyConflict where keys belong to jobs with other requests."""
    pairs = enumerate(zip(new, outcomes, strict=True), 1)
    _refuse(
        [KeyConflict(n, str(job.idempotency_key), o.job_id) for n, (job, o) in pairs if o.outcome == "conflict"],
        len(new),
    )


def _refuse(conflicts: Sequence[KeyConflict], total: int) -> None:
    if conflicts:
        raise IdempotencyConflict(conflicts, total=total)
