"""Cancel, replay and attach, from every situation a job can be in, on both servers: what moves, what is booked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from motionq import actions
from motionq.contract.errors import ActionRefused, InvalidJob, JobNotFound
from motionq.contract.record import Record
from motionq.contract.states import Purchase
from motionq.purchases import open_of
from support.invariants import violations
from support.life import SITUATIONS, Life

pytestmark = pytest.mark.redis_server

# Situation -> the state afterwards and the statuses of the purchases; situations that are not named are refused.
Outcomes = dict[str, tuple[str, list[str]]]
CANCELLED: Outcomes = {
    "queued": ("cancelled", []),
    "uploading": ("cancelled", []),
    "ready": ("cancelled", []),
    "queued, refused": ("cancelled", ["refused"]),
    "ready, not sent": ("cancelled", ["not_sent"]),
    "ready, refused": ("cancelled", ["refused"]),
    "ready, refunded": ("cancelled", ["refunded"]),
    "armed": ("cancelled", ["not_sent"]),
    "submitting": ("cancelling", ["open"]),
    "submit_unknown": ("cancelling", ["open"]),
    "running": ("cancelling", ["open"]),
    "cancelling, no task": ("cancelling", ["open"]),
    "cancelling, task": ("cancelling", ["open"]),
    "cancelled, unbought": ("cancelled", []),
    "cancelled, unknown": ("cancelled", ["open"]),
    "cancelled, silent": ("cancelled", ["open"]),
    "cancelled, paid": ("cancelled", ["paid"]),
}
REPLAYED: Outcomes = {
    "failed, unbought": ("queued", []),
    "failed, refused": ("queued", ["refused"]),
    "failed, silent": ("running", ["open"]),
    "failed, refunded": ("queued", ["refunded"]),
    "cancelled, unbought": ("queued", []),
    "cancelled, silent": ("running", ["open"]),
    "cancelled, paid": ("delivering", ["paid"]),
}
UNKNOWN = ("failed, unknown", "cancelled, unknown")  # open without a task: replayed with consent only
CONSENTED: Outcomes = (
    REPLAYED
    | dict.fromkeys(UNKNOWN, ("queued", ["written_off"]))
    | dict.fromkeys(("failed, silent", "cancelled, silent"), ("queued", ["written_off"]))
)
REFUSED = ("queued, refused", "ready, refused", "failed, refused")  # kie.ai may have made a task all the same
WITHOUT_TASK = ("submitting", "submit_unknown", "cancelling, no task", *UNKNOWN, *REFUSED)
ATTACHED_UNCHECKED: Outcomes = {
    "submitting": ("running", ["open"]),
    "submit_unknown": ("running", ["open"]),
    "cancelling, no task": ("cancelling", ["open"]),
    "failed, unknown": ("running", ["open"]),
    "cancelled, unknown": ("cancelling", ["open"]),
} | dict.fromkeys(REFUSED, ("running", ["open"]))
each_situation = pytest.mark.parametrize("situation", SITUATIONS)


def check(lived: Life, job: str, act: Callable[[], object], expected: tuple[str, list[str]] | None) -> None:
    """`act` leads to what is expected; where nothing is, it is refused and every key stays as it was."""
    if expected is None:
        before = lived.everything()
        with pytest.raises(ActionRefused):
            act()
        assert lived.everything() == before
    else:
        act()
        assert seen(lived.store.get(job)) == expected
    assert holds(lived, job) == []


def seen(record: Record) -> tuple[str, list[str]]:
    return record.state.value, [p.status.value for p in record.purchases]


def holds(lived: Life, job: str) -> list[str]:
    return list(violations(lived.redis, lived.keys, jobs=[job], tenants=["default"], cap=100, rate=20))


def slots(lived: Life) -> int:
    return int(lived.redis.zcard(lived.keys.slots))


# -- cancel -----------------------------------------------------------------------------------------------------------
@each_situation
def test_cancel(lived: Life, situation: str) -> None:
    """Nothing bought: cancelled. Armed: not sent. Possibly bought: cancelling, open, with its slot. Else refused."""
    record = lived.reach(situation, "j")
    held = slots(lived)
    check(lived, "j", lambda: actions.cancel(lived.store, "j"), CANCELLED.get(situation))
    assert slots(lived) == (0 if situation == "armed" else held)
    after = lived.store.get("j")
    assert (after.nonce, after.task_id) == (record.nonce, record.task_id)


@each_situation
def test_cancelling_twice_changes_nothing(lived: Life, situation: str) -> None:
    """A job that is cancelled, or being so, is a success without a write."""
    lived.reach(situation, "j")
    if situation in CANCELLED:
        actions.cancel(lived.store, "j")
        before = lived.everything()
        assert actions.cancel(lived.store, "j") == lived.store.get("j")
        assert lived.everything() == before


def test_a_purchase_armed_under_another_server_may_have_been_sent(lived: Life) -> None:
    """After a fail-over an armed job is cancelling, not cancelled: its purchase stays open and keeps its slot."""
    lived.reach("armed", "j")
    lived.arm_elsewhere("j")
    assert seen(actions.cancel(lived.store, "j")) == ("cancelling", ["open"])
    assert slots(lived) == 1


def test_a_cancelled_running_job_is_looked_at_at_once(lived: Life) -> None:
    """Its alarm is due: the check of a cancelled job does not wait for the next look."""
    lived.reach("running", "j")
    lived.redis.zadd(lived.keys.due("check"), {"j": 9e15})
    actions.cancel(lived.store, "j")
    assert lived.redis.zscore(lived.keys.due("check"), "j") <= lived.store.now()


# -- replay -----------------------------------------------------------------------------------------------------------
@each_situation
def test_replay_without_consent(lived: Life, situation: str) -> None:
    """Paid: delivered. A known task: waited for. Nothing open: from the start. Unknown or unfinished: refused."""
    lived.reach(situation, "j")
    check(lived, "j", lambda: actions.replay(lived.store, "j"), REPLAYED.get(situation))


@each_situation
def test_replay_with_consent(lived: Life, situation: str) -> None:
    """The shown open purchase is written off and the job starts again, unless a paid video is there."""
    lived.reach(situation, "j")
    shown = open_of(lived.store.get("j"))
    check(lived, "j", lambda: actions.replay(lived.store, "j", shown), CONSENTED.get(situation))
    if situation in CONSENTED:
        assert slots(lived) == 0


def test_consent_is_for_the_purchases_that_were_shown(lived: Life) -> None:
    """A person who was shown another purchase is refused, and nothing is written."""
    lived.reach("failed, unknown", "other", tenant="other")
    shown = open_of(lived.store.get("other"))
    lived.reach("failed, unknown", "j")
    before = lived.everything()
    with pytest.raises(ActionRefused, match="job j has another open purchase than those shown"):
        actions.replay(lived.store, "j", shown)
    assert lived.everything() == before


def test_a_replayed_job_starts_like_a_new_one(lived: Life) -> None:
    """No failure, no tries, due for its upload, and its record does not expire any more."""
    lived.reach("failed, unbought", "j", idempotency_key="k")
    record = actions.replay(lived.store, "j")
    assert (record.failure, record.tries, record.turns) == (None, 0, 0)
    assert lived.claim("upload", "j") == "upload.2"
    assert lived.store.get("j").events[-1].step == "replay"
    assert lived.redis.persist(lived.keys.job("j")) == 0


# -- attach -----------------------------------------------------------------------------------------------------------
@each_situation
def test_attach_names_the_task(lived: Life, situation: str) -> None:
    """Only a job whose open purchase was sent and has no task takes one; a worker is to verify it, so nothing moves."""
    was = seen(lived.reach(situation, "j"))
    possible = situation in WITHOUT_TASK
    check(lived, "j", lambda: actions.attach(lived.store, "j", "T-lost"), was if possible else None)
    if possible:
        (purchase,) = lived.store.get("j").purchases
        assert (purchase.candidate, purchase.task_id) == ("T-lost", None)
        assert lived.named(room=10, lease=1) == ["j"]


@each_situation
def test_attach_unchecked(lived: Life, situation: str) -> None:
    """On a person's word the task is on record at once, and the job waits for its verdict."""
    lived.reach(situation, "j")
    check(lived, "j", lambda: actions.attach_unchecked(lived.store, "j", "T-lost"), ATTACHED_UNCHECKED.get(situation))
    if situation in ATTACHED_UNCHECKED:
        record = lived.store.get("j")
        assert (record.task_id, [p.task_id for p in record.purchases]) == ("T-lost", ["T-lost"])
        assert lived.store.by_task("T-lost") == "j"


