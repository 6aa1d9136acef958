"""Every error a caller can meet, as a tree.

MotionQueueError
├── InvalidJob          the job was refused before anything was sent or paid
├── InvalidSettings     the environment is wrong
├── JobNotFound
├── JobFailed           raised only by ``Job.raise_for_failure()``
├── IdempotencyConflict the key is taken by another request
├── ActionRefused       the job's state or purchases do not allow this
├── WaitTimeout         the caller's patience ended, the job goes on
└── QueueUnavailable    the queue's server can't be reached
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SHOWN = 20  # so many of many faults are told in one message


class MotionQueueError(Exception):
    """Something motionq can explain in one sentence."""

    kind = "error"


class InvalidJob(MotionQueueError):
    """The job was refused before anything was sent or paid: `field` breaks `limit` with `value`.

    `request`: its place in the list that `submit_many` was given, from 1; None where there was only one.
    """

    kind = "invalid_job"

    def __init__(
        self, message: str, *, field: str, limit: object = None, value: object = None, request: int | None = None
    ) -> None:
        super().__init__(message)
        self.field = field
        self.limit = limit
        self.value = value
        self.request = request


class InvalidSettings(MotionQueueError):
    """The environment is wrong; the message names each setting and what it should be."""

    kind = "invalid_settings"


class JobNotFound(MotionQueueError):
    """No record has this job ID (it never existed, or its time to live is over)."""

    kind = "not_found"

    def __init__(self, job_id: str) -> None:
        super().__init__(f"no job {job_id}")
        self.job_id = job_id


class JobFailed(MotionQueueError):
    """The job ended without a video; the message is its failure in one line."""

    kind = "job_failed"


@dataclass(frozen=True)
class KeyConflict:
    """One request whose idempotency key is taken: `request` is its place in the list, from 1.

    It belongs to the job `job_id`, or to an earlier request `other` of the same list.
    """

    request: int
    key: str
    job_id: str | None = None
    other: int | None = None

    def __str__(self) -> str:
        owner = f"job {self.job_id}" if self.job_id else f"request {self.other}"
        return f"idempotency key {self.key!r} already belongs to {owner}, which asks for something else"


class IdempotencyConflict(MotionQueueError):
    """The idempotency key already belongs to a job with another request; of several requests, all are named.

    `job_id` is the job of the first one; `conflicts` has `request`, `key`, `job_id` and `other` of each.
    """

    kind = "idempotency_conflict"

    def __init__(self, conflicts: Sequence[KeyConflict], *, total: int = 1) -> None:
        told = [f"request {one.request}: {one}" if total > 1 else str(one) for one in conflicts[:SHOWN]]
        more = [f"and {len(conflicts) - SHOWN} more"] if len(conflicts) > SHOWN else []
        super().__init__("; ".join(told + more))
        self.job_id = conflicts[0].job_id
        self.conflicts = tuple(conflicts)


class ActionRefused(MotionQueueError):
    """The job's state or its purchases do not allow this action now."""

    kind = "refused"


class WaitTimeout(MotionQueueError, TimeoutError):
    """The caller's patience ended; the job itself goes on."""

    kind = "timeout"


class QueueUnavailable(MotionQueueError, ConnectionError):
    """The queue's server can't be reached or does not accept writes.

    `job_ids`: jobs that may have been enqueued all the same, since the answer was lost.
    """

    kind = "queue_unavailable"

    def __init__(self, message: str, *, job_ids: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.job_ids = tuple(job_ids)

    def about(self, job_ids: Sequence[str]) -> QueueUnavailable:
        """The same, of a request that may have been taken in."""
        one, many = "it may have been enqueued all the same", f"some of the {len(job_ids)} jobs may have been enqueued"
        look = f"`motionq status {job_ids[0]}` tells" if len(job_ids) == 1 else "`motionq list --since 10m` shows them"
        doubt = f"{many if len(job_ids) > 1 else one}: {look}, and what is submitted again may be bought again"
        return QueueUnavailable(f"{self}; {doubt}", job_ids=job_ids)
