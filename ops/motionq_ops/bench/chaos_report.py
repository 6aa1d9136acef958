"""The outcome of `motionq bench chaos` as one JSON object and as a table."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any

from motionq_ops.bench.chaos import Outcome, Storm

_ZEROS = ("lost", "doubled", "stuck", "misbooked")


def report(storm: Storm, outcome: Outcome, load_average: Sequence[float]) -> dict[str, Any]:
    """Everything found. `load_average`: the machine's before the benchmark began."""
    books = outcome.balance
    found = {"lost": books.lost, "doubled": books.doubled, "stuck": outcome.stuck, "misbooked": books.misbooked}
    return {
        "benchmark": "chaos",
        "jobs": storm.jobs,
        "trouble_seconds": storm.seconds,
        "peace_seconds": round(outcome.peace, 1),
        "seed": storm.seed,
        "workers": storm.workers,
        "purchases": books.tasks,
        "purchases_per_job": {str(count): jobs for count, jobs in books.per_job.items()},
        "refunds": books.refunds,
        **{name: len(found[name]) for name in _ZEROS},
        "findings": {name: list(sentences) for name, sentences in found.items() if sentences},
        "unknown": books.unknown,
        "unknown_with_a_task": books.unknown_tasks,
        "states": outcome.states,
        "failures": outcome.reasons,
        "done": outcome.did,
        "faults_met": outcome.met,
        "met": not any(found.values()),
        "machine": {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "load_average_before": [round(value, 2) for value in load_average],
        },
    }


def table(said: Mapping[str, Any]) -> str:
    """A report for people."""
    per_job = (f"{jobs:,} jobs with {count}" for count, jobs in said["purchases_per_job"].items())
    lines = {
        "jobs": f"{said['jobs']:,}: {_counts(said['states'])}",
        "purchases": f"{said['purchases']:,} by the vendor's ledger: {', '.join(per_job)}",
        "refunded": f"{said['refunds']:,} generations failed and were refunded",
        "failures": _counts(said["failures"]) or "none",
        "unknown": f"{said['unknown']:,} jobs say that they may have been charged; "
        f"{said['unknown_with_a_task']:,} of them have a task",
        "trouble": f"{said['trouble_seconds']:g} s, seed {said['seed']}: {_counts(said['done'])}",
        "faults": _counts(said["faults_met"]),
        "peace": f"after {said['peace_seconds']:g} s nothing changed any more",
    }
    rows = [f"{name:<10} {text}" for name, text in lines.items()]
    findings = [f"  {name}: {words}" for name, found in said["findings"].items() for words in found]
    verdict = ", ".join(f"{name} {said[name]}" for name in _ZEROS)
    return "\n".join([*rows, *findings, f"{'met' if said['met'] else 'MISSED'}: {verdict}"])


def _counts(found: Mapping[str, int]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in found.items())
