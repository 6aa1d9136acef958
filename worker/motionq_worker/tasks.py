"""The Celery tasks: thin wrappers around `pipeline`. The only file with task decorators.

What Flower shows: a free retry is a row RETRY with its reason, a job's failure a row FAILURE, and every other row
returns what happened. Arguments that a newer release adds are ignored.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from typing import Any

from celery import Celery, Task, shared_task
from celery.exceptions import Retry

from motionq.broker import START_TASK
from motionq.contract.connection import reachable
from motionq.contract.errors import JobFailed, JobNotFound, QueueUnavailable
from motionq.contract.record import Unreadable
from motionq_worker import pipeline
from motionq_worker.execution import Execution, Later, Superseded
from motionq_worker.services import Services

_OPTIONS: dict[str, Any] = {"bind": True, "throws": (JobFailed,), "ignore_result": True, "max_retries": None}


class Defect(Exception):
    """Something in motionq, or in a storage's driver, is broken; the alarm tries the step again."""


_log = logging.getLogger(__name__)

_UNREACHABLE = Later("the queue's server can't be reached; the alarm clock goes on when it is back")


@shared_task(name=START_TASK, **_OPTIONS)
def start(self: Task, *_: Any, **__: Any) -> str:
    """Wake the clock: there may be new jobs."""
    _services(self.app).meter.add("step", "start")
    _wake(self)
    return "ticking"


@shared_task(name="motionq.upload", **_OPTIONS)
def upload(self: Task, job_id: str, *_: Any, **__: Any) -> str:
    """Check a job's files and bring them to the vendor."""
    return _run(self, job_id, pipeline.upload)


@shared_task(name="motionq.submit", **_OPTIONS)
def submit(self: Task, job_id: str, *_: Any, **__: Any) -> str:
    """Buy: send createTask, once."""
    return _run(self, job_id, pipeline.submit)


@shared_task(name="motionq.deliver", **_OPTIONS)
def deliver(self: Task, job_id: str, *_: Any, **__: Any) -> str:
    """Bring the video home, or book the failure."""
    return _run(self, job_id, pipeline.deliver)


@shared_task(name="motionq.check", resultrepr_maxsize=8192, **_OPTIONS)
def check(self: Task, job_ids: list[str], *_: Any, **__: Any) -> dict[str, Any]:
    """Read the status of many tasks at once."""
    try:
        with reachable():
            services = _services(self.app)
            services.meter.add("step", "check")
            said = pipeline.check(job_ids, self.request.id, self.request.hostname, services)
        if said["done"]:
            _wake(self)
        return said
    except QueueUnavailable:
        raise Retry(str(_UNREACHABLE), exc=_UNREACHABLE) from None
    except Exception as error:
        raise _defect(error, "check", self.request.id) from None


def _run(task: Task, job_id: str, step: Callable[[Execution, Services], str]) -> str:
    run = _execution(task, job_id)
    try:
        with reachable():
            services = _services(task.app)
            services.meter.add("step", run.step)
            return step(run, services)
    except Later as later:
        raise Retry(str(later), exc=later) from None
    except QueueUnavailable:
        raise Retry(str(_UNREACHABLE), exc=_UNREACHABLE) from None
    except Unreadable as unreadable:
        _log.error("%s", unreadable)
        raise Retry(str(unreadable), exc=Later(str(unreadable))) from None
    except (Superseded, JobNotFound) as stopped:
        return f"stopped: {stopped}"
    except JobFailed as failed:
        raise failed from None  # what was behind it goes to Flower too, and may name a signed address
    except Retry:
        raise
    except Exception as error:
        raise _defect(error, run.step, job_id) from None
    finally:
        _wake(task)  # the next link of the chain may be due


def _defect(error: Exception, step: str, about: str) -> Defect:
    """Celery sends what is raised to Flower, where nothing redacts it: the log has the rest."""
    _log.exception("%s of job %s failed in an unforeseen way", step, about)
    return Defect(f"{about}: {type(error).__name__} in {step}, see the worker's log")


def _wake(task: Task) -> None:
    clock = task.app.motionq_clock
    if clock is not None:
        clock.wake()


def _execution(task: Task, job_id: str) -> Execution:
    _, step, n = task.request.id.rsplit(".", 2)
    return Execution(job_id=job_id, step=step, n=int(n), worker=task.request.hostname, token=secrets.token_hex(16))


def _services(app: Celery) -> Services:
    services: Services = app.motionq_services()
    return services
