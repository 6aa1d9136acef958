"""From a callback to the video in storage: jobs that end one after the other, on the parts of a whole life."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from motionq.contract.states import State
from motionq_ops.bench.lifetime import live
from motionq_ops.bench.load_report import Target
from motionq_ops.bench.measure import tree_cpu
from motionq_ops.bench.stub_figures import percentile
from motionq_ops.bench.whole_stage import Parts, whole_stage

TARGET = 0.3  # seconds, the median
_SETTINGS = {"MOTIONQ_SUBMIT_RATE": "6/3s"}  # the pace at which an account may buy

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Seconds from the moment at which the vendor sent its callback to the move that says "stored".

    `cpu_ms`: processor time of the worker per job, that of the processes in which it decodes videos included.
    """

    jobs: int
    p50: float
    p95: float
    most: float
    cpu_ms: float


def bench(jobs: int, generation: float, say: Say) -> Figures:
    """So many jobs, two a second, whose videos are fetched, decoded and stored.

    Raises CannotStart, InvalidSettings, BenchFailed.
    """
    say(f"{jobs} jobs, two a second, with their videos")
    with whole_stage(generation, _SETTINGS) as parts:
        live(parts, 1)  # everything is loaded, and the files are at the vendor
        before = tree_cpu(parts.worker.pid or 0)
        ids = live(parts, jobs)
        spent = tree_cpu(parts.worker.pid or 0) - before
        return figures(_seconds(parts, ids), 1000 * spent / jobs)


def _seconds(parts: Parts, ids: Sequence[str]) -> list[float]:
    """Of each job, by the clock that vendor and server share; those without a callback are left out."""
    called = first_calls(parts.vendor.ledger("callback"))
    found = []
    for job in (parts.queue.get(job_id) for job_id in ids):
        stored = next(event.at for event in job.events if event.state == State.SUCCEEDED)
        if job.task_id in called:
            found.append((stored - called[job.task_id]).total_seconds())
    return found


def first_calls(entries: Iterable[Mapping[str, Any]]) -> dict[str, datetime]:
    """Task ID → when the vendor first called for it, from the lines of its ledger."""
    found: dict[str, datetime] = {}
    for entry in entries:
        found.setdefault(str(entry["taskId"]), datetime.fromisoformat(str(entry["at"])))
    return found


def figures(seconds: Sequence[float], cpu_ms: float) -> Figures:
    """What is reported."""
    ordered = sorted(seconds)
    return Figures(
        jobs=len(ordered),
        p50=statistics.median(ordered),
        p95=percentile(ordered, 0.95),
        most=ordered[-1],
        cpu_ms=cpu_ms,
    )


def targets(found: Figures) -> list[Target]:
    """The promise is about the median."""
    return [Target("stored after the callback arrives, median,", TARGET, found.p50, "s")]
