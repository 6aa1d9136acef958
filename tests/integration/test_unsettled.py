"""Failed jobs that were charged, or may have been, are in one set until somebody, or the vendor, settles them."""

from __future__ import annotations

import pytest

from motionq.contract.states import State
from support.invariants import violations
from support.life import FAILURE, SITUATIONS, Life

NEEDY = {"failed, unknown", "failed, silent"}

pytestmark = pytest.mark.redis_server


def _in_sight(lived: Life) -> dict[str, float]:
    return dict(lived.redis.zrange(lived.keys.unsettled, 0, -1, withscores=True))


def _rules_hold(lived: Life) -> bool:
    return not list(violations(lived.redis, lived.keys, jobs=["j1"], tenants=["default"], cap=1, rate=20))


@pytest.mark.parametrize("situation", SITUATIONS)
def test_exactly_the_failed_ones_with_an_open_purchase_are_in_sight(lived: Life, situation: str) -> None:
    """Of all situations two, since the moment at which the job failed; not one that a person has cancelled."""
    record = lived.reach(situation, "j1")

    assert _in_sight(lived) == ({"j1": record.since} if situation in NEEDY else {})
    assert _rules_hold(lived)


def test_a_paid_video_that_nobody_could_fetch_is_in_sight_until_it_is_delivered(lived: Life) -> None:
    """It failed with a purchase that is paid; a replay takes it out, the next failure puts it back."""
    lived.reach("delivering, paid", "j1")
    assert lived.move("book_failure", "j1", set={"failure": FAILURE}).ok
    assert _in_sight(lived) == {"j1": lived.store.get("j1").since}

    assert lived.store.replay("j1", call="c1") == ["ok", "delivering"]
    assert _in_sight(lived) == {}
    lived.claim("deliver", "j1")
    assert lived.move("book_failure", "j1", set={"failure": FAILURE}).ok
    assert list(_in_sight(lived)) == ["j1"]
    assert lived.store.replay("j1", call="c2") == ["ok", "delivering"]
    lived.claim("deliver", "j1")
    assert lived.move("delivered", "j1").ok
    assert _in_sight(lived) == {}
    assert _rules_hold(lived)


def test_a_purchase_that_is_found_to_be_closed_needs_nobody_any_more(lived: Life) -> None:
    """The vendor's refund of a failed job's task is booked without moving the job: it leaves the set all the same."""
    lived.reach("failed, silent", "j1")
    assert lived.move("refunded", "j1").outcome == "booked"

    assert lived.store.get("j1").state is State.FAILED
    assert _in_sight(lived) == {}
    assert _rules_hold(lived)


@pytest.mark.parametrize("found", ["record_task", "paid"])
def test_a_late_success_takes_it_out(lived: Life, found: str) -> None:
    """The task is named by a callback or by `attach`, or turns out to be paid: the job goes on."""
    lived.reach("failed, unknown" if found == "record_task" else "failed, silent", "j1")
    assert lived.move(found, "j1").ok

    assert lived.store.get("j1").state in (State.RUNNING, State.DELIVERING)
    assert _in_sight(lived) == {}
    assert _rules_hold(lived)


@pytest.mark.parametrize("situation", sorted(NEEDY))
def test_a_replay_takes_it_out(lived: Life, situation: str) -> None:
    """With consent to pay twice the old purchase is written off, and what follows is a job like any other."""
    record = lived.reach(situation, "j1")
    assert lived.store.replay("j1", call="c", consent=[record.nonce]) == ["ok", "queued"]

    assert _in_sight(lived) == {}
    assert _rules_hold(lived)


def test_whoever_is_wanted_no_more_is_dropped_without_a_purchase(lived: Life) -> None:
    """As the runbook says: behind a closed gate it is taken up with consent, and cancelled before it is bought."""
    record = lived.reach("failed, unknown", "j1")
    lived.store.pause("operator", "dropping j1")
    assert lived.store.replay("j1", call="c", consent=[record.nonce]) == ["ok", "queued"]
    assert lived.move("cancel_unbought", "j1").state == State.CANCELLED

    assert _in_sight(lived) == {}
    assert len(lived.store.get("j1").purchases) == 1


def test_a_replay_that_is_refused_leaves_it_in_sight(lived: Life) -> None:
    """Without consent nothing changes."""
    record = lived.reach("failed, unknown", "j1")
    assert lived.store.replay("j1", call="c") == ["open", record.nonce]

    assert _in_sight(lived) == {"j1": record.since}


def test_an_attempt_of_naming_changes_nothing_until_it_is_verified(lived: Life) -> None:
    """A candidate is no task yet."""
    record = lived.reach("failed, unknown", "j1")
    assert lived.store.name_task("j1", record.nonce, "T") == "stored"
    assert lived.move("drop_candidate", "j1").outcome == "booked"

    assert _in_sight(lived) == {"j1": record.since}


def test_it_is_forgotten_with_its_record(lived: Life) -> None:
    """What is over leaves no trace."""
    lived.reach("failed, unknown", "j1")
    lived.redis.zadd(lived.keys.ended, {"j1": 1})

    assert lived.store.scripts.run("forget", {"limit": 9}) == 1
    assert _in_sight(lived) == {}
