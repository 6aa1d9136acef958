"""The exporter on a real server: exact figures, and the same few commands whatever the number of jobs."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from motionq.contract.connection import connect
from motionq.contract.errors import QueueUnavailable
from motionq.contract.keys import SPAN, Keys
from motionq.contract.settings import Settings
from motionq.contract.states import FINAL, UNFINISHED
from motionq.contract.store import JobStore
from motionq_ops.exporter.figures import OTHERS
from motionq_ops.exporter.reading import read
from motionq_ops.exporter.serve import Figures, limits
from motionq_worker.metering import Counted, Courier, Meter, Reports
from support import eventually
from support.figures import Samples, by_tenant, figure, samples
from support.life import Life, life
from support.lines import crowd, new, ready

pytestmark = pytest.mark.redis_server


@pytest.fixture
def lived(redis_url: str, namespace: str) -> Iterator[Life]:
    """Jobs in a namespace of their own."""
    with life(redis_url, namespace, max_in_flight=5, submit_rate=(20, 10.0), kie_api_key="key") as jobs:
        yield jobs


def _shown(lived: Life) -> Samples:
    """What a scrape says now."""
    return samples(Figures(lived.store, limits(lived.settings)).collect())


def test_the_figures_are_those_of_the_records(lived: Life) -> None:
    """Jobs in several states, lines of two tenants, taken slots: each figure is what is on record, to the last one."""
    lived.reach("running", "j1")
    lived.reach("submit_unknown", "j2")
    lived.reach("failed, refused", "j3")
    lived.reach("succeeded", "j4")
    ready(lived, new("j5", "acme"), new("j6", "acme"), new("j7", "zeta"))
    found = _shown(lived)

    states = {"running": 1, "submit_unknown": 1, "failed": 1, "succeeded": 1, "ready": 3, "queued": 0}
    assert {state: figure(found, "jobs", state=state) for state in states} == states
    assert {s: figure(found, "jobs_recent", window="1h", state=s) for s in states} == states
    assert figure(found, "tenant_jobs_ready", tenant="acme") == 2
    assert figure(found, "tenant_jobs_ready", tenant="zeta") == 1
    assert figure(found, "tenant_jobs_ready", tenant=OTHERS) == 0
    assert figure(found, "tenants_ready") == 2
    assert figure(found, "gate_in_flight") == lived.redis.zcard(lived.keys.slots) == 2
    assert figure(found, "gate_in_flight_limit") == 5
    assert figure(found, "alarms", step="check") == 1
    assert figure(found, "up") == 1
    assert figure(found, "redis_noeviction") == 1
    assert figure(found, "redis_aof_enabled") == 1


def test_jobs_are_shown_by_state_and_tenant(lived: Life) -> None:
    """Whose jobs run, whose wait and whose failed: each is counted, and together they are the jobs of that state."""
    lived.reach("running", "j1", tenant="acme")
    lived.reach("running", "j2", tenant="zeta")
    lived.reach("failed, refused", "j3", tenant="zeta")
    lived.reach("succeeded", "j4", tenant="acme")
    ready(lived, new("j5", "acme"), new("j6", "acme"), new("j7", "zeta"))
    found = _shown(lived)

    assert by_tenant(found, "tenant_jobs") == {
        ("running", "acme"): 1,
        ("running", "zeta"): 1,
        ("ready", "acme"): 2,
        ("ready", "zeta"): 1,
    }
    assert by_tenant(found, "tenant_jobs_ended") == {("failed", "zeta"): 1, ("succeeded", "acme"): 1}
    assert {figure(found, "tenant_jobs", state=state, tenant=OTHERS) for state in UNFINISHED} == {0}
    ends = {figure(found, "tenant_jobs_ended", window="1h", state=state, tenant=OTHERS) for state in FINAL}
    assert ends == {0}


def test_ends_are_shown_for_an_hour(lived: Life) -> None:
    """However long ago the job was created; what ended 55 minutes ago counts, what did 70 minutes ago does not."""
    lived.reach("failed, refused", "j1", tenant="acme")
    lived.redis.zincrby(lived.keys.state("failed"), -86_400_000, "j1")
    now = lived.store.now() // SPAN
    for ago in (11, 14):
        lived.redis.hset(lived.keys.ends(now - ago), f"failed t{ago}", 3)

    assert by_tenant(_shown(lived), "tenant_jobs_ended") == {("failed", "acme"): 1, ("failed", "t11"): 3}


def test_charged_failures_are_shown_for_as_long_as_the_vendor_has_the_film(lived: Life) -> None:
    """Those that failed beside an open or paid purchase in the last 14 days, and how long the first one waits."""
    lived.reach("failed, refused", "j0")
    assert figure(_shown(lived), "jobs_unsettled") == figure(_shown(lived), "oldest_unsettled_age_seconds") == 0
    for n, days in ((1, 15.0), (2, 13.9), (3, 0.0)):
        lived.reach("failed, unknown", f"j{n}")
        lived.redis.zincrby(lived.keys.unsettled, -days * 86_400_000, f"j{n}")
    found = _shown(lived)

    assert figure(found, "jobs_unsettled") == 2
    age = figure(found, "oldest_unsettled_age_seconds")
    assert age is not None
    assert 0 <= age - 13.9 * 86_400 < 60


def test_old_jobs_are_not_recent(lived: Life) -> None:
    """A job created two hours ago counts for the day, not for the hour, and its age is shown."""
    lived.reach("running", "j1")
    lived.redis.zincrby(lived.keys.state("running"), -7_200_000, "j1")
    found = _shown(lived)

    assert figure(found, "jobs_recent", window="1h", state="running") == 0
    assert figure(found, "jobs_recent", window="24h", state="running") == 1
    age = figure(found, "oldest_job_age_seconds", state="running")
    assert age is not None
    assert 7200 <= age < 7260


def test_an_overdue_alarm_is_late(lived: Life) -> None:
    """The earliest alarm of a step that should have rung tells how long nobody has come for it."""
    lived.reach("running", "j1")
    lived.redis.zadd(lived.keys.due("check"), {"j1": lived.store.now() - 90_000})
    late = figure(_shown(lived), "alarm_lateness_seconds", step="check")

    assert late is not None
    assert 90 <= late < 150


def test_a_pause_is_shown_with_its_reason(lived: Life) -> None:
    """The gate's record is the label; when it is opened all reasons are 0 again."""
    lived.store.pause("no_credits", "402", key="k")
    since = int((lived.store.paused() or {})["since"])
    found = _shown(lived)
    assert figure(found, "gate_paused", reason="no_credits") == 1
    assert figure(found, "gate_paused_since_timestamp_seconds") == since / 1000

    lived.store.resume()
    assert set(_shown(lived)["motionq_gate_paused"].values()) == {0.0}


