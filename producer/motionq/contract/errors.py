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


class MotionQueueError(Exception):
    """Something motionq can explain in one sentence."""

    kind = "error"


class InvalidJob(MotionQueueError):
    """The job was refused before anything was sent or paid: `field` breaks `limit` with `value`."""

    kind = "invalid_job"

    def __init__(self, message: str, *, field: str, limit: object = None, value: object = None) -> None:
        super().__init__(message)
        self.field = field
        self.limit = limit
        self.value = value


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


class IdempotencyConflict(MotionQueueError):
    """The idempotency key already belongs to a job with another request."""

    kind = "idempotency_conflict"

    def __init__(self, key: str, job_id: str) -> None:
        super().__init__(f"idempotency key {key!r} already belongs to job {job_id}, which asks for something else")
        self.job_id = job_id


class ActionRefused(MotionQueueError):
    """The job's state or its purchases do not allow this action now."""

    kind = "refused"


class WaitTimeout(MotionQueueError, TimeoutError):
    """The caller's patience ended; the job itself goes on."""

    kind = "timeout"


class QueueUnavailable(MotionQueueError, ConnectionError):
    """The queue's server can't be reached or does not accept writes."""

    kind = "queue_unavailable"
