"""The figures of `motionq bench upload` as one JSON object and as a table."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from motionq.tables import render
from motionq_ops.bench.figures import GROWTH_TARGET, MB, Figures, medians, rounded, targets
from motionq_ops.bench.load_report import bars
from motionq_ops.bench.upload import HELD, Load

_COLUMNS = (
    "RUN",
    "FILES",
    "AT ONCE",
    "MB/S SENDING",
    "MB/S WITH INSPECTION",
    "MB AT REST",
    "MB AT PEAK",
    "MB GROWTH",
    "CPU S WORKER",
    "CPU S INSPECTION",
    "CPU S SANDBOX",
    "MB INSPECTION",
    "BYTES AGAIN",
)
_WORDS = {"growth_bytes": "worker grows by", "again_bytes": "a second job with the same video sends"}


def report(load: Load, runs: Sequence[Figures], load_average: Sequence[float]) -> dict[str, Any]:
    """Everything measured: the medians of each kind of run, the targets, and every single run.

    `load_average` is the machine's before the benchmark began, over 1, 5 and 15 minutes.
    """
    names = dict.fromkeys(run.name for run in runs)
    return {
        "benchmark": "upload",
        "size_bytes": load.size,
        "jobs": load.jobs,
        "hold_seconds": load.hold,
        "repeats": sum(run.name == HELD for run in runs),
        "machine": _machine(load_average),
        "medians": [rounded(medians([run for run in runs if run.name == name])) for name in names],
        "targets": targets(runs, HELD),
        "runs": [rounded(run) for run in runs],
    }


def _machine(load_average: Sequence[float]) -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "architecture": platform.machine(),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
        "load_average_before": [round(value, 2) for value in load_average],
    }


def draw(figure: Any, axes: Sequence[Any], runs: Sequence[dict[str, Any]]) -> None:
    """By the medians: how much a worker grows, and how fast it sends."""
    names = [f"{run['name']}, {run['files']}" for run in runs]
    bars(axes[0], names, [run["growth_bytes"] / MB for run in runs], "growth of a worker (MB)", GROWTH_TARGET / MB)
    bars(axes[1], names, [run["sending_mb_per_second"] for run in runs], "sending (MB/s)")
    figure.suptitle("upload")


PLOTS = 2


def table(said: dict[str, Any]) -> str:
    """The medians and the targets of a report, for people."""
    rows = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for at, name in enumerate(_COLUMNS):
        rows.add_column(name, justify="right" if at else "left", overflow="fold")
    for run in said["medians"]:
        rows.add_row(*_cells(run))
    return "\n".join([render(rows), "", *map(_target, said["targets"]), _note(said)])


def _cells(run: dict[str, Any]) -> tuple[str, ...]:
    return (
        run["name"],
        str(run["files"]),
        str(run["open_at_once"]),
        f"{run['sending_mb_per_second']:.0f}",
        f"{run['step_mb_per_second']:.0f}",
        _mb(run["rest_bytes"]),
        _mb(run["peak_bytes"]),
        _mb(run["growth_bytes"]),
        f"{run['worker_cpu_seconds']:.2f}",
        f"{run['inspection_cpu_seconds']:.2f}",
        f"{run['sandbox_cpu_seconds']:.2f}",
        _mb(run["inspection_peak_bytes"]),
        str(run["again_bytes"]),
    )


def _mb(size: int) -> str:
    return f"{size / MB:.1f}"


def _target(target: dict[str, Any]) -> str:
    verdict = "met" if target["met"] else "MISSED"
    if target["name"] == "again_bytes":
        return f"{verdict}: {_WORDS['again_bytes']} {target['worst']} bytes (wanted: 0)"
    return f"{verdict}: {_WORDS['growth_bytes']} {_mb(target['worst'])} MB (wanted: below {_mb(target['below'])} MB)"


def _note(said: dict[str, Any]) -> str:
    machine = said["machine"]
    busy = ", ".join(f"{value:g}" for value in machine["load_average_before"])
    return (
        f"medians of {said['repeats']}, targets by the worst; {said['size_bytes'] / MB:g} MB each; "
        f"{machine['cores']} cores, load average before {busy}"
    )