def test_a_scrape_costs_the_same_for_one_job_and_for_thousands(lived: Life) -> None:
    """The number of commands depends on states, tenants and queues; not on jobs."""

    def commands() -> int:
        before = int(lived.redis.info("stats")["total_commands_processed"])
        read(lived.store)
        return int(lived.redis.info("stats")["total_commands_processed"]) - before

    crowd(lived, 2, "acme")
    few = commands()
    crowd(lived, 3000, "zeta")
    many = commands()

    assert figure(_shown(lived), "jobs", state="ready") == 3002
    assert many == few + 1  # one more tenant
    assert few < 120


def test_counts_arrive_in_one_hash(lived: Life) -> None:
    """Two processes' counts are added up; a value seen later replaces the earlier one."""
    for n in (1, 2):
        meter = Meter()
        meter.answered("create_task", "ok", 200, 0.4)
        meter.uploaded(0)
        meter.see("credits", 100.0 * n)
        Reports(meter, lived.store).send()
    found = _shown(lived)

    assert figure(found, "vendor_answers_total", call="create_task", outcome="ok", code="200") == 2
    assert figure(found, "vendor_seconds_bucket", call="create_task", le="0.25") == 0
    assert figure(found, "vendor_seconds_bucket", call="create_task", le="0.5") == 2
    assert figure(found, "vendor_seconds_sum", call="create_task") == 0.8
    assert figure(found, "uploads_total", result="hit") == 2
    assert figure(found, "credits_left") == 200.0
    asked = figure(found, "credits_left_timestamp_seconds")
    assert asked is not None
    assert abs(asked - lived.store.now() / 1000) < 60


def test_an_idle_process_sends_nothing(lived: Life) -> None:
    """Without anything counted there is no round trip, and no key."""
    Reports(Meter(), lived.store).send()

    assert lived.redis.exists(lived.keys.metrics) == 0


def test_counts_wait_for_a_server_that_is_away(lived: Life) -> None:
    """What could not be brought is in the meter still, and is brought when the server is back."""
    meter = Meter()
    meter.add("upload", "hit")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        settings = Settings(redis_url=f"redis://127.0.0.1:{closed.getsockname()[1]}/0")
        away = JobStore(connect(settings), Keys(lived.keys.namespace))
        with pytest.raises(QueueUnavailable):
            Reports(meter, away).send()
        away.redis.close()
    Reports(meter, lived.store).send()

    assert lived.redis.hgetall(lived.keys.metrics) == {"upload hit": "1"}
    assert meter.take() == Counted()


def test_a_process_without_a_clock_brings_its_counts_soon_and_at_its_end(lived: Life) -> None:
    """The receiver's counts go out a moment later from another thread; the last ones when it closes."""
    meter = Meter()
    courier = Courier(Reports(meter, lived.store), pause=0.01)
    meter.add("callback", "stored")
    courier.soon()
    eventually(lambda: lived.redis.hget(lived.keys.metrics, "callback stored") == "1")
    meter.add("callback", "stored")
    courier.close()

    assert lived.redis.hget(lived.keys.metrics, "callback stored") == "2"


def test_nothing_of_a_tenants_name_breaks_the_exposition(lived: Life) -> None:
    """Names hold letters, digits and . _ @ -; even a name from another hand is escaped, not spilt."""
    ready(lived, new("j1", 'a"b\\c'))
    figures = Figures(lived.store, limits(lived.settings))

    assert figure(samples(figures.collect()), "tenant_jobs_ready", tenant='a"b\\c') == 1
