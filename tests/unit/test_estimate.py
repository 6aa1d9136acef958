"""When a job will be done, as callers are told."""

from __future__ import annotations

from typing import Any

import pytest

from motionq.contract.durations import Sketch, kind_of, lesson_of
from motionq.contract.states import State
from motionq.estimate import AROUND, Line, backs_off, eta_seconds, fields_for
from support.records import NOW, SPEC, line, record

_KIND = kind_of(SPEC.model, SPEC.mode, 6.0)


def known(durations: list[float]) -> dict[str, str]:
    """What Redis holds after jobs of the sample's kind have taken so long."""
    sketch = Sketch()
    for seconds in durations:
        sketch = sketch.learn(lesson_of([(0.0, seconds, True)]))
    return {_KIND: sketch.text()}


MINUTES = known([115.0 + n / 5 for n in range(50)])  # about two of them


def test_nothing_is_said_while_nothing_is_known() -> None:
    """Without a single end, and for an unknown purchase or a finished job, there is no estimate."""
    assert eta_seconds(record(), {}, NOW) is None
    assert eta_seconds(record(), {_KIND: "30:5:0"}, NOW) is None
    assert eta_seconds(record(state=State.SUBMIT_UNKNOWN), MINUTES, NOW) is None
    assert eta_seconds(record(state=State.SUCCEEDED), MINUTES, NOW) is None


@pytest.mark.parametrize("state", [State.QUEUED, State.UPLOADING, State.READY, State.ARMED, State.SUBMITTING])
def test_before_the_generation_its_whole_time_is_ahead(state: State) -> None:
    """The median generation, and what lies around it."""
    assert eta_seconds(record(state=state), MINUTES, NOW) == pytest.approx(120.0 + AROUND, rel=0.05)


def test_a_place_in_the_line_is_waited_for() -> None:
    """A job behind others waits for turns or for slots, whichever is longer; nobody knows when a gate opens."""
    ready = record(state=State.READY)
    whole = 120.0 + AROUND

    def eta(**line: Any) -> float | None:
        return eta_seconds(ready, MINUTES, NOW, 0.0, Line(**line))

    assert eta(before=0, free=1) == pytest.approx(whole, rel=0.05)
    assert eta(before=99, free=100, slots=100, per_second=2.0) == pytest.approx(49.5 + whole, rel=0.05)
    assert eta(before=29, free=0, slots=10, per_second=2.0) == pytest.approx(3 * whole + whole, rel=0.05)
    assert eta(open=False) is None
    assert eta(before=None) is None
    assert eta_seconds(record(state=State.ARMED), MINUTES, NOW, 0.0, Line(open=False)) == pytest.approx(whole, rel=0.05)


def test_a_running_job_comes_nearer() -> None:
    """What is left shrinks with age, never to nothing; a job that outlives all others is given longer again."""
    left = [eta_seconds(record(running_since=NOW - age * 1000), MINUTES, NOW) for age in (0, 60, 110, 1000)]
    assert left[0] == pytest.approx(120.0 + AROUND / 2, rel=0.05)
    assert left[1] == pytest.approx(60.0 + AROUND / 2, rel=0.1)
    assert left[2] is not None
    assert left[3] is not None
    assert 1.0 + AROUND / 2 <= left[2] < 25.0
    assert left[3] > 100.0


def test_a_back_off_is_waited_for() -> None:
    """An upload or delivery that is tried again in five minutes ends after them; so does a doubtful failure."""
    alarm = NOW + 300_000
    delivering = record(state=State.DELIVERING, tries=3)
    doubtful = record(running_since=NOW - 120_000, purchases=(line(suspect_at=NOW),))
    assert eta_seconds(delivering, MINUTES, NOW, alarm) == 300.0 + AROUND / 2
    assert eta_seconds(delivering, {}, NOW, NOW - 1) == AROUND / 2
    assert eta_seconds(record(state=State.QUEUED), MINUTES, NOW, alarm) == pytest.approx(420.0 + AROUND, rel=0.05)
    assert eta_seconds(doubtful, MINUTES, NOW, alarm) == 300.0 + AROUND / 2


def test_whose_alarm_counts() -> None:
    """A job that waits for its upload, its next delivery, or a second look; a step at work is not waited for."""
    assert backs_off(record(state=State.QUEUED)) == "upload"
    assert backs_off(record(state=State.DELIVERING, tries=1)) == "deliver"
    assert backs_off(record(purchases=(line(suspect_at=NOW),))) == "check"
    for rec in (record(), record(state=State.DELIVERING), record(state=State.UPLOADING), record(state=State.FAILED)):
        assert backs_off(rec) is None


def test_only_what_is_needed_is_read() -> None:
    """One field for each length of driving video of the models and modes that are still at work."""
    assert fields_for([record(state=State.FAILED)]) == []
    assert fields_for([record(), record()]) == [f"{SPEC.model} {SPEC.mode} {n}" for n in range(7)]
