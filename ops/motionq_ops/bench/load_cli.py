"""`motionq bench` waiting, enqueue, lifetime, recovery, scale and plan: their options."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from motionq.contract import settings
from motionq.output import Code, note, say, say_json
from motionq_ops.bench import enqueue, lifetime, load_plan, load_report, recovery, scale, scale_uploads, stored, waiting
from motionq_ops.bench.load_report import Column
from motionq_ops.stop import Stopped, stops_on_signals

T = TypeVar("T")

Picture = Callable[[Any, Any, Any], None]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Plot = Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Draw a PNG file too (extra `bench`).")]
_CODES = """

Linux only. Exit codes: 0 measured (whether a target is met, the output says), 1 it can't be measured, 2 wrong usage,
130 Ctrl+C."""


def duration(text: str) -> float:
    """`90s`, `2m` or seconds."""
    try:
        seconds = float(str(settings.seconds(text)))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if seconds <= 0:
        raise typer.BadParameter("must be more than 0")
    return seconds


def run(measure: Callable[[], T]) -> T | None:
    """What was measured; None when somebody stopped it."""
    with stops_on_signals():
        try:
            return measure()
        except Stopped:
            note("stopped")
            return None


def draw(plot: Path | None, picture: Picture, runs: Sequence[Any], parts: int) -> None:
    """The runs as a PNG file with so many parts, if one was asked for. Raises MissingPlots."""
    if plot:
        load_report.plot(plot, lambda figure, axes: picture(figure, axes, runs), columns=parts)
        note(f"drawn: {plot}")


def tell(
    said: dict[str, Any],
    columns: Sequence[Column],
    as_json: bool,
    plot: Path | None,
    picture: Picture,
    parts: int,
) -> int:
    """Draws if asked, and prints."""
    draw(plot, picture, said["runs"], parts)
    if as_json:
        say_json(said)
    else:
        say(load_report.text(said, columns))
    return Code.DONE


def add_to(app: typer.Typer) -> None:
    """The benchmarks of load become verbs of `motionq bench`."""
    app.command("waiting", epilog=_WAITING + _CODES)(bench_waiting)
    app.command("enqueue", epilog=_ENQUEUE + _CODES)(bench_enqueue)
    app.command("lifetime", epilog=_LIFETIME + _CODES)(bench_lifetime)
    app.command("recovery", epilog=_RECOVERY + _CODES)(bench_recovery)
    app.command("scale", epilog=_SCALE + _CODES)(bench_scale)
    app.command("plan", epilog=_PLAN)(bench_plan)


_WAITING = """Examples:
  motionq bench waiting
  motionq bench waiting --jobs 1000 --interval 10s --compare
  motionq bench waiting --jobs 100000 --interval 60s --workers 2 --seconds 120
  motionq bench waiting --jobs 1000 --slow-uploads 200 --seconds 60

Without --jobs: 100, 1,000 and 10,000. The vendor is a stub that answers after 100 ms and keeps the time: a look is late
by what passes between the answer before plus the interval, and its arrival. BYTES/JOB are those of a job's own keys
(MEMORY USAGE) and its share of the sets; USED/JOB is by how much the server's used_memory grew. UPLOADS are those on
their way at once, at most MOTIONQ_TRANSFERS. --compare runs each load also by a plain Celery task that calls
self.retry(countdown=...), in one process with 50 threads."""


def bench_waiting(
    jobs: Annotated[list[int] | None, typer.Option(metavar="N", min=1, help="In flight; may be repeated.")] = None,
    interval: Annotated[str, typer.Option(metavar="D", help="Between two looks at a task.")] = "10s",
    seconds: Annotated[str, typer.Option(metavar="D", help="Measured, after a warm-up.")] = "30s",
    workers: Annotated[int, typer.Option(metavar="N", min=1, help="Worker processes.")] = 1,
    slow_uploads: Annotated[int, typer.Option(metavar="N", min=0, help="Uploads of one minute each.")] = 0,
    compare: Annotated[bool, typer.Option("--compare", help="Plain Celery on the same stub.")] = False,
    plain_jobs: Annotated[
        bool, typer.Option("--plain-jobs", help="Without idempotency key, label and tenant.")
    ] = False,
    as_json: Json = False,
    plot: Plot = None,
) -> int:
    """What waiting costs: CPU and commands per check, and how late the checks are."""
    busy, every = os.getloadavg(), duration(interval)
    loads = [
        waiting.Load(
            jobs=n,
            interval=every,
            seconds=duration(seconds),
            workers=workers,
            uploads=slow_uploads,
            plain=plain_jobs,
        )
        for n in jobs or (100, 1000, 10_000)
    ]
    found = run(lambda: waiting.bench(loads, compare, note))
    if found is None:
        return Code.INTERRUPTED
    said = load_report.report("waiting", waiting.rows(found), waiting.targets(found), busy)
    return tell(said, waiting.COLUMNS, as_json, plot, waiting.draw, waiting.PLOTS)


_ENQUEUE = """Examples:
  motionq bench enqueue
  motionq bench enqueue --jobs 20000 --chunk 1000 --json

