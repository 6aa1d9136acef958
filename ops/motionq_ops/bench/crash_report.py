"""`motionq bench crash`: the whole crash matrix, round after round, as one JSON object and as a table."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from motionq.tables import render
from motionq_ops.bench.crash import Lab, Run
from motionq_ops.bench.matrix import allowed, places
from motionq_ops.demo import SAMPLES


@dataclass(frozen=True)
class Round:
    """One pass over the matrix: the runs in which nothing happens, and those in which a worker is killed."""

    clean: tuple[Run, ...]
    runs: tuple[Run, ...]


def bench(rounds: int, at_once: int, say: Callable[[str], None]) -> list[Round]:
    """The matrix without and with callbacks, `rounds` times, with `at_once` jobs side by side."""
    done = []
    with tempfile.TemporaryDirectory(prefix="motionq-crash-") as folder:
        for number in range(1, rounds + 1):
            with Lab(Path(folder, str(number)), SAMPLES / "astronaut.png", SAMPLES / "bigbuckbunny.mp4") as lab:
                say(f"round {number} of {rounds}: counting the boundaries of a job")
                clean = _clean(lab)
                wanted = [*places(clean[0].passed, callbacks=False), *places(clean[1].passed, callbacks=True)]
                say(f"round {number} of {rounds}: {len(wanted)} workers are killed")
                done.append(Round(clean, tuple(lab.killed(wanted, at_once=at_once, clean=clean[0]))))
    return done


def _clean(lab: Lab) -> tuple[Run, Run]:
    """Without and with callbacks."""
    with ThreadPoolExecutor(2) as pool:
        alone, called = pool.map(lambda callbacks: lab.clean(callbacks=callbacks), (False, True))
    return alone, called


def faults(run: Run) -> list[str]:
    """What is wrong with a run; nothing if all promises hold."""
    found = [] if run.reached else ["its worker did not come by"]
    if run.asked > 1 or run.purchases > 1:
        found.append(f"asked for {run.asked} times, bought {run.purchases} times")
    if run.reached and (run.outcome, run.purchases) not in allowed(run.at):
        found.append(f"{run.outcome} with {run.purchases} purchases")
    return [*found, *(f"left in {name}" for name in run.stuck)]


def report(rounds: Sequence[Round], load_average: Sequence[float]) -> dict[str, Any]:
    """Everything found. `load_average`: the machine's before the benchmark began."""
    runs = [run for done in rounds for run in (*done.clean, *done.runs)]
    return {
        "benchmark": "crash",
        "rounds": len(rounds),
        "killed": sum(run.at is not None and run.reached for run in runs),
        "purchases": sum(run.purchases for run in runs),
        "doubled": sum(run.asked > 1 or run.purchases > 1 for run in runs),
        "stuck": sum(bool(run.stuck) for run in runs),
        "wrong": [{"boundary": str(run.at), "faults": said} for run in runs if (said := faults(run))],
        "boundaries": _rows(run for done in rounds for run in done.runs),
        "met": not any(map(faults, runs)),
        "machine": {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "load_average_before": [round(value, 2) for value in load_average],
        },
    }


def _rows(runs: Iterable[Run]) -> list[dict[str, Any]]:
    """One row per place: what became of its job without and with callbacks, in all rounds."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for run in runs:
        if run.at:
            row = rows.setdefault((run.at.name, run.at.moment), {"boundary": run.at.name, "killed": run.at.moment})
            row.setdefault("with_callbacks" if run.at.callbacks else "without_callbacks", []).append(
                {"outcome": run.outcome, "purchases": run.purchases}
            )
    return list(rows.values())


def table(said: dict[str, Any]) -> str:
    """A report for people."""
    rows = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for name in ("BOUNDARY", "KILLED", "WITHOUT CALLBACKS", "WITH CALLBACKS"):
        rows.add_column(name, overflow="fold")
    for row in said["boundaries"]:
        rows.add_row(row["boundary"], row["killed"], *(_ends(row.get(f"{which}_callbacks")) for which in _WHICH))
    wrong = [f"WRONG: {line['boundary']}: {'; '.join(line['faults'])}" for line in said["wrong"]]
    summary = (
        f"{said['rounds']} rounds, {said['killed']} workers killed, {said['purchases']} purchases, "
        f"doubled {said['doubled']}, stuck {said['stuck']}, wrong {len(wrong)}"
    )
    return "\n".join([render(rows), "", *wrong, summary])


_WHICH = ("without", "with")


def _ends(found: Sequence[dict[str, Any]] | None) -> str:
    """Equal ends of several rounds are said once."""
    if not found:
        return "–"
    return " | ".join(dict.fromkeys(f"{end['outcome']} ({end['purchases']})" for end in found))
