"""What the benchmarks of load have in common when they speak: a table, verdicts on targets, the machine, a plot."""

from __future__ import annotations

import importlib
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from motionq.contract.errors import InvalidSettings
from motionq.tables import render

Row = Mapping[str, Any]


class MissingPlots(InvalidSettings):
    """The extra that draws is not installed."""

    kind = "missing_extra"


@dataclass(frozen=True)
class Column:
    """A column of a table: the figure's name, its heading, and how it is written."""

    name: str
    heading: str
    form: str = "{:,}"


@dataclass(frozen=True)
class Target:
    """A promise. `wanted` is a limit from above, unless `least`."""

    name: str
    wanted: float
    measured: float
    unit: str = ""
    least: bool = False

    @property
    def met(self) -> bool:
        """Whether the figure keeps it."""
        return self.measured >= self.wanted if self.least else self.measured <= self.wanted

    def __str__(self) -> str:
        bound = "at least" if self.least else "at most"
        measured, wanted = f"{self.measured:,.4g} {self.unit}".strip(), f"{self.wanted:,.4g} {self.unit}".strip()
        return f"{'met' if self.met else 'MISSED'}: {self.name} {measured} (wanted: {bound} {wanted})"


def report(
    name: str, rows: Sequence[Row], targets: Sequence[Target], busy: Sequence[float], **more: Any
) -> dict[str, Any]:
    """Everything measured, as one JSON object. `busy`: the machine's load average before the benchmark began."""
    machine = {
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release().partition('-')[0]} {platform.machine()}",
        "python": platform.python_version(),
        "load_average_before": [round(value, 2) for value in busy],
        "load_average_after": [round(value, 2) for value in os.getloadavg()],
    }
    return {
        "benchmark": name,
        **more,
        "machine": machine,
        "targets": [asdict(target) | {"met": target.met} for target in targets],
        "runs": [{k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()} for row in rows],
    }


def text(said: Mapping[str, Any], columns: Sequence[Column]) -> str:
    """A report for people."""
    rows = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for column in columns:
        rows.add_column(column.heading, justify="left" if column.form == "{}" else "right")
    for run in said["runs"]:
        rows.add_row(*(_cell(run.get(column.name), column.form) for column in columns))
    targets = [str(Target(**{k: v for k, v in row.items() if k != "met"})) for row in said["targets"]]
    return "\n".join([render(rows), "", *targets, _where(said["machine"])])


def _cell(value: Any, form: str) -> str:
    return "–" if value is None else form.format(value)


def _where(machine: Mapping[str, Any]) -> str:
    before, after = (
        ", ".join(f"{value:g}" for value in machine[f"load_average_{when}"]) for when in ("before", "after")
    )
    return f"{machine['cores']} cores, Python {machine['python']}; load average before {before}; after {after}"


def plot(path: Path, draw: Callable[[Any, Any], None], *, columns: int = 1) -> None:
    """Draws into a PNG file: `draw` gets matplotlib's figure and its axes. Raises MissingPlots."""
    try:
        matplotlib = importlib.import_module("matplotlib")
    except ModuleNotFoundError:
        raise MissingPlots("not installed: matplotlib; run pip install 'motionq[bench]'") from None
    matplotlib.use("Agg")
    pyplot = importlib.import_module("matplotlib.pyplot")
    figure, axes = pyplot.subplots(1, columns, figsize=(5.0 * columns, 3.6), squeeze=False, layout="constrained")
    draw(figure, axes[0])
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def bars(axis: Any, names: Sequence[str], values: Sequence[float], title: str, limit: float | None = None) -> None:
    """One bar for each name, and the target as a line."""
    axis.bar(names, values, color="#4477aa")
    axis.set_title(title)
    if limit is not None:
        axis.axhline(limit, color="#cc3311", linestyle="--", label="target")
        axis.legend()
    axis.tick_params(axis="x", labelrotation=20)
