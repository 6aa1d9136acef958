"""What the server itself makes of a replay, from every situation: it looks at purchases, and money needs consent."""

from __future__ import annotations

from typing import Any

import pytest

from motionq.contract.record import Record
from motionq.contract.states import FINAL, Purchase, State
from support.invariants import violations
from support.life import FAILURE, SITUATIONS, Life

# Finished situations -> where a replay without consent leads; the others have an open purchase without a task.
LEADS = {
    "failed, unbought": State.QUEUED,
    "failed, refused": State.QUEUED,
    "failed, refunded": State.QUEUED,
    "failed, silent": State.RUNNING,
    "cancelled, unbought": State.QUEUED,
    "cancelled, silent": State.RUNNING,
    "cancelled, paid": State.DELIVERING,
}
UNKNOWN = ("failed, unknown", "cancelled, unknown")
REFUSED = [s for s in SITUATIONS if s not in LEADS and s not in UNKNOWN]

pytestmark = pytest.mark.redis_server


def _taken_up(lived: Life, before: Record, state: State) -> Record:
    """The job in `state`, with a fresh start, due now, and for ever again; every rule holds."""
    after = lived.store.get(before.id)
    assert (after.state, after.failure) == (state, None)
    assert (after.tries, after.turns, after.generations) == (0, 0, 0)
    assert after.attempts == before.attempts
    names = [lived.keys.job(before.id), lived.keys.idempotency("default", "k")]
    names += [lived.keys.task(p.task_id) for p in after.purchases if p.task_id]
    assert [lived.redis.pttl(name) for name in names] == [-1] * len(names)
    assert lived.redis.zcard(lived.keys.slots) == 0
    assert lived.store.get(before.id).events[-1].step == "replay"
    found = violations(lived.redis, lived.keys, jobs=[before.id], tenants=["default"], cap=1, rate=20)
    assert list(found) == []
    return after


def _worn(lived: Life, situation: str) -> Record:
    """A job in this situation that has used up its tries, turns and generations."""
    lived.reach(situation, "j1", idempotency_key="k")
    lived.redis.hset(lived.keys.job("j1"), mapping={"tries": 7, "turns": 5, "generations": 2})
    return lived.store.get("j1")


def test_every_finished_situation_is_looked_at() -> None:
    """A finished situation leads somewhere, needs consent, or has succeeded."""
    finished = {s for s in SITUATIONS if s.partition(",")[0] in FINAL}
    assert finished - set(LEADS) - set(UNKNOWN) == {"succeeded"}


@pytest.mark.parametrize("situation", LEADS)
def test_a_replay_goes_on_where_the_money_is(lived: Life, situation: str) -> None:
    """Paid is delivered, open with a task awaited, none open begun anew; a repeated call changes nothing."""
    before = _worn(lived, situation)

    assert lived.store.replay("j1", call="c1") == ["ok", LEADS[situation]]

    after = _taken_up(lived, before, LEADS[situation])
    assert after.purchases == before.purchases
    picture = lived.everything()
    assert lived.store.replay("j1", call="c1") == ["ok", LEADS[situation]]
    assert lived.everything() == picture
    assert lived.store.replay("j1", call="c2") == ["refused", LEADS[situation]]
    assert lived.everything() == picture


@pytest.mark.parametrize("situation", REFUSED)
def test_only_a_failed_or_cancelled_job_is_taken_up(lived: Life, situation: str) -> None:
    """A job that succeeded, or is under way, is left as it is, with consent too."""
    job = lived.reach(situation, "j1")
    before = lived.everything()

    assert lived.store.replay("j1", call="c") == ["refused", job.state]
    assert lived.store.replay("j1", call="c", consent=[job.nonce or "0" * 40]) == ["refused", job.state]
    assert lived.everything() == before


def test_nobody_is_taken_up(lived: Life) -> None:
    """A job that is not on record is missing, and stays so."""
    assert lived.store.replay("nobody", call="c") == ["missing"]
    assert lived.everything() == {}


# -- consent --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("situation", UNKNOWN)
def test_without_consent_nothing_is_bought_beside_an_open_purchase(lived: Life, situation: str) -> None:
    """The answer names the open purchase; nothing changes, however often it is asked."""
    job = lived.reach(situation, "j1")
    before = lived.everything()

    for call in ("c1", "c2"):
        assert lived.store.replay("j1", call=call) == ["open", job.nonce]
    assert lived.store.replay("j1", call="c3", consent=[]) == ["open", job.nonce]
    assert lived.everything() == before


@pytest.mark.parametrize("situation", [*UNKNOWN, "failed, silent", "cancelled, silent"])
def test_consent_writes_off_what_was_shown(lived: Life, situation: str) -> None:
    """The named purchase is written off, its slot is free, and the next one has a nonce of its own."""
    before = _worn(lived, situation)
    lived.redis.zadd(lived.keys.slots, {f"j1:{before.nonce}": 1})

    assert lived.store.replay("j1", call="c1", consent=[before.nonce]) == ["ok", "queued"]

    after = _taken_up(lived, before, State.QUEUED)
    assert [(p.nonce, p.status) for p in after.purchases] == [(before.nonce, Purchase.WRITTEN_OFF)]
    assert after.purchases[0].closed_at == after.updated_at
    picture = lived.everything()
    assert lived.store.replay("j1", call="c1", consent=[before.nonce]) == ["ok", "queued"]
    assert lived.everything() == picture

    _until_ready(lived)
    assert lived.arm() == 1
    book = lived.store.get("j1").purchases
    assert [p.status for p in book] == [Purchase.WRITTEN_OFF, Purchase.OPEN]
    assert book[0].nonce != book[1].nonce


