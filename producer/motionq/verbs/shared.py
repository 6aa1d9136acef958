"""What the job verbs share: the queue, one job after another, how values are read and jobs are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from motionq.client import MotionQueue
from motionq.contract.errors import MotionQueueError, QueueUnavailable
from motionq.contract.job import Job
from motionq.contract.settings import load
from motionq.contract.states import State
from motionq.output import Code, WrongUsage, report, say, say_json

T = TypeVar("T")


@contextmanager
def opened_queue() -> Iterator[MotionQueue]:
    """The queue that the environment and `./.env` name."""
    with MotionQueue(settings=load(dotenv=True)) as queue:
        yield queue


def each(act: Callable[[str], T], job_ids: Iterable[str], codes: list[Code], as_json: bool) -> Iterator[T]:
    """What `act` gives for each job; errors of single jobs are reported, and their codes kept in `codes`."""
    for job_id in dict.fromkeys(job_ids):
        try:
            yield act(job_id)
        except QueueUnavailable:
            raise  # the next job would not fare better
        except MotionQueueError as error:
            codes.append(report(error, as_json=as_json))


def show(job: Job, as_json: bool, text: str) -> None:
    """The job on stdout: as JSON, or as `text`."""
    if as_json:
        say_json(job.to_json())
    else:
        say(text)


def code(job: Job) -> Code:
    """How a verb that waited for this job ends."""
    return Code.DONE if job.state is State.SUCCEEDED else Code.FAILED


def read(option: str, parse: Any, text: Any, *, limit: object = None) -> Any:
    """The value of an option; a ValueError of `parse` is a usage error. `limit`: all that is allowed."""
    try:
        return parse(text)
    except ValueError as error:
        raise WrongUsage(f"{option}: {error}", field=option, limit=limit, value=text) from None
