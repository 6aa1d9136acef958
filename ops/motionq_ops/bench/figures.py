"""What is made of the measurements: pure functions over values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from statistics import median
from typing import Any

MB = 1000**2
GROWTH_TARGET = 30 * MB  # bytes by which a worker may grow while eight files of 100 MB are on their way

Span = tuple[float, float]  # begin and end in seconds, begin first


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One run. Seconds, bytes, and MB (10^6 bytes) per second.

    `sending`: from the first file's arrival at the vendor to the last one's end; `step`: from the first upload step's
    beginning, so that inspection counts as well. `open_at_once`: the most files that were on their way at one moment.
    `again_bytes`: what a second job with the same video sent.
    """

    name: str
    files: int
    sent_bytes: int
    again_bytes: int
    open_at_once: int
    sending_seconds: float
    sending_mb_per_second: float
    step_seconds: float
    step_mb_per_second: float
    rest_bytes: int
    peak_bytes: int
    growth_bytes: int
    worker_cpu_seconds: float
    inspection_cpu_seconds: float
    inspection_peak_bytes: int
    sandbox_cpu_seconds: float


def most_at_once(spans: Iterable[Span]) -> int:
    """How many of the spans overlap at most; one that begins as another ends does not."""
    changes = sorted((moment, change) for begin, end in spans for moment, change in ((begin, 1), (end, -1)))
    now = most = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


def length(spans: Sequence[Span]) -> float:
    """Seconds from the first beginning to the last end."""
    return max(end for _, end in spans) - min(begin for begin, _ in spans)


def rate(size: int, seconds: float) -> float:
    """MB per second."""
    return size / MB / seconds if seconds > 0 else 0.0


def medians(runs: Sequence[Figures]) -> Figures:
    """The median of each figure of runs with one name."""
    values: dict[str, Any] = {}
    for field in fields(Figures):
        found = [getattr(run, field.name) for run in runs]
        values[field.name] = found[0] if field.name == "name" else _like(found[0], median(found))
    return Figures(**values)


def _like(example: float, value: float) -> float:
    return round(value) if isinstance(example, int) else value


def targets(runs: Sequence[Figures], held: str) -> list[dict[str, Any]]:
    """Each promise, the worst figure of all runs, and whether it is kept; `held`: the name of the runs at its load."""
    growth = max(run.growth_bytes for run in runs if run.name == held)
    again = max(run.again_bytes for run in runs)
    return [
        {"name": "growth_bytes", "below": GROWTH_TARGET, "worst": growth, "met": growth < GROWTH_TARGET},
        {"name": "again_bytes", "below": 1, "worst": again, "met": again == 0},
    ]


def rounded(run: Figures) -> dict[str, Any]:
    """The figures with three digits behind the point."""
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(run).items()}
