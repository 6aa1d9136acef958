"""The waiting phase: jobs in flight, looked at again and again; what that costs, and how late the looks are."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from pydantic import SecretStr

from motionq import MotionQueue, Request, Settings
from motionq_ops.bench.clips import CLIP, IMAGE, write_clips
from motionq_ops.bench.load_report import Column, Target, bars
from motionq_ops.bench.measure import need_proc
from motionq_ops.bench.parts import BenchFailed
from motionq_ops.bench.stub_stage import NotInTime, Stage, stage
from motionq_ops.bench.waiting_plain import CONCURRENCY, POOL, look
from motionq_ops.bench.waiting_seed import Seeder, job_bytes
from motionq_ops.processes import Command

LATENCY = 0.1  # seconds per answer of the vendor
MINUTE = 60.0  # seconds that a slow upload takes
MOTIONQ, PLAIN, SLOW = "motionq", "Celery self.retry", "motionq, slow uploads"
_SAMPLE = 500  # jobs whose keys are measured
_START = 3.0  # seconds that workers take to start
_WARM = 2.5  # intervals until everything was looked at once

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Load:
    """`jobs` in flight, each looked at every `interval` seconds, by so many workers, measured for `seconds`.

    `uploads`: files of one minute each that are to be uploaded at the same time. `plain`: jobs without idempotency key,
    label and tenant.
    """

    jobs: int
    interval: float
    seconds: float
    workers: int = 1
    uploads: int = 0
    upload_seconds: float = MINUTE
    plain: bool = False


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One run. Lateness in seconds, as the vendor sees it (stub_figures.py); bytes; processor milliseconds.

    `commands_per_check`: of Redis, those inside of scripts too; `scripts_per_check`: calls of scripts; `job_bytes`: of
    Redis' memory per running job, key by key; `used_bytes`: by how much the server's used_memory grew per job;
    `uploads_open`: how many uploads were on their way (mean).
    """

    design: str
    jobs: int
    interval: float
    workers: int
    checks: int
    checks_per_second: float
    wanted_per_second: float
    late_p50: float
    late_p99: float
    late_most: float
    overdue: int
    cpu_ms_per_check: float
    server_ms_per_check: float
    rss_bytes: int
    commands_per_check: float
    scripts_per_check: float
    job_bytes: float | None = None
    used_bytes: float | None = None
    uploads_open: int = 0


def bench(loads: Sequence[Load], compare: bool, say: Say) -> list[Figures]:
    """One run for each load, each on fresh parts; `compare`: each also by plain Celery.

    Raises CannotMeasure, CannotStart, InvalidSettings, BenchFailed.
    """
    need_proc()
    designs = (_motionq, _plain) if compare else (_motionq,)
    return [design(load, say) for load in loads for design in designs]


def _motionq(load: Load, say: Say) -> Figures:
    name = SLOW if load.uploads else MOTIONQ
    others = f" beside {load.uploads} slow uploads" if load.uploads else ""
    say(f"{load.workers} worker(s): {load.jobs:,} jobs every {load.interval:g} s{others}")
    settings = {"MOTIONQ_READ_RATE": f"{max(1000, int(4 * load.jobs / load.interval))}/1s"}
    with stage(latency=LATENCY, upload=load.upload_seconds, settings=settings) as parts:
        seeder = Seeder(parts.store, plain=load.plain)
        before = _used(parts)
        ids = seeder.running(load.jobs, load.interval)
        used, each = (_used(parts) - before) / load.jobs, job_bytes(parts.store, ids[:_SAMPLE])
        if load.uploads:
            queue_uploads(parts, load.uploads)
        seeder.spread(ids, _START, load.interval)
        parts.start_workers(load.workers, load.interval)
        if load.uploads:
            at_once = min(load.uploads, Settings().transfers_at_once)
            parts.until(lambda: parts.vendor.open_uploads() >= at_once, 120.0, "the uploads do not begin")
        _warm_up(parts, load)
        return replace(_measured(parts, load, name), job_bytes=each, used_bytes=used)


def _used(parts: Stage) -> int:
    return int(parts.redis.info("memory")["used_memory"])


def queue_uploads(parts: Stage, count: int) -> None:
    """Jobs with a video each that nobody has uploaded yet."""
    folder = parts.plan.data_dir
    clips = write_clips(folder, count, CLIP.stat().st_size + 1000)
    url = SecretStr(parts.server.url)
    with MotionQueue(settings=Settings(redis_url=url, data_dir=folder)) as queue:  # the workers' own staging
        queue.submit_many([Request(image=IMAGE, video=clip) for clip in clips])


def _plain(load: Load, say: Say) -> Figures:
    say(f"{PLAIN}: {load.jobs:,} jobs every {load.interval:g} s")
    with stage(latency=LATENCY, settings={}) as parts:
        broker = parts.server.celery_url
        look.app.conf.broker_url = broker
        with look.app.connection_for_write() as connection, look.app.amqp.Producer(connection) as producer:
            for number in range(load.jobs):
                wait = random.uniform(0, load.interval)
                look.apply_async((f"{number:032x}",), countdown=wait, producer=producer)
        parts.start(_plain_worker(parts, broker, load.interval))
        with suppress(NotInTime):  # then it is behind, and is measured so
            _warm_up(parts, load)
        return _measured(parts, load, PLAIN)


