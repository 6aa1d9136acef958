"""`motionq bench NAME`: the options of each benchmark."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from motionq.contract import settings
from motionq.output import Code, note, run, say, say_json
from motionq_ops.bench import callbacks as receiving
from motionq_ops.bench import chaos as storms
from motionq_ops.bench import chaos_report, crash_report, detection_cli, load_cli
from motionq_ops.bench import report as upload_report
from motionq_ops.bench.upload import Load, bench
from motionq_ops.stop import Stopped, stops_on_signals

app = typer.Typer(help="Measure motionq on this machine: no key, no money.", no_args_is_help=True, add_completion=False)


@app.callback()
def benchmarks() -> None:
    """Keeps the benchmark's name on the command line, also while there is only one."""


def main(arguments: list[str]) -> int:
    """Run a benchmark; returns the exit code."""
    return run(app, arguments, program="motionq bench")


def _size(text: str) -> int:
    try:
        return int(str(settings.size(text)))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _duration(text: str) -> float:
    try:
        seconds = float(str(settings.seconds(text)))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if seconds <= 0:
        raise typer.BadParameter("must be more than 0")
    return seconds


@app.command(
    epilog="""Examples:
  motionq bench upload
  motionq bench upload --size 20MB --jobs 4 --repeats 1 --json

Runs: "held open": the vendor's stand-in reads each file slowly, so that all are on their way at once; "one" and
"together": as fast as it goes. The table has the medians; targets are held against the worst repeat.

Writes 2 x jobs x size to the temporary folder (TMPDIR), which should be on a disk. Linux only.

Exit codes: 0 measured (whether a target is met, the output says), 1 it can't be measured, 2 wrong usage, 130 Ctrl+C."""
)
def upload(
    size: Annotated[str, typer.Option(metavar="SIZE", help="Of each video.")] = "100MB",
    jobs: Annotated[int, typer.Option(metavar="N", min=1, max=16, help="Videos; a worker moves 16 at once.")] = 8,
    repeats: Annotated[int, typer.Option(metavar="N", min=1, help="Each with a fresh worker.")] = 3,
    hold: Annotated[str, typer.Option(metavar="D", help='Time a file takes in "held open".')] = "8s",
    as_json: load_cli.Json = False,
    plot: load_cli.Plot = None,
) -> int:
    """Memory and speed of a worker that uploads videos, and what a second job with the same video sends."""
    load, busy = Load(size=_size(size), jobs=jobs, hold=_duration(hold)), os.getloadavg()
    with stops_on_signals():
        try:
            runs = bench(load, repeats, note)
        except Stopped:
            note("stopped")
            return Code.INTERRUPTED
    said = upload_report.report(load, runs, busy)
    load_cli.draw(plot, upload_report.draw, said["medians"], upload_report.PLOTS)
    if as_json:
        say_json(said)
    else:
        say(upload_report.table(said))
    return Code.DONE


@app.command(
    epilog="""Examples:
  motionq bench callbacks
  motionq bench callbacks --rate 500 --seconds 5 --json

Runs: "at pace": so many callbacks a second, whatever the answers take, and latency counts from the moment at which each
was due; "flat out": as fast as the answers come. Signed callbacks of the vendor's size, for jobs on a real server, go
to the receiver as `motionq up` starts it. The load is made on the same machine.

Linux only. Exit codes: 0 measured (whether the target is met, the output says), 1 it can't be measured, 2 wrong usage,
130 Ctrl+C."""
)
def callbacks(
    rate: Annotated[int, typer.Option(metavar="N", min=1, help="Callbacks a second.")] = receiving.TARGET,
    seconds: Annotated[float, typer.Option(metavar="S", min=0.5, help="Of each run.")] = 20.0,
    jobs: Annotated[int, typer.Option(metavar="N", min=1, help="Jobs that are called for, in turn.")] = 1000,
    connections: Annotated[int, typer.Option(metavar="N", min=1, max=900, help="Kept alive.")] = 64,
    as_json: load_cli.Json = False,
    plot: load_cli.Plot = None,
) -> int:
    """How many callbacks a second the receiver takes, and what each waits."""
    load = receiving.Load(jobs=jobs, rate=rate, seconds=seconds, connections=connections)
    busy = os.getloadavg()
    with stops_on_signals():
        try:
            runs = receiving.bench(load, note)
        except Stopped:
            note("stopped")
            return Code.INTERRUPTED
    said = receiving.report(load, runs, busy)
    load_cli.draw(plot, receiving.draw, said["runs"], receiving.PLOTS)
    if as_json:
        say_json(said)
    else:
        say(receiving.table(said))
    return Code.DONE


@app.command(
    epilog="""Examples:
  motionq bench chaos
  motionq bench chaos --jobs 60 --minutes 0.3 --seed 1 --json

For so long workers, the server and the callback receiver are killed, the vendor's stand-in breaks in every way, and
callbacks are lost, doubled, late and forged; then peace, until every job has ended. The vendor's ledger is held against
the records. The same seed gives the same plan.

Exit codes: 0 nothing lost, doubled, stuck or misbooked, 1 something was, 2 wrong usage, 130 Ctrl+C."""
)
def chaos(
    jobs: Annotated[int, typer.Option(metavar="N", min=1, help="How many jobs.")] = 2000,
    minutes: Annotated[float, typer.Option(metavar="N", min=0.05, help="Of trouble.")] = 5.0,
    seed: Annotated[int, typer.Option(metavar="S", help="Of the plan.")] = 1,
    workers: Annotated[int, typer.Option(metavar="N", min=1, help="Worker processes.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> int:
    """Whether anything is lost, bought twice or left behind when everything goes wrong."""
    storm = storms.Storm(jobs=jobs, seconds=minutes * 60, seed=seed, workers=workers)
    busy = os.getloadavg()
    with stops_on_signals():
        try:
            outcome = storms.bench(storm, note)
        except Stopped:
            note("stopped")
            return Code.INTERRUPTED
    said = chaos_report.report(storm, outcome, busy)
    if as_json:
        say_json(said)
    else:
        say(chaos_report.table(said))
    return Code.DONE if said["met"] else Code.FAILED


@app.command(
    epilog="""Examples:
  motionq bench crash
  motionq bench crash --rounds 1 --json

A job's boundaries are counted: every command that changes something in Redis, every request to the vendor's stand-in,
every file that is synced or renamed. Then, for each of them, a worker is killed right before it and right after it, and
another one goes on. The table says what became of each job, and how many tasks the vendor's ledger has for it.

Exit codes: 0 nothing bought twice, lost or left behind, 1 something was, 2 wrong usage, 130 Ctrl+C."""
)
def crash(
    rounds: Annotated[int, typer.Option(metavar="N", min=1, help="Passes over the whole matrix.")] = 2,
    at_once: Annotated[int, typer.Option(metavar="N", min=1, max=64, help="Jobs side by side.")] = 24,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> int:
    """What becomes of a job whose worker is killed, at every instruction that matters."""
    busy = os.getloadavg()
    with stops_on_signals():
        try:
            done = crash_report.bench(rounds, at_once, note)
        except Stopped:
            note("stopped")
            return Code.INTERRUPTED
    said = crash_report.report(done, busy)
    if as_json:
        say_json(said)
    else:
        say(crash_report.table(said))
    return Code.DONE if said["met"] else Code.FAILED


load_cli.add_to(app)
detection_cli.add_to(app)
