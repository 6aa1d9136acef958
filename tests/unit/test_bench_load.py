"""What the benchmarks of load make of what they count."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from motionq_ops.bench import load_plan, scale, waiting
from motionq_ops.bench.load_report import Column, Target, report, text
from motionq_ops.bench.stub import record_body
from motionq_ops.bench.stub_figures import Looks, percentile
from motionq_worker.kie.answers import record_answer
from motionq_worker.kie.messages import Phase


def test_lateness_counts_from_the_answer_before() -> None:
    """A look is late by what passes between the last answer plus the interval, and its arrival."""
    looks = Looks()
    for task, moments in {"a": (0.0, 10.5, 21.0), "b": (1.0, 11.0)}.items():
        for moment in moments:
            looks.arrived(task, moment)
            looks.answered(task, moment + 0.1)
    said = looks.report(10.0, 21.0)
    assert (said["looks"], said["tasks"], said["overdue"]) == (5, 2, 0)
    assert said["late_most"] == pytest.approx(0.4)


def test_who_never_asks_again_is_late() -> None:
    """A worker that falls behind can't hide it by never asking; an answer under way is not late."""
    looks = Looks()
    looks.arrived("a", 0.0)
    looks.answered("a", 0.0)
    looks.arrived("b", 0.0)
    said = looks.report(10.0, 60.0)
    assert (said["overdue"], said["late_p50"]) == (1, 50.0)


def test_counting_begins_anew_and_remembers_answers() -> None:
    """The gap over the beginning of a measurement counts in it; earlier ones don't."""
    looks = Looks()
    for moment in (0.0, 30.0):
        looks.arrived("a", moment)
        looks.answered("a", moment)
    looks.begin(31.0)
    looks.arrived("a", 40.0)
    looks.answered("a", 40.0)
    said = looks.report(10.0, 41.0)
    assert (said["looks"], said["late_most"], said["seconds"], looks.asked()) == (1, 0.0, 10.0, 1)


@pytest.mark.parametrize(("share", "value"), [(0.5, 51), (0.99, 100), (1.0, 100)])
def test_percentiles(share: float, value: float) -> None:
    """The value below which the share lies."""
    assert percentile(list(range(1, 101)), share) == value
    assert percentile([], share) == 0.0


def test_the_stub_says_what_the_vendor_says() -> None:
    """Its answers are readings of a running task, with the echo of a whole request in them."""
    task = "f" * 32
    reading = record_answer(200, record_body(task), task)
    assert (reading.phase, reading.task_id, len(reading.image_urls)) == (Phase.RUNNING, task, 1)
    assert 700 < len(record_body(task)) < 2000


@pytest.mark.parametrize(
    ("target", "met"),
    [
        (Target("x", 0.45, 0.45), True),
        (Target("x", 0.45, 0.46), False),
        (Target("x", 5000, 5000, least=True), True),
        (Target("x", 5000, 4999, least=True), False),
    ],
)
def test_a_target_is_met_or_missed(target: Target, met: bool) -> None:
    """Limits from above and from below; the words say which."""
    assert target.met is met
    assert str(target).startswith("met: " if met else "MISSED: ")


def test_a_report_is_json_and_a_table() -> None:
    """Figures that were not measured are a dash, never a zero."""
    columns = (Column("name", "NAME", "{}"), Column("rate", "RATE", "{:,.0f}"), Column("bytes", "BYTES"))
    rows: list[dict[str, Any]] = [{"name": "a", "rate": 1234.5678901, "bytes": None}]
    said = report("some", rows, [Target("rate", 1000, 1234.6, "a second", least=True)], (0.5, 0.5, 0.5))
    assert json.loads(json.dumps(said))["runs"] == [{"name": "a", "rate": 1234.5679, "bytes": None}]
    lines = text(said, columns).splitlines()
    assert lines[1].split() == ["a", "1,235", "–"]
    assert lines[3] == "met: rate 1,235 a second (wanted: at least 1,000 a second)"