@pytest.mark.parametrize("situation", ["running", "failed, silent"])
def test_a_person_vouches_for_a_task_that_is_known(lived: Life, situation: str) -> None:
    """Where kie.ai's record of it looks like another request's: the job looks at it now, and takes what it says."""
    was = lived.reach(situation, "j")
    lived.move("still_running", "j", alarm_in=60_000)
    actions.attach_unchecked(lived.store, "j", was.task_id)
    record = lived.store.get("j")
    assert (record.state, record.task_id, record.failure) == ("running", was.task_id, None)
    assert [(p.task_id, p.status, p.unchecked) for p in record.purchases] == [(was.task_id, "open", True)]
    assert record.running_since == was.running_since
    assert lived.store.claim_checks(room=9, lease=15, rate=(50, 1.0)).job_ids == ("j",)


def test_a_name_that_is_about_to_be_looked_at_stays(lived: Life) -> None:
    """A person's slip must not replace the task that a callback has named; the same name again changes nothing."""
    record = lived.reach("failed, unknown", "j")
    lived.store.name_task("j", record.nonce, "T-own")
    with pytest.raises(ActionRefused, match="task T-own was named for job j, and a worker is about to look at it"):
        actions.attach(lived.store, "j", "T-slip")
    assert actions.attach(lived.store, "j", "T-own") == record.nonce
    assert [p.candidate for p in lived.store.get("j").purchases] == ["T-own"]


