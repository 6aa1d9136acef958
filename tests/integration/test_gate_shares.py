"""What one day and one tenant may take: the budget of credits, the round robin, and the pace of new jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from motionq.contract.states import State
from motionq.contract.store import PACE
from motionq.gate import gate_status
from support.life import ESTIMATE, SITUATIONS, Life, life
from support.lines import armed, crowd, new, ready

DAY = 86_400_000  # ms
BUDGET = 200.0
# Which situations have cost something, or may yet.
_FREE = ("queued", "uploading", "ready", "failed, unbought", "failed, refused", "cancelled, unbought")
COUNTS = {s: not s.startswith(_FREE) and "refunded" not in s for s in SITUATIONS}

pytestmark = pytest.mark.redis_server


@pytest.fixture
def lived(redis_url: str, namespace: str) -> Iterator[Life]:
    """Jobs in a namespace of their own; 5 slots, 200 credits a day."""
    with life(redis_url, namespace, max_in_flight=5, submit_rate=(20, 10.0), max_credits_per_day=BUDGET) as jobs:
        yield jobs


def _today(lived: Life) -> int:
    return lived.store.now() // DAY


def _spent(lived: Life) -> float:
    """Credits of today."""
    return float(lived.redis.hget(lived.keys.spent, _today(lived)) or 0)


def _bought(lived: Life, job_id: str, situation: str = "submitting", **values: Any) -> None:
    """A job that is estimated at 66 credits is bought."""
    lived.reach(situation, job_id)
    assert lived.move("record_task", job_id, **values).outcome in ("ok", "booked")


# -- the day's budget -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("situation", COUNTS)
def test_a_purchase_counts_while_it_may_cost_something(lived: Life, situation: str) -> None:
    """From its arming on, once; not sent, refused or refunded it counts no more."""
    lived.reach(situation, "j1")
    assert _spent(lived) == (ESTIMATE if COUNTS[situation] else 0.0)


def test_a_repeated_call_counts_nothing_twice(lived: Life) -> None:
    """Whoever records the task again, the purchase is counted once."""
    _bought(lived, "j1", call="once")
    assert lived.move("record_task", "j1", call="once").ok
    assert lived.move("record_task", "j1", call="by another worker").ok
    assert _spent(lived) == ESTIMATE


def test_a_burst_does_not_outrun_the_budget(lived: Life) -> None:
    """However many may be bought at once: no more is armed when the day's budget is reserved."""
    ready(lived, *(new(f"j{n}") for n in range(9)))

    assert lived.gate.admit("w") == 4  # 3 x 66 are below 200
    assert lived.gate.admit("w") == 0

    assert lived.move("unconnected", armed(lived)[0]).ok
    assert _spent(lived) == 3 * ESTIMATE
    assert lived.gate.admit("w") == 1


def test_what_the_vendor_reports_corrects_the_estimate(lived: Life) -> None:
    """A verdict adds the difference in either direction, fractions too; a refund takes the estimate back."""
    for n, difference in enumerate((-2.25, 4.5)):
        _bought(lived, f"paid{n}")
        assert lived.move("paid", f"paid{n}", spent=difference).ok
    assert _spent(lived) == 2 * 66.0 + 2.25
    _bought(lived, "refunded")
    assert lived.move("refunded", "refunded").ok
    assert _spent(lived) == 2 * 66.0 + 2.25


def test_a_fenced_call_costs_nothing(lived: Life) -> None:
    """A second verdict on a purchase, and one about another's task, change no credits."""
    _bought(lived, "j1")
    assert lived.move("paid", "j1", spent=-1.0).ok
    assert lived.move("paid", "j1", spent=-1.0).outcome == "fenced"
    assert lived.move("refunded", "j1").outcome == "fenced"
    _bought(lived, "j2")
    assert lived.move("paid", "j2", task="0ther", spent=-1.0).outcome == "fenced"
    assert lived.move("record_task", "j2", task="0ther").outcome == "fenced"

    assert _spent(lived) == 2 * 66.0 - 1.0


def test_late_news_are_counted_too(lived: Life) -> None:
    """A task found for a job that had given up, or for a purchase booked as refused, was bought like any other."""
    _bought(lived, "healed", "failed, unknown")
    assert _spent(lived) == 66.0
    _bought(lived, "stray", "failed, refused")
    assert _spent(lived) == 2 * 66.0


def test_following_an_earlier_task_counts_it_again(lived: Life) -> None:
    """A refund that was none is taken back with it: the vendor's report then corrects the whole estimate."""
    _bought(lived, "j1")
    assert lived.move("refunded_again", "j1").ok
    old = lived.store.get("j1").nonce
    assert _spent(lived) == 0.0
    assert lived.arm() == 1

    assert lived.store.follow("j1", nonce=lived.store.get("j1").nonce, old=old, event={}) == ("ok", "running")
    assert _spent(lived) == 66.0
    assert lived.move("paid", "j1", spent=0.5).ok
    assert _spent(lived) == 66.5


def test_nothing_is_bought_above_the_budget(lived: Life) -> None:
    """Below the budget jobs are admitted, at it none; people see why, and until when."""
    ready(lived, new("j1"), new("j2"))
    day = _today(lived)
    lived.redis.hset(lived.keys.spent, day, BUDGET - 100.0)
    assert lived.gate.admit("w") == 2
    ready(lived, new("j3"))

    lived.redis.hset(lived.keys.spent, day, BUDGET)

    assert lived.gate.admit("w") == 0
    assert lived.store.get("j3").state is State.READY
    status = gate_status(lived.store, BUDGET)
    assert (status.open, status.reason) == (False, "budget")
    assert status.until == datetime.fromtimestamp((day + 1) * DAY / 1000, UTC)


