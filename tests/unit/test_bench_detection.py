"""The detection benchmark: its policies, its figures, and a report that says what was missed."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

from motionq_ops.bench import detection_report
from motionq_ops.bench.detection import (
    CASES,
    Case,
    Found,
    Load,
    Mode,
    exponential,
    figures,
    fixed,
    follow,
    optimum,
    reads_at,
    run,
    sweep,
)

_LOAD = Load(jobs=120, every=10.0, seed=1, repeats=1, cost=2.5)


def test_a_fixed_interval_finds_what_it_must() -> None:
    """Every 15 s: a job of 40 s takes three reads and is found 5 s late; one of exactly 15 s is found at once."""
    assert follow([40.0, 15.0], [fixed(15.0)]) == [Found(3, 5.0), Found(1, 0.0)]


def test_phases_have_their_own_policies() -> None:
    """The first half of the jobs follows the first course, the second half the second."""
    assert follow([10.0] * 4, [fixed(10.0), fixed(5.0)]) == [Found(1, 0.0)] * 2 + [Found(2, 0.0)] * 2


def test_exponential_waits_grow_to_a_minute() -> None:
    """3, 4.5, 6.75 … at most 60 s."""
    ages = [0.0]
    for _ in range(12):
        ages.append(exponential(ages[-1]))
    waits = [b - a for a, b in pairwise(ages)]
    assert waits[:3] == pytest.approx([3.0, 4.5, 6.75])
    assert waits[-1] == 60.0


def test_the_same_seed_draws_the_same_durations() -> None:
    """Runs can be repeated; another seed is another vendor."""
    (case, *_) = CASES
    assert case.durations(50, 1) == case.durations(50, 1) != case.durations(50, 2)


def test_the_optimum_is_better_than_the_intervals() -> None:
    """On its own distribution nothing fixed comes near it."""
    mode = Mode(150.0, 0.3)
    durations = Case("", ((mode,),)).durations(2000, 3)
    best = figures("", "", follow(durations, [optimum([mode], 2.5)]))
    assert best.reads == pytest.approx(4.2, abs=0.2)
    assert best.mean == pytest.approx(9.7, abs=0.5)


def test_reads_are_compared_at_equal_delay() -> None:
    """Between two points of a curve by the line through them, outside by the nearest two."""
    curve = [(6.0, 4.0), (4.0, 8.0), (3.0, 12.0)]
    assert [reads_at(curve, delay) for delay in (2.0, 6.0, 8.0, 10.0, 16.0)] == [7.0, 5.0, 4.0, 3.5, 2.0]


def test_a_report_is_one_object_with_every_case(tmp_path: Path) -> None:
    """Every policy of every case, the targets as met or missed, as JSON, table and picture."""
    runs = [
        figures(case.name, policy, [Found(reads, 9.0)])
        for case in CASES
        for policy, reads in (("learned", 5), ("callbacks", 1 if case is not CASES[0] else 2))
    ]
    sweeps = [sweep(case, _LOAD, costs=(2.0, 4.0)) for case in (CASES[1], CASES[0])]
    said = detection_report.report(_LOAD, runs, sweeps)
    assert json.loads(json.dumps(said))["targets"] == said["targets"]
    assert said["targets"][-1] == {
        "name": "reads per job with callbacks",
        "most": 1.3,
        "measured": 2.0,
        "met": False,
    }
    table = detection_report.table(said)
    assert "MISSED: reads per job with callbacks: 2.0 (at most 1.3)" in table
    assert all(case.name in table for case in CASES)

    detection_report.plot(said, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_every_policy_is_tried_on_every_job() -> None:
    """One case, small: seven policies, and learned ones find every job."""
    rows = {row.policy: row for row in run(CASES[0], _LOAD)}
    assert set(rows) == {
        *("fixed 5 s", "fixed 15 s", "exponential", "learned", "learned, settled", "optimum", "callbacks"),
    }
    assert {name for name, row in rows.items() if row.jobs != 120} == {"learned, settled"}
    assert all(row.reads >= 1.0 and row.mean >= 0.0 for row in rows.values())