Jobs by web addresses, so that no file is read. Each way is repeated three times on a server without a worker; the table
has the medians. `submit`, .delay() and the chain do a tenth of the jobs."""


def bench_enqueue(
    jobs: Annotated[int, typer.Option(metavar="N", min=10, help="By submit_many.")] = 10_000,
    chunk: Annotated[int, typer.Option(metavar="N", min=1, help="Jobs in one call of submit_many.")] = 1000,
    repeats: Annotated[int, typer.Option(metavar="N", min=1, help="Of each way.")] = 3,
    as_json: Json = False,
    plot: Plot = None,
) -> int:
    """Jobs per second of submit and submit_many, beside Celery's own .delay() and chain."""
    busy = os.getloadavg()
    found = run(lambda: enqueue.bench(enqueue.Load(jobs=jobs, chunk=chunk, repeats=repeats), note))
    if found is None:
        return Code.INTERRUPTED
    said = load_report.report("enqueue", enqueue.rows(found), enqueue.targets(found), busy, chunk=chunk)
    return tell(said, enqueue.COLUMNS, as_json, plot, enqueue.draw, enqueue.PLOTS)


_LIFETIME = """Examples:
  motionq bench lifetime
  motionq bench lifetime --jobs 50 --repeats 1 --json

Jobs with the same two files live from submit_many to their end on one worker, with the sandbox as the vendor, which
calls back; results stay at the vendor (MOTIONQ_RESULTS_URL=none). Then jobs at a calm pace, whose videos are fetched:
the seconds from the vendor's callback to the verdict on record, and to the stored video; and the processor time of the
worker for each of them, that of the processes in which it decodes included."""


def bench_lifetime(
    jobs: Annotated[int, typer.Option(metavar="N", min=1, help="In each repeat.")] = 400,
    repeats: Annotated[int, typer.Option(metavar="N", min=1, help="With fresh parts each.")] = 3,
    generation: Annotated[str, typer.Option(metavar="D", help="What the vendor takes for a video.")] = "5s",
    stored_jobs: Annotated[int, typer.Option("--stored", metavar="N", min=0, help="Jobs with videos; 0: none.")] = 60,
    as_json: Json = False,
    plot: Plot = None,
) -> int:
    """Processor time and Redis commands per job, for a whole life."""
    busy = os.getloadavg()
    load = lifetime.Load(jobs=jobs, repeats=repeats, generation=duration(generation))
    found = run(lambda: (lifetime.bench(load, note), _stored(stored_jobs, load.generation)))
    if found is None:
        return Code.INTERRUPTED
    runs, calm = found
    targets = [*lifetime.targets(runs), *(stored.targets(calm) if calm else ())]
    said = load_report.report("lifetime", lifetime.rows(runs), targets, busy, stored=asdict(calm) if calm else None)
    if calm:
        note(
            f"stored after the callback: p50 {calm.p50:.2f} s, p95 {calm.p95:.2f} s, at most {calm.most:.2f} s; "
            f"{calm.cpu_ms:.0f} ms of processor time for each video"
        )
    return tell(said, lifetime.COLUMNS, as_json, plot, lifetime.draw, lifetime.PLOTS)


def _stored(jobs: int, generation: float) -> stored.Figures | None:
    return stored.bench(jobs, generation, note) if jobs else None


_RECOVERY = """Examples:
  motionq bench recovery
  motionq bench recovery --jobs 200 --repeats 1 --json

All workers are killed with SIGKILL while tasks are in flight, and one is started. Time runs from the kill to the moment
at which the vendor was asked for the last of the tasks."""


def bench_recovery(
    jobs: Annotated[int, typer.Option(metavar="N", min=1, help="In flight.")] = 1000,
    interval: Annotated[str, typer.Option(metavar="D", help="Between two looks at a task.")] = "10s",
    workers: Annotated[int, typer.Option(metavar="N", min=1, help="That are killed.")] = 2,
    repeats: Annotated[int, typer.Option(metavar="N", min=1)] = 3,
    lease: Annotated[str, typer.Option(metavar="D", help="MOTIONQ_CHECK_LEASE.")] = "15s",
    as_json: Json = False,
    plot: Plot = None,
) -> int:
    """After SIGKILL to all workers: seconds until one new worker has looked at every task."""
    busy, every = os.getloadavg(), duration(interval)
    load = recovery.Load(jobs=jobs, interval=every, workers=workers, repeats=repeats, lease=duration(lease))
    found = run(lambda: recovery.bench(load, note))
    if found is None:
        return Code.INTERRUPTED
    said = load_report.report("recovery", recovery.rows(found), recovery.targets(found), busy, interval=every)
    return tell(said, recovery.COLUMNS, as_json, plot, recovery.draw, recovery.PLOTS)


