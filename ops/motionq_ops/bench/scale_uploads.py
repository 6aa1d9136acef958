"""As many uploads as one and two workers can do, to a vendor that takes its time with each of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from motionq import Settings
from motionq_ops.bench.load_report import Column, bars
from motionq_ops.bench.measure import need_proc
from motionq_ops.bench.scale import limit_of
from motionq_ops.bench.stub_stage import Stage, stage
from motionq_ops.bench.waiting import queue_uploads

SLOW = 8.0  # seconds for each upload, so that the machine's cores are not the limit
_START = 120.0  # seconds until all of a worker's transfers are under way
_SPARE = 1.5  # so that uploads do not run out while they are counted

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One run. Videos, each of its own; `at_once`: on their way (mean); cores: processor seconds per second."""

    workers: int
    uploads: int
    uploads_per_second: float
    at_once: float
    worker_cores: float
    limit: str


def bench(workers: Sequence[int], seconds: float, say: Say) -> list[Figures]:
    """Each number of workers on fresh parts. Raises CannotMeasure, CannotStart, InvalidSettings, BenchFailed."""
    need_proc()
    found = []
    for count in workers:
        say(f"{count} worker(s): uploads of {SLOW:g} s each")
        with stage(upload=SLOW, settings={}) as parts:
            found.append(_run(parts, count, seconds))
    return found


def _run(parts: Stage, workers: int, seconds: float) -> Figures:
    room = workers * Settings().transfers_at_once
    queue_uploads(parts, int(room * (1 + _SPARE * seconds / SLOW)) + room)
    parts.start_workers(workers, None)
    parts.until(lambda: parts.vendor.open_uploads() >= room, _START, "the uploads do not begin")
    return _measured(parts, seconds, room)


def _measured(parts: Stage, seconds: float, room: int) -> Figures:
    before, cpu, began = parts.vendor.report(1.0)["uploads"], parts.cpu(), time.monotonic()
    at_once = []
    while time.monotonic() < began + seconds:
        parts.alive()
        at_once.append(parts.vendor.open_uploads())
        time.sleep(0.25)
    took = time.monotonic() - began
    done, cpu = parts.vendor.report(1.0)["uploads"] - before, parts.cpu() - cpu
    mean, workers = sum(at_once) / len(at_once), len(parts.workers)
    full = mean >= 0.9 * room
    return Figures(
        workers=workers,
        uploads=done,
        uploads_per_second=done / took,
        at_once=mean,
        worker_cores=cpu / took,
        limit=f"{room // workers} transfers at once per worker (MOTIONQ_TRANSFERS)"
        if full
        else limit_of(cpu / took / workers, 0.0, 0.0, done / took, room / SLOW),
    )


# -- what is said -----------------------------------------------------------------------------------------------------
COLUMNS = (
    Column("workers", "WORKERS"),
    Column("uploads_per_second", "UPLOADS/S", "{:,.2f}"),
    Column("at_once", "AT ONCE", "{:.1f}"),
    Column("worker_cores", "CORES: WORKERS", "{:.2f}"),
    Column("limit", "LIMIT", "{}"),
)


def rows(runs: Sequence[Figures]) -> list[dict[str, Any]]:
    """The runs, as they are reported."""
    return [asdict(run) for run in runs]


def draw(figure: Any, axes: Sequence[Any], runs: Sequence[dict[str, Any]]) -> None:
    """Uploads per second."""
    names = [f"{run['workers']} worker(s)" for run in runs]
    bars(axes[0], names, [run["uploads_per_second"] for run in runs], "uploads/s")


PLOTS = 1
