"""What `motionq bench callbacks` makes of its measurements."""

from __future__ import annotations

import json
from typing import Any

import pytest

from motionq_ops.bench.callback_load import prepared
from motionq_ops.bench.callbacks import FLAT_OUT, PACED, Figures, Load, report, table
from motionq_worker.receiver import named_tasks, signed

LOAD = Load(jobs=10, rate=1000, seconds=2.0, connections=8)


def figures(name: str = PACED, **given: Any) -> Figures:
    usual = {"callbacks": 2000, "errors": 0, "lost": 0, "rate": 999.0, "p50": 0.0021, "p99": 0.0123, "slowest": 0.04}
    return Figures(**{"name": name, "receiver_cpu": 1.0, "load_cpu": 1.0, **usual, **given})


@pytest.mark.parametrize(
    ("given", "met"), [({}, True), ({"errors": 1}, False), ({"lost": 1}, False), ({"rate": 980.0}, False)]
)
def test_the_target_is_met_without_an_error_alone(given: dict[str, Any], met: bool) -> None:
    """One wrong answer, one lost task or a rate that fell behind is a miss; the run as fast as it goes says nothing."""
    said = report(LOAD, [figures(**given), figures(FLAT_OUT, errors=5)], (0.5, 0.5, 0.5))
    assert said["targets"] == [
        {"name": "callbacks_per_second", "wanted": 1000, "measured": round(given.get("rate", 999.0)), "met": met}
    ]
    assert table(said).splitlines()[-2].startswith("met: " if met else "MISSED: ")
    assert json.loads(json.dumps(said)) == said


def test_the_table_is_in_milliseconds() -> None:
    """Latencies as people read them."""
    text = table(report(LOAD, [figures(), figures(FLAT_OUT, rate=2345.6)], (0.5, 0.5, 0.5)))
    assert [line.split()[-3:] for line in text.splitlines() if PACED in line] == [["2.1", "12.3", "40.0"]]
    assert "2,346" in text


def test_the_load_is_what_the_receiver_takes_in() -> None:
    """Each prepared callback is signed, names a task of its own, and is as large as the vendor's."""
    purchases = [(f"{n:026d}", f"{n:040x}") for n in range(3)]
    found = prepared("http://host", purchases, "key")
    assert [one.url for one in found] == [f"http://host/callbacks/kie/{job}/{nonce}" for job, nonce in purchases]
    tasks = [named_tasks(one.body)[0] for one in found]
    assert len(set(tasks)) == 3
    for one, task in zip(found, tasks, strict=True):
        headers = [(name.lower().encode(), value.encode()) for name, value in one.headers.items()]
        now = float(one.headers["X-Webhook-Timestamp"])
        assert signed(headers, [task], b"key", now) == task
        assert 800 < len(one.body) < 4000