def _plain_worker(parts: Stage, broker: str, interval: float) -> Command:
    """Its fastest pool for this work, without gossip and mingle."""
    words = ("-m", "celery", "-A", "motionq_ops.bench.waiting_plain", "worker", "-n", "plain@%h")
    options = (f"--pool={POOL}", f"--concurrency={CONCURRENCY}", "--without-gossip", "--without-mingle")
    surroundings = {"BENCH_BROKER": broker, "BENCH_VENDOR": parts.vendor.url, "BENCH_INTERVAL": f"{interval:g}"}
    environment = {**parts.plan.environment, **surroundings, "NO_PROXY": "127.0.0.1"}
    argv = (sys.executable, "-P", *words, *options)
    return Command(name="plain", argv=argv, environment=environment, log=parts.plan.log("plain"))


def _warm_up(parts: Stage, load: Load) -> None:
    """Until every task was looked at. Raises NotInTime."""
    warm = _WARM * load.interval + 30.0
    parts.until(lambda: parts.vendor.asked() >= load.jobs, warm, "not every job was looked at")


def _measured(parts: Stage, load: Load, design: str) -> Figures:
    parts.vendor.begin()
    began, cpu, server, before = time.monotonic(), parts.cpu(), parts.server_cpu(), parts.commands()
    uploads = []
    while time.monotonic() < began + load.seconds:
        parts.alive()
        uploads += [parts.vendor.open_uploads()] if load.uploads else []
        time.sleep(0.5)
    seen = parts.vendor.report(load.interval)
    cpu, server = parts.cpu() - cpu, parts.server_cpu() - server
    if not (checks := int(seen["looks"])):
        raise BenchFailed("nothing was looked at while it was measured")
    after = parts.commands()
    ran = {name: count - before.get(name, 0) for name, count in after.items() if name != "info"}
    return Figures(
        design=design,
        jobs=load.jobs,
        interval=load.interval,
        workers=len(parts.workers),
        checks=checks,
        checks_per_second=checks / float(seen["seconds"]),
        wanted_per_second=load.jobs / load.interval,
        late_p50=seen["late_p50"],
        late_p99=seen["late_p99"],
        late_most=seen["late_most"],
        overdue=seen["overdue"],
        cpu_ms_per_check=1000 * cpu / checks,
        server_ms_per_check=1000 * server / checks,
        rss_bytes=parts.rss(),
        commands_per_check=sum(ran.values()) / checks,
        scripts_per_check=ran.get("evalsha", 0) / checks,
        uploads_open=round(sum(uploads) / len(uploads)) if uploads else 0,
    )


# -- what is said -----------------------------------------------------------------------------------------------------
COLUMNS = (
    Column("design", "DESIGN", "{}"),
    Column("jobs", "IN FLIGHT"),
    Column("interval", "EVERY S", "{:g}"),
    Column("workers", "WORKERS"),
    Column("checks_per_second", "CHECKS/S", "{:,.0f}"),
    Column("wanted_per_second", "WANTED/S", "{:,.0f}"),
    Column("late_p50", "LATE P50 S", "{:.2f}"),
    Column("late_p99", "P99 S", "{:.2f}"),
    Column("cpu_ms_per_check", "CPU MS/CHECK", "{:.2f}"),
    Column("server_ms_per_check", "REDIS MS", "{:.3f}"),
    Column("commands_per_check", "COMMANDS", "{:.2f}"),
    Column("scripts_per_check", "SCRIPTS", "{:.3f}"),
    Column("rss_mb", "RSS MB", "{:.0f}"),
    Column("job_bytes", "BYTES/JOB", "{:,.0f}"),
    Column("used_bytes", "USED/JOB", "{:,.0f}"),
    Column("uploads_open", "UPLOADS", "{:,}"),
)


def rows(runs: Sequence[Figures]) -> list[dict[str, Any]]:
    """The runs, as they are reported."""
    return [asdict(run) | {"rss_mb": run.rss_bytes / 1e6} for run in runs]


def targets(runs: Sequence[Figures]) -> list[Target]:
    """The promises, each where its load was measured."""
    found: list[Target] = []
    for run in runs:
        at = f"at {run.jobs:,} every {run.interval:g} s"
        if run.design == SLOW:
            found.append(
                Target(f"lateness p99 {at}, {run.uploads_open} slow uploads on their way,", 2.0, run.late_p99, "s")
            )
        elif run.design == MOTIONQ and (run.jobs, run.interval, run.workers) == (10_000, 10.0, 1):
            found.append(Target(f"CPU per check {at}", 0.45, run.cpu_ms_per_check, "ms"))
            found.append(Target(f"lateness p99 {at}", 0.8, run.late_p99, "s"))
        elif run.design == MOTIONQ and (run.jobs, run.interval, run.workers) == (100_000, 60.0, 2):
            found.append(Target(f"lateness p99 {at}, two workers,", 2.0, run.late_p99, "s"))
            found.append(Target(f"memory of a worker {at}", 150.0, run.rss_bytes / 1e6, "MB"))
        if run.design == MOTIONQ and run.job_bytes and run.jobs >= 1000:
            found.append(Target(f"Redis' memory per running job {at}", 2048.0, run.job_bytes, "bytes"))
    return found


def draw(figure: Any, axes: Sequence[Any], runs: Sequence[Mapping[str, Any]]) -> None:
    """CPU per check and lateness of each run."""
    names = [f"{run['design']}\n{run['jobs']:,} / {run['interval']:g} s" for run in runs]
    bars(axes[0], names, [run["cpu_ms_per_check"] for run in runs], "worker CPU per check (ms)", 0.45)
    bars(axes[1], names, [run["late_p99"] for run in runs], "lateness p99 (s)", 0.8)
    figure.suptitle("waiting")


PLOTS = 2