_SCALE = """Examples:
  motionq bench scale
  motionq bench scale --uploads
  motionq bench scale --workers 1 --workers 2 --workers 4 --seconds 10s --json

More looks are due than can be done; with --uploads it is videos to upload, 8 s each. LIMIT names what was full: the
requests that a worker has open at once, its one core, the stub vendor, the server, or the machine, which all share."""


def bench_scale(
    jobs: Annotated[int, typer.Option(metavar="N", min=1, help="In flight.")] = 20_000,
    interval: Annotated[str, typer.Option(metavar="D", help="Between two looks at a task.")] = "2s",
    seconds: Annotated[str, typer.Option(metavar="D", help="Measured.")] = "20s",
    workers: Annotated[list[int] | None, typer.Option(metavar="N", min=1, help="May be repeated; 1 and 2.")] = None,
    idle: Annotated[int, typer.Option(metavar="N", min=0, help="Measure N idle workers as well.")] = 0,
    uploads: Annotated[bool, typer.Option("--uploads", help="Uploads instead of checks.")] = False,
    as_json: Json = False,
    plot: Plot = None,
) -> int:
    """Checks (or uploads) per second of one and two workers, and what limits them."""
    busy = os.getloadavg()
    if uploads:
        return _scale_uploads(tuple(workers or (1, 2)), duration(seconds), busy, as_json, plot)
    load = scale.Load(
        jobs=jobs, interval=duration(interval), seconds=duration(seconds), workers=tuple(workers or (1, 2))
    )
    found = run(lambda: (scale.bench(load, note), [scale.idle(n, load.seconds, note) for n in _idle(idle)]))
    if found is None:
        return Code.INTERRUPTED
    runs, rest = found
    more = [{"workers": i.workers, "commands_per_second": i.commands_per_second} for i in rest]
    said = load_report.report("scale", scale.rows(runs), scale.targets(runs), busy, idle=more)
    for one in rest:
        note(f"{one.workers} idle: {one.commands_per_second:.1f} commands/s, {one.cpu_percent:.1f} % of a core")
    return tell(said, scale.COLUMNS, as_json, plot, scale.draw, scale.PLOTS)


def _scale_uploads(
    workers: Sequence[int], seconds: float, busy: Sequence[float], as_json: bool, plot: Path | None
) -> int:
    found = run(lambda: scale_uploads.bench(workers, seconds, note))
    if found is None:
        return Code.INTERRUPTED
    said = load_report.report("scale", scale_uploads.rows(found), [], busy, uploads=True)
    return tell(said, scale_uploads.COLUMNS, as_json, plot, scale_uploads.draw, scale_uploads.PLOTS)


def _idle(workers: int) -> tuple[int, ...]:
    return () if not workers else (1,) if workers == 1 else (1, workers)


_PLAN = """Examples:
  motionq bench plan --jobs-per-day 20000 --median-seconds 150
  motionq bench plan --jobs-per-day 10000000 --median-seconds 150 --no-callbacks --json

Nothing is started: arithmetic on measured costs, which the answer lists with the commands that measure them. The peak
is taken to be twice the mean of the day, each job to have a driving video of its own, and durations to be lognormal
(sigma 0.3). A core of work may be any core: videos are inspected and decoded in processes beside the workers. What one
account, and one Redis, can do: docs/scaling.md.

Exit codes: 0, or 2 for wrong usage."""


def bench_plan(
    jobs_per_day: Annotated[float, typer.Option(metavar="N", min=1)],
    median_seconds: Annotated[float, typer.Option(metavar="S", min=0.1, help="Of a generation.")] = 150.0,
    keep_days: Annotated[float, typer.Option(metavar="N", min=0, help="MOTIONQ_JOB_TTL.")] = 30.0,
    callbacks: Annotated[bool, typer.Option(help="Whether the vendor can reach the receiver.")] = True,
    max_in_flight: Annotated[
        int, typer.Option(metavar="N", min=1, help="MOTIONQ_MAX_IN_FLIGHT, of one account.")
    ] = 100,
    results: Annotated[bool, typer.Option(help="Whether results are stored; else MOTIONQ_RESULTS_URL=none.")] = True,
    transfers: Annotated[int, typer.Option(metavar="N", min=1, help="MOTIONQ_TRANSFERS, of one worker.")] = 16,
    transfer_seconds: Annotated[
        float, typer.Option(metavar="S", min=0, help="Of an upload of a job's files, and of a delivery.")
    ] = 8.0,
    as_json: Json = False,
) -> int:
    """On paper: workers, cores, Redis memory and reads a second for a load, and where one Redis ends."""
    load = load_plan.Load(
        per_day=jobs_per_day,
        median_seconds=median_seconds,
        keep_days=keep_days,
        callbacks=callbacks,
        max_in_flight=max_in_flight,
        results=results,
        transfers=transfers,
        transfer_seconds=transfer_seconds,
    )
    if as_json:
        say_json(load_plan.report(load))
    else:
        say(load_plan.lines(load))
    return Code.DONE
