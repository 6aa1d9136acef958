"""How fast jobs are enqueued: `submit` and `submit_many`, beside what Celery does with a task of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from celery import Celery, chain
from pydantic import SecretStr

from motionq import MotionQueue, Request, Settings
from motionq.contract.states import State
from motionq_ops.bench.load_report import Column, Target, bars
from motionq_ops.bench.measure import need_proc
from motionq_ops.bench.parts import BenchFailed
from motionq_ops.bench.stub_stage import Stage, stage

SUBMIT, MANY, DELAY, CHAIN = "submit", "submit_many", "Celery .delay()", "Celery chain of 3"
_LINKS = 3

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Load:
    """`jobs` are enqueued by `submit_many`, in calls of `chunk`; a tenth of them each by the other ways."""

    jobs: int
    chunk: int
    repeats: int = 3


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One way; the median of the repeats. `on_record`: jobs or messages that were found on the server afterwards."""

    name: str
    jobs: int
    seconds: float
    on_record: int
    jobs_per_second: float
    us_per_job: float


def bench(load: Load, say: Say) -> list[Figures]:
    """Each way on a fresh server, without a worker. Raises CannotMeasure, CannotStart, InvalidSettings, BenchFailed."""
    need_proc()
    few = max(1, load.jobs // 10)
    ways: dict[str, tuple[int, Callable[[Stage, int], tuple[float, int]]]] = {
        SUBMIT: (few, _submit),
        MANY: (load.jobs, lambda parts, jobs: _submit_many(parts, jobs, load.chunk)),
        DELAY: (few, _delay),
        CHAIN: (few, _chain),
    }
    found = []
    for name, (jobs, way) in ways.items():
        say(f"{name}: {jobs:,} jobs, {load.repeats} times")
        with stage(settings={}) as parts:
            found.append(_figures(name, jobs, [_clean_run(parts, jobs, way) for _ in range(load.repeats)]))
    return found


def _clean_run(parts: Stage, jobs: int, way: Callable[[Stage, int], tuple[float, int]]) -> tuple[float, int]:
    parts.redis.flushall()  # a server of our own
    seconds, on_record = way(parts, jobs)
    if on_record != jobs:
        raise BenchFailed(f"{on_record} of {jobs} are on the server")
    return seconds, on_record


def _figures(name: str, jobs: int, runs: Sequence[tuple[float, int]]) -> Figures:
    seconds, on_record = sorted(runs)[len(runs) // 2]
    return Figures(
        name=name,
        jobs=jobs,
        seconds=seconds,
        on_record=on_record,
        jobs_per_second=jobs / seconds,
        us_per_job=1e6 * seconds / jobs,
    )


# -- motionq ----------------------------------------------------------------------------------------------------------
def _request(number: int) -> Request:
    """By addresses, so that the disk plays no part."""
    return Request(
        image=f"https://host/hero{number}.png",
        video=f"https://host/dance{number}.mp4",
        prompt="a dance " * 12,
        labels={"order": str(number)},
    )


def _queue(parts: Stage) -> MotionQueue:
    return MotionQueue(settings=Settings(redis_url=SecretStr(parts.server.url), data_dir=parts.plan.data_dir))


def _submit(parts: Stage, jobs: int) -> tuple[float, int]:
    requests = [vars(_request(number)) for number in range(jobs)]
    with _queue(parts) as queue:
        queue.submit(**vars(_request(-1)))  # connects
        began = time.perf_counter()
        for request in requests:
            queue.submit(**request)
        return time.perf_counter() - began, queue.store.counts()[State.QUEUED] - 1


def _submit_many(parts: Stage, jobs: int, chunk: int) -> tuple[float, int]:
    requests = [_request(number) for number in range(jobs)]
    with _queue(parts) as queue:
        queue.submit_many([_request(-1)])
        began = time.perf_counter()
        for at in range(0, jobs, chunk):
            queue.submit_many(requests[at : at + chunk])
        return time.perf_counter() - began, queue.store.counts()[State.QUEUED] - 1


# -- Celery -----------------------------------------------------------------------------------------------------------
def _app(parts: Stage) -> tuple[Celery, Any]:
    app = Celery("bench", broker=parts.server.celery_url, set_as_current=False)
    app.conf.update(task_ignore_result=True)

    @app.task(name="nothing")  # type: ignore[untyped-decorator]
    def nothing(job_id: str) -> None:
        """Does nothing."""

    return app, nothing


def _waiting(parts: Stage) -> int:
    return int(parts.redis.llen("celery"))


def _delay(parts: Stage, jobs: int) -> tuple[float, int]:
    app, nothing = _app(parts)
    try:
        nothing.delay("warm")
        began = time.perf_counter()
        for number in range(jobs):
            nothing.delay(f"{number:026d}")
        return time.perf_counter() - began, _waiting(parts) - 1
    finally:
        app.close()


def _chain(parts: Stage, jobs: int) -> tuple[float, int]:
    app, nothing = _app(parts)
    try:
        nothing.delay("warm")
        began = time.perf_counter()
        for number in range(jobs):
            chain(*(nothing.si(f"{number:026d}") for _ in range(_LINKS)), app=app).apply_async()
        return time.perf_counter() - began, _waiting(parts) - 1
    finally:
        app.close()


# -- what is said -----------------------------------------------------------------------------------------------------
COLUMNS = (
    Column("name", "WAY", "{}"),
    Column("jobs", "JOBS"),
    Column("jobs_per_second", "JOBS/S", "{:,.0f}"),
    Column("us_per_job", "MICROSECONDS EACH", "{:,.0f}"),
    Column("on_record", "ON THE SERVER"),
)


def rows(runs: Sequence[Figures]) -> list[dict[str, Any]]:
    """The runs, as they are reported."""
    return [asdict(run) for run in runs]


def targets(runs: Sequence[Figures]) -> list[Target]:
    """The promise."""
    many = next(run for run in runs if run.name == MANY)
    return [Target("submit_many", 5000, many.jobs_per_second, "jobs/s", least=True)]


def draw(figure: Any, axes: Sequence[Any], runs: Sequence[dict[str, Any]]) -> None:
    """Jobs per second of each way."""
    bars(axes[0], [run["name"] for run in runs], [run["jobs_per_second"] for run in runs], "enqueued jobs/s", 5000)


PLOTS = 1
