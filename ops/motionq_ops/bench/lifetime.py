"""A whole life: what a job costs from `submit` to the end, with callbacks on and nothing to download."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from redis import Redis

from motionq import MotionQueue, Request, Settings
from motionq.contract.errors import InvalidSettings
from motionq.contract.states import State
from motionq_ops.bench.clips import CLIP, IMAGE
from motionq_ops.bench.load_report import Column, Target, bars
from motionq_ops.bench.measure import need_proc, usage
from motionq_ops.bench.parts import BenchFailed, forget_settings
from motionq_ops.plan import SANDBOX_HMAC_KEY, SANDBOX_KEY, Plan, receiver_command, worker_command
from motionq_ops.processes import Child, last_words
from motionq_ops.queue_server import QueueServer
from motionq_ops.redis_server import ServerBinaryMissing, ServerError, free_port
from motionq_ops.sandbox.process import SandboxFailed, SandboxProcess
from motionq_ops.supervisor import CannotStart

TARGET = 14.0  # worker CPU ms per job
_SPEED = 20.0  # simulated seconds per second
_SETTINGS = {
    "MOTIONQ_RESULTS_URL": "none",
    "MOTIONQ_SUBMIT_RATE": "1000/1s",
    "MOTIONQ_MAX_IN_FLIGHT": "10000",
    "MOTIONQ_READ_RATE": "1000/1s",
}
_PATIENCE = 300.0  # seconds

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

    `reads`: recordInfo calls that the vendor counted. `seconds`: from submit_many to the last job's end.
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


@dataclass(frozen=True)
class _Parts:
    queue: MotionQueue
    redis: Redis
    vendor: SandboxProcess
    worker: Child
    receiver: Child


def bench(load: Load, say: Say) -> list[Figures]:
    """Each repeat with fresh parts. Raises CannotMeasure, CannotStart, InvalidSettings, BenchFailed."""
    need_proc()
    forget_settings()
    found = []
    for repeat in range(1, load.repeats + 1):
        say(f"repeat {repeat} of {load.repeats}: {load.jobs:,} jobs")
        with (
            tempfile.TemporaryDirectory(prefix="motionq-bench-") as folder,
            _running(Path(folder), load.generation) as parts,
        ):
            found.append(_repeat(parts, load, repeat))
    return found


def _repeat(parts: _Parts, load: Load, repeat: int) -> Figures:
    _live(parts, 1)  # everything is loaded, and the files are at the vendor
    before, began = _spent(parts), time.monotonic()
    _live(parts, load.jobs)
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
    )


def _live(parts: _Parts, jobs: int) -> None:
    """Jobs from their beginning to their end."""
    store = parts.queue.store
    goal = store.counts()[State.SUCCEEDED] + jobs
    parts.queue.submit_many([Request(image=IMAGE, video=CLIP)] * jobs)
    ends = time.monotonic() + _PATIENCE
    while (counts := store.counts())[State.SUCCEEDED] < goal:
        if counts[State.FAILED] or time.monotonic() > ends or parts.worker.ended() is not None:
            raise BenchFailed(f"the jobs did not succeed: {dict(counts)}; {last_words(parts.worker.log)}")
        time.sleep(0.25)


def _spent(parts: _Parts) -> dict[str, float]:
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


@contextmanager
def _running(folder: Path, generation: float) -> Iterator[_Parts]:
    """A server, the sandbox, a receiver, a worker. Call in the main thread (see leash.py)."""
    plan = Plan(
        data_dir=folder,
        callback_port=free_port(),
        local_callbacks=True,
        sandbox_speed=_SPEED,
        environment=dict(os.environ) | _SETTINGS,
        folder=folder,
    )
    plan.temporary.mkdir(parents=True)
    try:
        server = QueueServer(plan.server_folder, plan.log("redis"), os.environ.get("MOTIONQ_SERVER_BINARY"))
        switches = {"render": "none", "duration": generation * _SPEED, "rate_limit": "off"}
        vendor = SandboxProcess(speed=_SPEED, api_keys=(SANDBOX_KEY,), hmac_key=SANDBOX_HMAC_KEY, settings=switches)
        with server, vendor, _children(plan, server.url, vendor.url) as (receiver, worker):
            settings = Settings(redis_url=SecretStr(server.url), data_dir=folder)
            with Redis.from_url(server.url, decode_responses=True) as redis, MotionQueue(settings=settings) as queue:
                yield _Parts(queue, redis, vendor, worker, receiver)
    except ServerBinaryMissing as error:
        raise InvalidSettings(str(error)) from error
    except (ServerError, SandboxFailed) as error:
        raise CannotStart(str(error)) from error


@contextmanager
def _children(plan: Plan, redis_url: str, vendor_url: str) -> Iterator[tuple[Child, Child]]:
    children = (Child(receiver_command(plan, redis_url)), Child(worker_command(plan, "bench", redis_url, vendor_url)))
    try:
        for child in children:
            child.start()
        yield children
    finally:
        for child in children:
            child.terminate()
        for child in children:
            child.wait(10.0)
            child.kill()


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
