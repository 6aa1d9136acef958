"""A whole life: what a job costs from `submit` to the end, with callbacks on and nothing to download."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from motionq import Request
from motionq.contract.states import State
from motionq_ops.bench.clips import CLIP, IMAGE
from motionq_ops.bench.load_report import Column, Target, bars
from motionq_ops.bench.measure import need_proc, usage
from motionq_ops.bench.parts import BenchFailed
from motionq_ops.bench.waiting_seed import TENANT, job_bytes
from motionq_ops.bench.whole_stage import Parts, whole_stage
from motionq_ops.processes import last_words

TARGET = 14.0  # worker CPU ms per job
_SETTINGS = {"MOTIONQ_RESULTS_URL": "none", "MOTIONQ_SUBMIT_RATE": "1000/1s"}
_PATIENCE = 300.0  # seconds
_SAMPLE = 300  # finished jobs whose keys are measured

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Load:
    """So many jobs with the same two files, submitted together, on one worker."""

    jobs: int
    repeats: int = 3
    generation: float = 5.0  # seconds of the wall clock that the vendor takes for a video


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One repeat, per job. `commands`: Redis commands, those inside of scripts too; `scripts`: calls of scripts.

    `reads`: recordInfo calls that the vendor counted. `seconds`: from submit_many to the last job's end. `ended_bytes`:
    of Redis' memory per finished job.
    """

    repeat: int
    jobs: int
    seconds: float
    worker_ms: float
    receiver_ms: float
    server_ms: float
    commands: float
    scripts: float
    reads: float
    created: int
    ended_bytes: float


def bench(load: Load, say: Say) -> list[Figures]:
    """Each repeat with fresh parts. Raises CannotMeasure, CannotStart, InvalidSettings, BenchFailed."""
    need_proc()
    found = []
    for repeat in range(1, load.repeats + 1):
        say(f"repeat {repeat} of {load.repeats}: {load.jobs:,} jobs")
        with whole_stage(load.generation, _SETTINGS) as parts:
            found.append(_repeat(parts, load, repeat))
    return found


def _repeat(parts: Parts, load: Load, repeat: int) -> Figures:
    live(parts, 1)  # everything is loaded, and the files are at the vendor
    before, began = _spent(parts), time.monotonic()
    ids = live(parts, load.jobs)
    seconds = time.monotonic() - began
    spent = {name: value - before[name] for name, value in _spent(parts).items()}
    each = {name: value / load.jobs for name, value in spent.items()}
    return Figures(
        repeat=repeat,
        jobs=load.jobs,
        seconds=seconds,
        worker_ms=1000 * each["worker"],
        receiver_ms=1000 * each["receiver"],
        server_ms=1000 * each["server"],
        commands=each["commands"],
        scripts=each["scripts"],
        reads=each["reads"],
        created=int(spent["created"]),
        ended_bytes=job_bytes(parts.queue.store, ids[:_SAMPLE], State.SUCCEEDED),
    )


def live(parts: Parts, jobs: int) -> list[str]:
    """Jobs from their beginning to their end; returns their IDs. Raises BenchFailed."""
    store = parts.queue.store
    goal = store.counts()[State.SUCCEEDED] + jobs
    made = parts.queue.submit_many([_request() for _ in range(jobs)])
    ends = time.monotonic() + _PATIENCE
    while (counts := store.counts())[State.SUCCEEDED] < goal:
        if counts[State.FAILED] or time.monotonic() > ends or parts.worker.ended() is not None:
            raise BenchFailed(f"the jobs did not succeed: {dict(counts)}; {last_words(parts.worker.log)}")
        time.sleep(0.25)
    return [job.id for job in made]


def _request() -> Request:
    order = f"order-{secrets.token_hex(8)}"
    return Request(image=IMAGE, video=CLIP, tenant=TENANT, labels={"order": order}, idempotency_key=order)


def _spent(parts: Parts) -> dict[str, float]:
    """Everything so far: processor seconds, commands, calls."""
    stats = parts.redis.info("commandstats")
    calls = {name: int(row["calls"]) for name, row in stats.items() if name != "cmdstat_info"}
    cpu = parts.redis.info("cpu")
    asked = parts.vendor.summary()["calls"]
    return {
        "worker": usage(parts.worker.pid or 0).cpu,
        "receiver": usage(parts.receiver.pid or 0).cpu,
        "server": float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"]),
        "commands": sum(calls.values()),
        "scripts": calls.get("cmdstat_evalsha", 0),
        "reads": asked.get("recordInfo", 0),
        "created": asked.get("createTask", 0),
    }


# -- what is said -----------------------------------------------------------------------------------------------------
COLUMNS = (
    Column("repeat", "REPEAT"),
    Column("jobs", "JOBS"),
    Column("seconds", "SECONDS", "{:.1f}"),
    Column("worker_ms", "WORKER CPU MS", "{:.1f}"),
    Column("receiver_ms", "RECEIVER", "{:.1f}"),
    Column("server_ms", "REDIS", "{:.1f}"),
    Column("commands", "COMMANDS", "{:.0f}"),
    Column("scripts", "SCRIPTS", "{:.1f}"),
    Column("reads", "READS", "{:.2f}"),
    Column("created", "createTask"),
    Column("ended_bytes", "BYTES/JOB", "{:,.0f}"),
)


def rows(runs: Sequence[Figures]) -> list[dict[str, Any]]:
    """The runs, as they are reported."""
    return [asdict(run) for run in runs]


def targets(runs: Sequence[Figures]) -> list[Target]:
    """By the median of the repeats."""
    ordered = sorted(run.worker_ms for run in runs)
    return [Target("a whole life, median,", TARGET, ordered[len(ordered) // 2], "ms of worker CPU")]


def draw(figure: Any, axes: Sequence[Any], runs: Sequence[dict[str, Any]]) -> None:
    """CPU of each repeat."""
    bars(
        axes[0],
        [f"repeat {run['repeat']}" for run in runs],
        [run["worker_ms"] for run in runs],
        "CPU ms per job",
        TARGET,
    )


PLOTS = 1