def test_a_refund_gives_the_budget_back(lived: Life) -> None:
    """What the vendor refunds may be spent again on the same day."""
    _bought(lived, "j1")
    lived.redis.hincrbyfloat(lived.keys.spent, _today(lived), BUDGET - 66.0)
    ready(lived, new("j2"))
    assert lived.gate.admit("w") == 0

    assert lived.move("refunded", "j1").ok

    assert lived.gate.admit("w") == 1


def test_the_next_day_begins_with_a_whole_budget(lived: Life) -> None:
    """Days are those of UTC: what yesterday used up does not count today."""
    ready(lived, new("j1"))
    lived.redis.hset(lived.keys.spent, mapping={str(_today(lived) - 1): BUDGET, str(_today(lived) + 1): BUDGET})

    assert lived.gate.admit("w") == 1


def test_without_a_budget_nothing_is_held_back(redis_url: str, namespace: str) -> None:
    """The setting is off by default."""
    with life(redis_url, namespace) as lived:
        ready(lived, new("j1"))
        lived.redis.hset(lived.keys.spent, _today(lived), 1e9)

        assert lived.gate.admit("w") == 1


# -- turns ----------------------------------------------------------------------------------------------------------


def test_ten_thousand_waiting_jobs_delay_another_tenant_by_one_round_at_most(lived: Life) -> None:
    """A tenant that comes late, while another has 10,000 jobs waiting, is served within a round, whatever its name."""
    lived.redis.hset(lived.keys.spent, _today(lived), -10_000)  # the budget plays no part
    crowd(lived, 10_000, "big")
    assert lived.gate.admit("w") == 5
    ready(lived, new("a1", "a"), new("z1", "z"))
    for job_id in armed(lived):
        assert lived.move("unconnected", job_id).ok

    assert lived.gate.admit("w") == 5

    assert Counter(r.tenant for r in lived.store.get_many(armed(lived))) == {"a": 1, "z": 1, "big": 3}
    assert lived.redis.zrange(lived.keys.tenants, 0, -1) == ["big"]


# -- the pace of new jobs -------------------------------------------------------------------------------------------


def _due(lived: Life, job_id: str) -> int:
    return int(lived.redis.zscore(lived.keys.due("upload"), job_id))


def test_a_tenants_new_jobs_come_due_one_after_another(lived: Life) -> None:
    """The first comes due at once, each further one 25 ms later, and the pace is forgotten a minute after the last."""
    lived.store.create([new(f"j{n}") for n in range(1000)])

    first = _due(lived, "j0")
    assert first == lived.store.get("j0").created_at
    assert [_due(lived, f"j{n}") - first for n in range(1000)] == [n * PACE for n in range(1000)]
    assert PACE == 25
    assert lived.redis.pexpiretime(lived.keys.pace("default")) - _due(lived, "j999") == 60_000


def test_a_backlog_holds_up_no_other_tenant(lived: Life) -> None:
    """While one tenant has thousands of new jobs, another's comes due at once, and is claimed among the first."""
    lived.store.create([new(f"a{n}", "a") for n in range(3000)])
    began = _due(lived, "a0")

    lived.create("b", tenant="b")
    assert _due(lived, "b") == lived.store.get("b").created_at

    claimed = [c.job_id for c in lived.store.claim("upload", room=5000, lease=20)]
    assert "b" in claimed
    assert len(claimed) <= (lived.store.now() - began) // PACE + 2 < 1000


def test_after_a_rest_a_tenants_job_comes_due_at_once(lived: Life) -> None:
    """Pacing takes nothing from later jobs: once the last came due, the next one does not wait."""
    lived.create("j0")
    lived.redis.set(lived.keys.pace("default"), lived.store.now() - 1000)

    lived.create("j1")

    assert _due(lived, "j1") == lived.store.get("j1").created_at


def test_high_priority_overtakes_the_tenants_own_backlog(lived: Life) -> None:
    """An urgent job is claimed before a thousand of the same tenant that came earlier."""
    lived.store.create([new(f"j{n}") for n in range(1000)])
    lived.create("urgent", priority="high")

    assert [c.job_id for c in lived.store.claim("upload", room=1, lease=20)] == ["urgent"]


def test_low_priority_does_not_wait_idly(lived: Life) -> None:
    """A job of low priority comes due like any other: it lets others pass in its line, where they are there to pass."""
    lived.create("low", priority="low")

    assert [c.job_id for c in lived.store.claim("upload", room=1, lease=20)] == ["low"]


def test_a_request_that_makes_no_job_takes_no_place(lived: Life) -> None:
    """Repeated and refused requests do not slow their tenant down."""
    lived.create("j0", idempotency_key="k")
    pace = lived.redis.get(lived.keys.pace("default"))
    assert int(pace) == _due(lived, "j0") + PACE

    assert lived.create("j1", idempotency_key="k").outcome == "exists"
    assert lived.create("j0").outcome == "exists"
    assert lived.redis.get(lived.keys.pace("default")) == pace
