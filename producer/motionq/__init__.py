"""motionq: a job queue to be trusted with paid AI-video generations.

from motionq import MotionQueue

queue = MotionQueue()
job = queue.submit(image="hero.png", video="dance.mp4", idempotency_key="order-17")
job = queue.wait(job.id, timeout=1800)
job.raise_for_failure()
print(job.result.file)
"""

import importlib
import typing

if typing.TYPE_CHECKING:
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

# Each name is imported when it is first used (PEP 562): every module of the package runs this file first, and
# `motionq --help` must not wait for redis and pydantic.
_HOMES = {
    "contract.errors": (
        *("ActionRefused", "IdempotencyConflict", "InvalidJob", "InvalidSettings", "JobFailed", "JobNotFound"),
        *("MotionQueueError", "QueueUnavailable", "WaitTimeout"),
    ),
    "contract.job": ("Event", "Failure", "Job", "JobSpec", "Result"),
    "contract.settings": ("Settings",),
    "contract.states": ("State",),
    "client": ("MotionQueue",),
    "gate": ("GateStatus",),
    "request": ("Request",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