@pytest.mark.parametrize("attach", [actions.attach, actions.attach_unchecked])
def test_a_task_belongs_to_one_job(lived: Life, attach: Callable[..., Any]) -> None:
    """Another job's task is refused by name; the job's own needs no worker to verify it."""
    owner = lived.reach("running", "owner", tenant="other")
    lived.reach("failed, unknown", "j")
    before = lived.everything()
    with pytest.raises(ActionRefused, match=f"task {owner.task_id} belongs to job owner"):
        attach(lived.store, "j", owner.task_id)
    assert lived.everything() == before
    assert attach(lived.store, "owner", owner.task_id) is None
    assert lived.store.get("owner").task_id == owner.task_id


def test_waiting_for_a_worker_ends(lived: Life) -> None:
    """Without a worker the person is told, and the task stays named."""
    lived.reach("failed, unknown", "j")
    nonce = actions.attach(lived.store, "j", "T-lost")
    assert nonce
    with pytest.raises(ActionRefused, match=r"no worker has found task T-lost at kie\.ai within 0\.01 s"):
        actions.await_attached(lived.store, "j", nonce, "T-lost", 0.01)
    assert lived.named(room=10, lease=1) == ["j"]


# -- all of them ------------------------------------------------------------------------------------------------------
def test_a_job_that_does_not_exist(lived: Life) -> None:
    """Every action says that there is no such job, and writes nothing."""
    for act in (
        lambda: actions.cancel(lived.store, "gone"),
        lambda: actions.replay(lived.store, "gone"),
        lambda: actions.attach(lived.store, "gone", "T"),
        lambda: actions.attach_unchecked(lived.store, "gone", "T"),
    ):
        with pytest.raises(JobNotFound):
            act()
    assert lived.everything() == {}


@pytest.mark.parametrize("task", ["", "a b", "x" * 201, "täsk"])
def test_what_is_no_task_id(lived: Life, task: str) -> None:
    """A task ID that kie.ai can't have made is wrong input, not a search."""
    lived.reach("failed, unknown", "j")
    with pytest.raises(InvalidJob) as wrong:
        actions.attach(lived.store, "j", task)
    assert wrong.value.field == "task"


def test_no_situation_is_forgotten() -> None:
    """The tables above name real situations, and only purchases that exist."""
    for table in (CANCELLED, CONSENTED, ATTACHED_UNCHECKED):
        assert set(table) <= set(SITUATIONS)
        assert {status for _, books in table.values() for status in books} <= set(Purchase)