def _figures(**given: Any) -> waiting.Figures:
    usual: dict[str, Any] = {
        "design": waiting.MOTIONQ,
        "jobs": 10_000,
        "interval": 10.0,
        "workers": 1,
        "checks": 30_000,
        "checks_per_second": 990.0,
        "wanted_per_second": 1000.0,
        "late_p50": 0.2,
        "late_p99": 0.5,
        "late_most": 0.6,
        "overdue": 0,
        "cpu_ms_per_check": 0.4,
        "server_ms_per_check": 0.1,
        "rss_bytes": 110_000_000,
        "commands_per_check": 6.0,
        "scripts_per_check": 0.03,
    }
    return waiting.Figures(**{**usual, **given})


@pytest.mark.parametrize(
    ("given", "met"),
    [
        ({}, [True, True]),
        ({"cpu_ms_per_check": 0.5}, [False, True]),
        ({"late_p99": 0.9}, [True, False]),
        ({"jobs": 1000}, []),
        ({"design": waiting.PLAIN}, []),
        ({"design": waiting.SLOW, "late_p99": 2.1}, [False]),
        ({"jobs": 100_000, "interval": 60.0, "workers": 2, "late_p99": 1.9}, [True, True]),
        ({"jobs": 100_000, "interval": 60.0, "workers": 2, "rss_bytes": 151_000_000}, [True, False]),
        ({"jobs": 1000, "job_bytes": 2500.0}, [False]),
        ({"jobs": 1000, "job_bytes": 2000.0, "used_bytes": 2500.0}, [True]),
    ],
)
def test_each_promise_is_held_against_its_own_load(given: dict[str, Any], met: list[bool]) -> None:
    """A target counts where its load was measured, and nowhere else."""
    assert [target.met for target in waiting.targets([_figures(**given)])] == met


@pytest.mark.parametrize(
    ("cores", "rate", "said"),
    [
        ((0.5, 0.1, 0.1), 999.0, "none"),
        ((0.98, 0.3, 0.2), 500.0, "one core per worker"),
        ((0.6, 0.95, 0.2), 500.0, "the stub vendor"),
        ((0.6, 0.4, 0.9), 500.0, "the server"),
        ((0.6, 0.4, 0.2), 500.0, "the machine's cores"),
    ],
)
def test_the_limit_has_a_name(cores: tuple[float, float, float], rate: float, said: str) -> None:
    """What was full is named; where nothing was due any more, nothing was."""
    assert scale.limit_of(*cores, rate, 1000.0, machine=1.2).startswith(said)


def test_a_full_window_is_a_limit() -> None:
    """A worker waits for the vendor with all requests that it may have open."""
    said = scale.limit_of(0.4, 0.4, 0.2, 2800.0, 10_000.0, machine=0.9, open_at_once=0.93)
    assert said == "300 requests open at once per worker, each answered after 0.1 s"


def test_where_nothing_is_full_the_nearest_is_named() -> None:
    """No verdict is made up: the fullest part is named, with how full it was."""
    said = scale.limit_of(0.53, 0.2, 0.2, 4900.0, 10_000.0, machine=0.7, open_at_once=0.816)
    assert said == "nothing is full; nearest (82%): 300 requests open at once per worker, each answered after 0.1 s"


def test_a_small_load_needs_one_of_everything() -> None:
    """20,000 videos a month: one account, one worker, a few in flight, little memory."""
    made = load_plan.plan(load_plan.Load(per_day=20_000 / 30, median_seconds=150))
    assert (made.accounts, made.workers, made.limits) == (1, 1, ())
    assert made.in_flight < 5
    assert made.memory_bytes < 75e6
    assert made.maxmemory_bytes == pytest.approx(made.memory_bytes / 0.85)  # above that share nothing is bought


def test_ten_million_a_day_are_shards() -> None:
    """The vendor's own rate ends first: one motionq per account, and no shard's server is near its end."""
    load = load_plan.Load(per_day=10_000_000, median_seconds=150)
    made = load_plan.plan(load)
    assert made.in_flight == pytest.approx(231.48 * 150 * 1.06, rel=0.01)  # the mean lies above the median
    assert made.accounts == math.ceil(made.in_flight / 100)
    many = load_plan.plan(replace(load, max_in_flight=1000))
    assert many.accounts == 116  # 231.5 a second; an account has 2
    assert made.shard_server_cores < load_plan.SERVER_SHARE / 10
    assert len(made.limits) == 3


