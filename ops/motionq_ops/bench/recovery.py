"""After SIGKILL to every worker: how long until one new worker has looked at every task that is in flight."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from motionq.contract.states import State
from motionq_ops.bench.load_report import Column, Target, bars
from motionq_ops.bench.measure import need_proc
from motionq_ops.bench.stub_stage import Stage, stage
from motionq_ops.bench.waiting_seed import Seeder

TARGET = 20.0  # seconds

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Load:
    """`jobs` in flight, looked at every `interval` seconds by `workers`; all are killed, and one is started."""

    jobs: int
    interval: float
    workers: int = 2
    repeats: int = 3
    lease: float = 15.0  # MOTIONQ_CHECK_LEASE: after so long a dead worker's look is another's


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One repeat. `seconds`: from the kill to the first look at the last job; `first`: to the first look at all.

    `running`: jobs still on record as running at the end; `checked`: tasks that the vendor was asked for.
    """

    repeat: int
    jobs: int
    workers_killed: int
    first: float
    seconds: float
    checked: int
    running: int


def bench(load: Load, say: Say) -> list[Figures]:
    """Raises CannotMeasure, CannotStart, InvalidSettings, BenchFailed."""
    need_proc()
    rate = max(1000, int(4 * load.jobs / load.interval))
    found = []
    settings = {"MOTIONQ_READ_RATE": f"{rate}/1s", "MOTIONQ_CHECK_LEASE": f"{load.lease:g}s"}
    with stage(settings=settings) as parts:
        Seeder(parts.store).running(load.jobs, load.interval)
        for repeat in range(1, load.repeats + 1):
            say(f"repeat {repeat} of {load.repeats}: {load.jobs:,} in flight")
            found.append(_repeat(parts, load, repeat))
    return found


def _repeat(parts: Stage, load: Load, repeat: int) -> Figures:
    if missing := load.workers - len(parts.workers):
        parts.start_workers(missing, load.interval)
    _all_looked_at(parts, load)
    killed = len(parts.workers)
    parts.kill_workers()
    parts.vendor.begin()
    began = time.monotonic()
    parts.launch_workers(1, load.interval)
    parts.until(lambda: parts.vendor.asked() > 0, 120.0, "nothing was looked at again")
    first = time.monotonic() - began
    parts.until(lambda: parts.vendor.asked() >= load.jobs, 600.0, "not every job was looked at again")
    seconds = time.monotonic() - began
    running = parts.store.counts()[State.RUNNING]
    return Figures(
        repeat=repeat,
        jobs=load.jobs,
        workers_killed=killed,
        first=first,
        seconds=seconds,
        checked=parts.vendor.asked(),
        running=running,
    )


def _all_looked_at(parts: Stage, load: Load) -> None:
    parts.vendor.begin()
    parts.until(lambda: parts.vendor.asked() >= load.jobs, 120.0 + 3 * load.interval, "not every job was looked at")


# -- what is said -----------------------------------------------------------------------------------------------------
COLUMNS = (
    Column("repeat", "REPEAT"),
    Column("jobs", "IN FLIGHT"),
    Column("workers_killed", "KILLED"),
    Column("first", "FIRST LOOK S", "{:.1f}"),
    Column("seconds", "EVERY JOB S", "{:.1f}"),
    Column("checked", "LOOKED AT"),
    Column("running", "STILL RUNNING"),
)


def rows(runs: Sequence[Figures]) -> list[dict[str, Any]]:
    """The runs, as they are reported."""
    return [asdict(run) for run in runs]


def targets(runs: Sequence[Figures]) -> list[Target]:
    """By the worst repeat."""
    return [
        Target("every job looked at again, worst repeat,", TARGET, max(run.seconds for run in runs), "s"),
        Target("jobs lost", 0, max(run.jobs - run.running for run in runs)),
    ]


def draw(figure: Any, axes: Sequence[Any], runs: Sequence[dict[str, Any]]) -> None:
    """Seconds of each repeat."""
    names = [f"repeat {run['repeat']}" for run in runs]
    bars(axes[0], names, [run["seconds"] for run in runs], "seconds until every job was looked at", TARGET)


PLOTS = 1