def test_consent_is_for_what_was_shown_alone(lived: Life) -> None:
    """Whoever was shown a purchase that is written off by now, and another is open, is asked again."""
    shown = lived.reach("failed, unknown", "j1").nonce
    assert lived.store.replay("j1", call="somebody else", consent=[shown]) == ["ok", "queued"]
    _until_ready(lived)
    assert lived.arm() == 1
    assert lived.send("j1") == "mine"
    assert lived.move("give_up_unknown", "j1").ok
    another, before = lived.store.get("j1").nonce, lived.everything()

    assert lived.store.replay("j1", call="c1", consent=[shown]) == ["open", another]
    assert lived.everything() == before

    assert lived.store.replay("j1", call="c2", consent=[shown, another]) == ["ok", "queued"]
    assert [p.status for p in lived.store.get("j1").purchases] == [Purchase.WRITTEN_OFF] * 2


def test_consent_to_nothing_open_writes_nothing_off(lived: Life) -> None:
    """A purchase that was settled after it was shown stays as it was booked: refunded is not written off."""
    before = _worn(lived, "failed, refunded")

    assert lived.store.replay("j1", call="c", consent=[before.nonce]) == ["ok", "queued"]

    assert lived.store.get("j1").purchases == before.purchases


def test_a_late_task_of_a_written_off_purchase_is_noted(lived: Life) -> None:
    """It is on record for whoever reads the bill, and does not take the place of the new purchase."""
    old = lived.reach("failed, unknown", "j1").nonce
    assert lived.store.replay("j1", call="c", consent=[old]) == ["ok", "queued"]
    _until_ready(lived)
    assert lived.arm() == 1

    assert lived.move("record_task", "j1", nonce=old, task="LATE").outcome == "booked"

    record = lived.store.get("j1")
    assert [(p.status, p.task_id) for p in record.purchases] == [
        (Purchase.STRAY, "LATE"),
        (Purchase.OPEN, None),
    ]
    assert (record.state, record.task_id) == (State.ARMED, "")


def test_a_written_off_purchase_is_remembered_for_sixty_days(lived: Life) -> None:
    """A job that was replayed with consent and ends again keeps its record as one with an open purchase does."""
    old = lived.reach("failed, unknown", "j1").nonce
    assert lived.store.replay("j1", call="c", consent=[old]) == ["ok", "queued"]

    assert lived.move("cancel_unbought", "j1").ok

    assert lived.redis.pttl(lived.keys.job("j1")) > 59 * 86_400_000


def test_a_stray_is_followed_instead_of_a_third_purchase(lived: Life) -> None:
    """Consent to pay twice was for the unknown one; the task that the vendor had denied is there, and is taken."""
    denied = lived.reach("ready, refused", "j1").nonce
    lived.arm()
    assert lived.send("j1") == "mine"
    assert lived.move("record_task", "j1", nonce=denied, task="DENIED").outcome == "booked"
    assert lived.move("unknown", "j1").ok
    assert lived.move("give_up_unknown", "j1", set={"failure": FAILURE}).state == State.FAILED
    unknown = lived.store.get("j1").nonce

    assert lived.store.replay("j1", call="c") == ["open", unknown]
    assert lived.store.replay("j1", call="d", consent=[unknown]) == ["ok", "running"]

    record = lived.store.get("j1")
    assert (record.nonce, record.task_id) == (denied, "DENIED")
    assert [p.status for p in record.purchases] == [Purchase.OPEN, Purchase.WRITTEN_OFF]


# -- delivering again -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("situation", ["delivering, paid", "cancelled, paid"])
def test_a_paid_result_is_delivered_and_never_bought_again(lived: Life, situation: str) -> None:
    """Whether delivery failed or a person cancelled: the replay delivers what was paid, consent or not."""
    lived.reach(situation, "j1")
    if situation == "delivering, paid":
        assert lived.move("book_failure", "j1").state == State.FAILED
    before = lived.store.get("j1")

    assert lived.store.replay("j1", call="c", consent=[before.nonce]) == ["ok", "delivering"]

    lived.claim("deliver", "j1")
    assert lived.move("delivered", "j1").state == State.SUCCEEDED
    after = lived.store.get("j1")
    assert (after.purchases, after.task_id) == (before.purchases, before.task_id)
    assert [p.status for p in after.purchases] == [Purchase.PAID]


def test_an_awaited_task_ends_as_it_would_have(lived: Life) -> None:
    """After `vendor_silent` a replay reads on: the verdict is taken in under the same purchase."""
    job = lived.reach("failed, silent", "j1")
    now = lived.store.now()
    assert lived.store.replay("j1", call="c") == ["ok", "running"]

    record = lived.store.get("j1")
    assert (record.nonce, record.task_id) == (job.nonce, job.task_id)
    assert record.running_since >= now
    assert lived.store.claim_checks(room=9, lease=15, rate=(50, 1.0)).job_ids == ("j1",)
    assert lived.move("paid", "j1").state == State.DELIVERING


def _until_ready(lived: Life) -> None:
    values: dict[str, Any] = {"alarm_in": 60_000}
    lived.claim("upload", "j1")
    assert lived.move("begin_upload", "j1", **values).ok
    assert lived.move("uploaded", "j1").state == State.READY
