"""Going on with an earlier task that is no failure after all, instead of buying again."""

from __future__ import annotations

import pytest

from motionq.contract.states import Purchase, State
from support.invariants import violations
from support.life import Life

EVENT = {"step": "submit", "note": "alive"}

pytestmark = pytest.mark.redis_server


def _agrees(lived: Life) -> bool:
    return not list(violations(lived.redis, lived.keys, jobs=["j1"], tenants=["default"], cap=1, rate=20))


def _armed_again(lived: Life, situation: str = "ready, refunded") -> tuple[str, str]:
    """A job armed after an earlier purchase; the new nonce and the old one."""
    old = lived.reach(situation, "j1").nonce
    if situation.startswith("queued"):
        lived.claim("upload", "j1")
        assert lived.move("begin_upload", "j1").ok
        assert lived.move("uploaded", "j1").ok
    assert lived.arm() == 1
    return lived.store.get("j1").nonce, old


def test_an_earlier_task_is_followed_and_nothing_is_bought(lived: Life) -> None:
    """The old purchase is open again, the new one not sent; slot and rate slot are free, the task is read at once."""
    new, old = _armed_again(lived)
    assert len(lived.store.claim("submit", room=9, lease=20, rate=20)) == 1
    assert lived.redis.zcard(lived.keys.slots) == lived.redis.zcard(lived.keys.rate) == 1
    now = lived.store.now()

    assert lived.store.follow("j1", nonce=new, old=old, event=EVENT) == ("ok", "running")

    record = lived.store.get("j1")
    assert [(p.nonce, p.status) for p in record.purchases] == [(old, Purchase.OPEN), (new, Purchase.NOT_SENT)]
    assert record.purchases[0].closed_at is None
    assert record.purchases[1].closed_at == record.updated_at
    assert (record.nonce, record.task_id) == (old, record.purchases[0].task_id)
    assert record.running_since >= now
    assert lived.redis.zcard(lived.keys.slots) == lived.redis.zcard(lived.keys.rate) == 0
    assert lived.store.claim_checks(room=9, lease=15, rate=(50, 1.0)).job_ids == ("j1",)
    assert lived.store.get("j1").events[-1].note == "alive"
    assert _agrees(lived)


def test_following_again_changes_nothing(lived: Life) -> None:
    """redis-py repeats a call whose answer was lost: it is told the same, and the record stays."""
    new, old = _armed_again(lived)
    assert lived.store.follow("j1", nonce=new, old=old, event=EVENT) == ("ok", "running")
    before = lived.everything()

    assert lived.store.follow("j1", nonce=new, old=old, event=EVENT) == ("ok", "running")
    assert lived.everything() == before


def test_a_followed_task_ends_like_any_other(lived: Life) -> None:
    """Paid in the end it is delivered; refunded once more, the next purchase has a new nonce."""
    new, old = _armed_again(lived)
    assert lived.store.follow("j1", nonce=new, old=old, event=EVENT)[0] == "ok"
    assert lived.move("refunded_again", "j1").state == State.READY
    assert lived.arm() == 1
    third = lived.store.get("j1").nonce
    assert third not in (old, new)
    assert [p.status for p in lived.store.get("j1").purchases] == ["refunded", "not_sent", "open"]

    assert lived.store.follow("j1", nonce=third, old=old, event=EVENT)[0] == "ok"
    assert lived.move("paid", "j1").state == State.DELIVERING
    assert _agrees(lived)


@pytest.mark.parametrize("situation", ["ready, not sent", "ready, refused", "queued, refused"])
def test_only_a_refunded_purchase_is_followed(lived: Life, situation: str) -> None:
    """What was never sent, or refused, has no task to follow; nor has a purchase that does not exist."""
    new, old = _armed_again(lived, situation)
    before = lived.everything()

    for nonce in (old, new, "0" * 40):
        assert lived.store.follow("j1", nonce=new, old=nonce, event=EVENT) == ("fenced", "armed")
    assert lived.everything() == before


@pytest.mark.parametrize("then", ["send", "unconnected", "cancel_armed"])
def test_only_an_armed_purchase_is_given_up_for_it(lived: Life, then: str) -> None:
    """Once the new purchase may have been sent, or is gone, it is not closed on behalf of the old one."""
    new, old = _armed_again(lived)
    if then == "send":
        assert lived.send("j1") == "mine"
    else:
        assert lived.move(then, "j1").ok
    state, before = lived.store.get("j1").state, lived.everything()

    assert lived.store.follow("j1", nonce=new, old=old, event=EVENT) == ("fenced", state)
    assert lived.everything() == before


def test_under_another_server_nothing_is_closed(lived: Life) -> None:
    """The record may be older than what was done: the new purchase may have been sent under the lost server."""
    new, old = _armed_again(lived)
    lived.arm_elsewhere("j1")
    before = lived.everything()

    assert lived.store.follow("j1", nonce=new, old=old, event=EVENT) == ("fenced", "armed")
    assert lived.store.follow("nobody", nonce=new, old=old, event=EVENT) == ("missing", "")
    assert lived.everything() == before
