"""motionq: a job queue to be trusted with paid AI-video generations.

from motionq import MotionQueue

queue = MotionQueue()
job = queue.submit(image="hero.png", video="dance.mp4", idempotency_key="order-17")
job = queue.wait(job.id, timeout=1800)
job.raise_for_failure()
print(job.result.file)
"""

from motionq.client import MotionQueue
from motionq.contract.errors import (
    ActionRefused,
    IdempotencyConflict,
    InvalidJob,
    InvalidSettings,
    JobFailed,
    JobNotFound,
    MotionQueueError,
    QueueUnavailable,
    WaitTimeout,
)
from motionq.contract.job import Event, Failure, Job, JobSpec, Result
from motionq.contract.settings import Settings
from motionq.contract.states import State
from motionq.gate import GateStatus
from motionq.request import Request

__all__ = [
    "ActionRefused",
    "Event",
    "Failure",
    "GateStatus",
    "IdempotencyConflict",
    "InvalidJob",
    "InvalidSettings",
    "Job",
    "JobFailed",
    "JobNotFound",
    "JobSpec",
    "MotionQueue",
    "MotionQueueError",
    "QueueUnavailable",
    "Request",
    "Result",
    "Settings",
    "State",
    "WaitTimeout",
]
