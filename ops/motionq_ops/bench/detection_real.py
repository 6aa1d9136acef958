"""A sample of the detection benchmark on real parts: a server, a worker, and the sandbox with short generations.

The same durations are then given to the simulation, so that the two can be compared job by job. Time is not simulated:
the sandbox's clock is the wall clock, and its generations are a fifth as long as usual, as is the cost of a read.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from motionq import Job, Request
from motionq.contract.states import State
from motionq_ops.bench.clips import CLIP, IMAGE
from motionq_ops.bench.detection import Figures, Found, figures, learn
from motionq_ops.bench.parts import Parts, forget_settings, running

SHORTER = 5.0
MEDIAN, SIGMA, COST, EVERY = 150.0 / SHORTER, 0.3, 2.5 / SHORTER, 2.0  # seconds; one job is bought every two seconds
_SWITCHES = {"speed": 1.0, "duration": None, "median_seconds": MEDIAN, "sigma": SIGMA, "seconds_per_driver_second": 0.0}
_ENVIRONMENT = {"MOTIONQ_READ_COST": f"{COST}s", "MOTIONQ_SUBMIT_RATE": f"1/{EVERY}s", "MOTIONQ_RESULTS_URL": "none"}

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """`real`: as measured; `simulated`: the same jobs in the simulation. `settled`: without the first half of them."""

    real: Figures
    simulated: Figures
    real_settled: Figures
    simulated_settled: Figures
    median_seconds: float


def sample(jobs: int, say: Say) -> Sample:
    """So many jobs from end to end, the first half of which a fresh worker learns from. Takes 2 s a job and a minute.

    Raises CannotStart, InvalidSettings, BenchFailed.
    """
    forget_settings()
    os.environ.update(_ENVIRONMENT)
    with tempfile.TemporaryDirectory(prefix="motionq-bench-") as name:
        folder = Path(name)
        with running(folder / "stack", folder / "staging") as parts:
            parts.vendor.settings(**_SWITCHES)
            say(f"{jobs} jobs on a real worker, one every {EVERY:g} s, generations of about {MEDIAN:g} s")
            done = _until_done(parts, jobs)
            return _compared(_durations(parts, done), _found(parts, done))


def _until_done(parts: Parts, jobs: int) -> list[Job]:
    """The jobs, in the order in which they were bought."""
    submitted = parts.queue.submit_many([Request(image=IMAGE, video=CLIP) for _ in range(jobs)])
    done = parts.until_none_is(submitted, frozenset(State) - {State.SUCCEEDED})
    return sorted(done, key=lambda job: next(event.at for event in job.events if event.state == State.RUNNING))


def _durations(parts: Parts, jobs: Sequence[Job]) -> list[float]:
    return [(record["completeTime"] - record["createTime"]) / 1000 for record in _records(parts, jobs)]


def _found(parts: Parts, jobs: Sequence[Job]) -> list[Found]:
    """Reads by the vendor's ledger; delay from the vendor's completeTime to the verdict on record."""
    reads = [entry["taskId"] for entry in parts.vendor.ledger("recordInfo")]
    found = []
    for job, record in zip(jobs, _records(parts, jobs), strict=True):
        verdict = next(event.at for event in job.events if event.state == State.DELIVERING)
        found.append(Found(reads.count(job.task_id), verdict.timestamp() - record["completeTime"] / 1000))
    return found


def _records(parts: Parts, jobs: Sequence[Job]) -> list[dict[str, Any]]:
    return [parts.vendor.task(str(job.task_id))["record"] for job in jobs]


def _compared(durations: Sequence[float], real: Sequence[Found]) -> Sample:
    simulated, half = learn(durations, EVERY, COST, seed=1), len(durations) // 2
    return Sample(
        real=figures("sample", "real stack", real),
        simulated=figures("sample", "simulated", simulated),
        real_settled=figures("sample", "real stack, second half", real[half:]),
        simulated_settled=figures("sample", "simulated, second half", simulated[half:]),
        median_seconds=statistics.median(durations),
    )


def as_json(found: Sample) -> dict[str, Any]:
    """The sample as a part of the report."""
    rows = (found.real, found.simulated, found.real_settled, found.simulated_settled)
    lines = [{k: round(v, 3) if isinstance(v, float) else v for k, v in asdict(row).items()} for row in rows]
    return {"median_seconds": round(found.median_seconds, 2), "cost": COST, "every": EVERY, "runs": lines}
