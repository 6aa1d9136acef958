"""The figures of `motionq bench detection` as one JSON object, as a table, and as a picture."""

from __future__ import annotations

import importlib
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from motionq.tables import render
from motionq_ops.bench.detection import (
    CALLBACK_AFTER,
    CALLBACKS,
    CASES,
    COSTS,
    LEARNED,
    LOST,
    OPTIMUM,
    SETTLED,
    Figures,
    Load,
    Sweep,
    reads_at,
    run,
    sweep,
)
from motionq_ops.bench.load_report import MissingPlots

# Case, mean delay in seconds at which reads are compared, reads per job at most.
TARGETS = (("sigma 0.3", 9.6, 4.7), ("sigma 0.15", 7.2, 3.5))
CALLBACK_TARGET = 1.3  # reads per job
_COLUMNS = ("CASE", "POLICY", "READS PER JOB", "DELAY MEAN S", "P50 S", "P95 S")


def measure(load: Load, say: Callable[[str], None]) -> dict[str, Any]:
    """Runs everything, and reports it."""
    cases, runs, sweeps = {case.name: case for case in CASES}, [], []
    for case in CASES:
        say(f"vendor: {case.name}")
        runs += run(case, load)
    for name, delay, _ in TARGETS:
        say(f"{name}: which policy needs fewest reads at {delay:g} s")
        sweeps.append(sweep(cases[name], load))
    return report(load, runs, sweeps)


def report(load: Load, runs: Sequence[Figures], sweeps: Sequence[Sweep]) -> dict[str, Any]:
    """Everything measured, and whether the targets are met."""
    return {
        "benchmark": "detection",
        **asdict(load),
        "callbacks": {"lost_share": LOST, "after_seconds": CALLBACK_AFTER},
        "machine": {"python": platform.python_version()},
        "targets": [*_equal_delay(sweeps), _with_callbacks(runs)],
        "runs": [_rounded(asdict(run)) for run in runs],
        "sweeps": [_curves(one) for one in sweeps],
    }


def _equal_delay(sweeps: Sequence[Sweep]) -> list[dict[str, Any]]:
    found = []
    for curves, (name, delay, most) in zip(sweeps, TARGETS, strict=True):
        learned, settled, best = (reads_at(c, delay) for c in (curves.learned, curves.settled, curves.optimum))
        row = {"name": f"{name}: reads per job at {delay:g} s mean delay", "most": most, "measured": round(learned, 2)}
        found.append(row | {"settled": round(settled, 2), "optimum": round(best, 2), "met": learned <= most})
    return found


def _with_callbacks(runs: Sequence[Figures]) -> dict[str, Any]:
    """The worst case in which the vendor's speed stays as it is."""
    steady = {case.name for case in CASES if len(case.phases) == 1}
    worst = max(run.reads for run in runs if run.policy == CALLBACKS and run.case in steady)
    measured = round(worst, 2)
    return {
        "name": "reads per job with callbacks",
        "most": CALLBACK_TARGET,
        "measured": measured,
        "met": worst <= CALLBACK_TARGET,
    }


def _curves(curves: Sweep) -> dict[str, Any]:
    lines = {LEARNED: curves.learned, SETTLED: curves.settled, OPTIMUM: curves.optimum}
    return {
        "case": curves.case,
        "costs": COSTS,
        "reads_and_delay": {name: [[round(x, 3) for x in point] for point in line] for name, line in lines.items()},
    }


def _rounded(run: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in run.items()}


def table(said: dict[str, Any]) -> str:
    """A report for people."""
    rows = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for at, name in enumerate(_COLUMNS):
        rows.add_column(name, justify="right" if at > 1 else "left")
    for line in [*said["runs"], *said.get("real", {}).get("runs", [])]:
        times = (f"{line[name]:.1f}" for name in ("mean", "p50", "p95"))
        rows.add_row(line["case"], line["policy"], f"{line['reads']:.2f}", *times)
    lines = [_verdict(target) for target in said["targets"]]
    load = f"{said['repeats']} x {said['jobs']:,} jobs, one every {said['every']:g} s"
    return "\n".join([render(rows), "", *lines, f"{load}; a read is worth {said['cost']:g} s"])


def _verdict(target: dict[str, Any]) -> str:
    more = f"; settled {target['settled']}, optimum {target['optimum']}" if "optimum" in target else ""
    verdict = "met" if target["met"] else "MISSED"
    return f"{verdict}: {target['name']}: {target['measured']} (at most {target['most']}{more})"


def plot(said: dict[str, Any], path: Path) -> None:
    """Draws the report into a PNG file. Raises MissingPlots, OSError."""
    try:
        picture = importlib.import_module("matplotlib.figure").Figure(figsize=(13, 8), layout="constrained")
    except ModuleNotFoundError:
        raise MissingPlots("not installed: matplotlib; run pip install 'motionq[bench]'") from None
    names = list(dict.fromkeys(run["case"] for run in said["runs"]))
    axes = picture.subplots(2, 3)
    for axis, name in zip(axes.flat, names, strict=True):
        _draw(axis, name, said)
    picture.suptitle("Reads per job against the delay of detection (mean, and to the 95th percentile)")
    picture.savefig(path, dpi=110)


def _draw(axis: Any, name: str, said: dict[str, Any]) -> None:
    for number, dot in enumerate(line for line in said["runs"] if line["case"] == name):
        colour = f"C{number}"
        axis.plot([dot["mean"], dot["p95"]], [dot["reads"]] * 2, color=colour, alpha=0.3)
        axis.plot(dot["mean"], dot["reads"], "o", color=colour, label=dot["policy"])
    for curves in said["sweeps"]:
        if curves["case"] == name:
            for line in curves["reads_and_delay"].values():
                axis.plot([d for _, d in line], [r for r, _ in line], "-", lw=0.8, color="grey")
    axis.set(title=name, xlabel="delay, s", ylabel="reads per job", ylim=(0, None), xlim=(0, None))
    axis.legend(fontsize="x-small")