def test_videos_cost_more_than_jobs() -> None:
    """A million a day, 23 a second: 45 ms to inspect each video, and 230 ms to store each result."""
    load = load_plan.Load(per_day=1_000_000, median_seconds=150, max_in_flight=400)
    stored, left = load_plan.plan(load), load_plan.plan(replace(load, results=False))
    assert stored.video_cores == pytest.approx(23.15 * 0.275, rel=1e-3)
    assert left.video_cores == pytest.approx(23.15 * 0.045, rel=1e-3)
    assert stored.worker_cores == left.worker_cores == pytest.approx(23.15 * 0.012, rel=1e-3)


@pytest.mark.parametrize(
    ("given", "at_once", "workers"),
    [
        ({}, 370.4, 39),
        ({"results": False}, 185.2, 20),
        ({"transfer_seconds": 2.0}, 92.6, 12),
        ({"transfers": 32}, 370.4, 20),
    ],
)
def test_transfers_need_workers(given: dict[str, Any], at_once: float, workers: int) -> None:
    """23.1 uploads and as many deliveries a second, 8 s each, 16 at once per worker, of which 0.6 are planned with."""
    made = load_plan.plan(load_plan.Load(per_day=1_000_000, median_seconds=150, max_in_flight=400, **given))
    assert made.transfers_at_once == pytest.approx(at_once, abs=0.1)
    assert made.workers == workers
    assert made.accounts == 12


@pytest.mark.parametrize(
    ("median", "reads"), [(150.0, 4.7), (600.0, 9.8), (1500.0, 15.1), (3600.0, 25.3), (20_000.0, 74.1)]
)
def test_longer_videos_take_more_reads(median: float, reads: float) -> None:
    """As the product's schedule reads them; 2,000 jobs of `bench detection` take 4.4, 9.6, 15.5 and 28."""
    job = load_plan.watched(median, callbacks=False)
    assert job.reads == pytest.approx(reads, abs=0.1)
    assert 1.05 * median < job.seconds < 1.15 * median


def test_callbacks_save_reads() -> None:
    """One read and a fifth where callbacks come; without them 4.7, and workers have more to do."""
    called, polled = (
        load_plan.plan(load_plan.Load(per_day=100_000, median_seconds=150, callbacks=calls)) for calls in (True, False)
    )
    assert called.reads_per_job == pytest.approx(1.2, abs=0.05)
    assert polled.reads_per_second == pytest.approx(2.315 * 4.7, rel=0.02)
    assert polled.worker_cores > called.worker_cores
    assert polled.server_cores > called.server_cores


@pytest.mark.parametrize("callbacks", [True, False])
def test_one_server_ends_where_the_plan_says(callbacks: bool) -> None:
    """At so many jobs a day, checks counted, the plan's server is exactly as full as it may be."""
    ends = load_plan.one_server(load_plan.watched(1500.0, callbacks))
    made = load_plan.plan(load_plan.Load(per_day=ends, median_seconds=1500.0, callbacks=callbacks))
    assert made.server_cores == pytest.approx(load_plan.SERVER_SHARE)


def test_an_account_that_lets_much_run_needs_more_reads() -> None:
    """20,000 videos of 25 minutes in flight on one account: its reads end before its purchases do."""
    load = load_plan.Load(per_day=86_000, median_seconds=7200, callbacks=False, max_in_flight=100_000)
    assert "MOTIONQ_READ_RATE" in load_plan.plan(load).limits[0]
    assert load_plan.plan(replace(load, per_day=20_000)).limits == ()


def test_every_cost_says_where_it_is_from() -> None:
    """The plan's table names a command for each figure, and the report holds them all."""
    said = load_plan.report(load_plan.Load(per_day=1000, median_seconds=150))
    assert [cost["source"] for cost in said["costs"] if not cost["source"]] == []
    assert json.loads(json.dumps(said)) == said
    words = load_plan.lines(load_plan.Load(per_day=1000, median_seconds=150))
    assert all(cost.name in words for cost in load_plan.COSTS)
