"""`motionq bench detection`: its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from motionq.output import Code, note, say, say_json
from motionq_ops.bench import detection_real, detection_report
from motionq_ops.bench.detection import Load
from motionq_ops.stop import Stopped, stops_on_signals

_HELP = """Examples:
  motionq bench detection
  motionq bench detection --plot detection.png
  motionq bench detection --jobs 500 --repeats 1 --json
  motionq bench detection --real 80

A simulation with a clock of its own: durations are drawn, and each policy decides when to look. The learned one is the
code of the worker, and begins with nothing known. "settled" leaves out the first tenth of the jobs; "optimum" knows the
true distribution. --real N takes N jobs through a real worker as well (generations of 30 s; 2 s a job and a minute).

Exit codes: 0 measured (whether a target is met, the output says), 1 it can't be measured, 2 wrong usage, 130 Ctrl+C."""


def add_to(app: typer.Typer) -> None:
    """The benchmark becomes a verb of `motionq bench`."""
    app.command("detection", epilog=_HELP)(detection)


def detection(
    jobs: Annotated[int, typer.Option(metavar="N", min=100, help="Jobs of a run.")] = 2000,
    every: Annotated[float, typer.Option(metavar="S", min=0.01, help="Seconds between two jobs.")] = 10.0,
    repeats: Annotated[int, typer.Option(metavar="N", min=1, help="Runs, each with other dice.")] = 3,
    seed: Annotated[int, typer.Option(metavar="S", min=1, help="Of the dice.")] = 1,
    cost: Annotated[float, typer.Option(metavar="S", min=0.1, help="MOTIONQ_READ_COST.")] = 2.5,
    real: Annotated[int, typer.Option(metavar="N", min=0, help="Jobs on a real worker besides.")] = 0,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw a PNG file too (extra `bench`).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> int:
    """How many status reads a job takes, and how late its end is found."""
    load = Load(jobs=jobs, every=every, repeats=repeats, seed=seed, cost=cost)
    with stops_on_signals():
        try:
            said = _measured(load, real)
        except Stopped:
            note("stopped")
            return Code.INTERRUPTED
    if plot:
        detection_report.plot(said, plot)
        note(f"drawn: {plot}")
    if as_json:
        say_json(said)
    else:
        say(detection_report.table(said))
    return Code.DONE


def _measured(load: Load, real: int) -> dict[str, Any]:
    said = detection_report.measure(load, note)
    if real:
        said["real"] = detection_real.as_json(detection_real.sample(real, note))
    return said
