"""Cancelling, from every situation, also under a server that is another one by now."""

from __future__ import annotations

import pytest

from motionq.contract.states import CANCEL_ARMED, CANCEL_BOUGHT, CANCEL_UNBOUGHT, Purchase
from support.invariants import violations
from support.life import SITUATIONS, Life

_UNSENT = ("queued", "uploading", "ready")
_BOUGHT = ("submitting", "submit_unknown", "running")
_STOP = {move.name: move for move in (CANCEL_UNBOUGHT, CANCEL_ARMED, CANCEL_BOUGHT)}

pytestmark = pytest.mark.redis_server


def _agrees(lived: Life) -> bool:
    return not list(violations(lived.redis, lived.keys, jobs=["j1"], tenants=["default"], cap=1, rate=20))


def _expected(situation: str) -> dict[str, tuple[str, str]]:
    """Each of the three ways to cancel -> outcome and state."""
    state = situation.partition(",")[0]
    way = {"armed": ("cancel_armed", "cancelled")}
    way |= dict.fromkeys(_UNSENT, ("cancel_unbought", "cancelled"))
    way |= dict.fromkeys(_BOUGHT, ("cancel_bought", "cancelling"))
    right, leads = way.get(state, ("", ""))
    return {name: ("ok", leads) if name == right else ("fenced", state) for name in _STOP}


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("name", _STOP)
def test_each_situation_is_cancelled_one_way_at_most(lived: Life, situation: str, name: str) -> None:
    """Unbought: at once; armed: at once, the purchase not sent; sent: the verdict is awaited, slot and alarm stay."""
    job = lived.reach(situation, "j1")
    slots, before = lived.redis.zrange(lived.keys.slots, 0, -1), lived.everything()

    moved = lived.move(name, "j1", alarm_in=5_000)

    assert (moved.outcome, moved.state) == _expected(situation)[name]
    if moved.outcome == "fenced":
        assert lived.everything() == before
        return
    after = lived.store.get("j1")
    closed = [Purchase.NOT_SENT] if name == "cancel_armed" else [p.status for p in job.purchases]
    assert [p.status for p in after.purchases] == closed
    assert lived.redis.zrange(lived.keys.slots, 0, -1) == (slots if name == "cancel_bought" else [])
    assert (after.nonce, after.task_id, after.attempts) == (job.nonce, job.task_id, job.attempts)
    assert _agrees(lived)


@pytest.mark.parametrize("name", _STOP)
def test_a_job_armed_by_another_server_may_have_been_sent(lived: Life, name: str) -> None:
    """Cancelled, it waits for what may have been bought: purchase, slot and rate slot stay."""
    job = lived.reach("armed", "j1")
    assert len(lived.store.claim("submit", room=9, lease=20, rate=20)) == 1
    lived.arm_elsewhere("j1")
    before = lived.everything()

    moved = lived.move(name, "j1", alarm_in=5_000)

    if name != "cancel_armed":
        assert (moved.outcome, lived.everything()) == ("fenced", before)
        return
    assert (moved.outcome, moved.state) == ("ok", "cancelling")
    assert [p.status for p in lived.store.get("j1").purchases] == [Purchase.OPEN]
    assert lived.redis.zrange(lived.keys.slots, 0, -1) == lived.redis.zrange(lived.keys.rate, 0, -1)
    assert lived.redis.zrange(lived.keys.slots, 0, -1) == [f"j1:{job.nonce}"]
    assert _agrees(lived)
