"""What a person may do to a job: which move cancels it, which purchase a task is for, and what is said instead."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest

from motionq.actions import attach_to, cancel_move, is_attached, may_be_paid_twice
from motionq.contract.errors import ActionRefused
from motionq.contract.record import Record
from motionq.contract.states import CANCEL_ARMED, CANCEL_BOUGHT, CANCEL_UNBOUGHT, Move, Purchase, State
from motionq.gate import GateStatus, Holds, described
from motionq.purchases import counted, told
from motionq.tables import gate_lines
from support.records import NONCE, NOW, line, record

SENT = "2027-01-15T07:59:00.000Z"
LOST = record(state=State.FAILED, task_id="", purchases=(line(task_id=None),))
CANCELS: dict[State, Move | None] = {
    State.QUEUED: CANCEL_UNBOUGHT,
    State.UPLOADING: CANCEL_UNBOUGHT,
    State.READY: CANCEL_UNBOUGHT,
    State.ARMED: CANCEL_ARMED,
    State.SUBMITTING: CANCEL_BOUGHT,
    State.SUBMIT_UNKNOWN: CANCEL_BOUGHT,
    State.RUNNING: CANCEL_BOUGHT,
    State.CANCELLING: None,
    State.CANCELLED: None,
}
NOT_CANCELLED = {
    State.DELIVERING: "job job1 has kie.ai's verdict and is being delivered: it can't be cancelled any more",
    State.SUCCEEDED: "job job1 has succeeded: there is nothing to cancel",
    State.FAILED: "job job1 has failed: there is nothing to cancel",
}


def changed(base: Record, **fields: Any) -> Record:
    return dataclasses.replace(base, **fields)


@pytest.mark.parametrize("state", State)
def test_every_state_is_cancelled_or_says_why_not(state: State) -> None:
    """Unbought, armed and bought jobs have a move each, cancelled ones need none, the rest is refused in a sentence."""
    job = record(state=state)
    if state in NOT_CANCELLED:
        with pytest.raises(ActionRefused) as refused:
            cancel_move(job)
        assert str(refused.value) == NOT_CANCELLED[state]
    else:
        assert cancel_move(job) is CANCELS[state]


def test_why_a_job_is_not_bought_again() -> None:
    """The sentence says when the purchase was sent and what to do; never the nonce, which is a secret."""
    said = may_be_paid_twice(LOST)
    assert said == (
        f"job job1 may have been charged already (sent {SENT}, no task ID): look for its task at https://kie.ai/logs"
        " and name it with `motionq attach job1 TASK_ID`, or consent to pay twice with"
        " `motionq replay job1 --may-pay-twice`"
    )
    assert NONCE not in said


def test_a_task_is_for_the_open_purchase() -> None:
    """The purchase that has the task, else the open one, whatever became of the job."""
    other = line(nonce="b" * 40, status=Purchase.REFUNDED, task_id="T0")
    job = changed(LOST, purchases=(other, *LOST.purchases))
    for state in set(State) - {State.ARMED}:
        assert attach_to(changed(job, state=state), "T9").nonce == NONCE
    assert attach_to(job, "T0").nonce == other.nonce


def test_a_task_may_be_for_what_kie_ai_had_refused() -> None:
    """Behind a generic refusal a task was made, and a person finds it: no purchase is open, so it is for that."""
    sent = line(status=Purchase.REFUSED, task_id=None)
    job = changed(LOST, purchases=(sent, line(nonce="b" * 40, status=Purchase.NOT_SENT, sent_at=None, task_id=None)))
    assert attach_to(job, "T9").nonce == sent.nonce


def test_what_a_person_named_unchecked_may_be_named_anew() -> None:
    """A mistyped task ID is replaced by the right one."""
    assert attach_to(changed(LOST, purchases=(line(unchecked=True),)), "T9").nonce == NONCE


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"purchases": ()}, "job job1 has no purchase that could have a task"),
        ({"purchases": (line(status=Purchase.PAID),)}, "job job1 has no purchase that could have a task"),
        ({"purchases": (line(),)}, "job job1 has task T1 already"),
        ({"state": State.ARMED}, "job job1 has not been sent yet: no task can be its own"),
    ],
)
def test_a_task_that_can_be_no_purchases_is_refused(fields: dict[str, Any], said: str) -> None:
    """No open purchase, another task on it, or nothing sent: a sentence each."""
    with pytest.raises(ActionRefused) as refused:
        attach_to(changed(LOST, **fields), "T9")
    assert str(refused.value) == said


def test_what_a_worker_found_of_a_named_task() -> None:
    """Named: wait. Recorded: done. Dropped, replaced, or another one recorded: a sentence each."""

    def look(**purchase: Any) -> bool:
        return is_attached(changed(LOST, purchases=(line(**{"task_id": None, **purchase}),)), NONCE, "T9")

    assert look(candidate="T9") is False
    assert look(task_id="T9", status=Purchase.PAID) is True
    for purchase, said in (
        ({}, "kie.ai does not say that task T9 is job job1's: it was not attached"),
        ({"candidate": "T8"}, "another task was named for job job1 in the meantime"),
        ({"task_id": "T8"}, "job job1 has another task by now: T9 was not attached"),
    ):
        with pytest.raises(ActionRefused, match=said):
            look(**purchase)


def test_purchases_in_peoples_words() -> None:
    """Each purchase says when it was sent and its task, the list how many there are of each kind; never a nonce."""
    assert told(line()) == f"sent {SENT}, task T1"
    assert told(line(sent_at=None, task_id=None)) == "perhaps sent 2027-01-15T07:58:57.000Z, no task ID"
    lines = [line(status=status) for status in (*Purchase, Purchase.PAID)]
    assert counted(lines) == (
        "1 open, 1 not sent, 1 refused, 1 refunded, 2 paid, 1 stray (booked as not bought, yet kie.ai made a task),"
        " 1 written off (charged unknown)"
    )
    assert counted(()) == ""


def _at(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def test_the_gate_as_people_see_it() -> None:
    """Open; closed until somebody resumes; closed for a time; half-open when that is over; closed by the budget."""
    paused = {"reason": "maintenance", "message": "back soon", "since": str(NOW - 1000), "until": "0"}
    closed = GateStatus(
        open=False, reason="maintenance", message="back soon", since=_at(NOW - 1000), in_flight=1, waiting=2
    )
    assert described(None, NOW, in_flight=1, waiting=2) == GateStatus(open=True, in_flight=1, waiting=2)
    assert described(paused, NOW, in_flight=1, waiting=2) == closed
    for until, half_open in ((NOW + 1, False), (NOW, True), (NOW - 5, True)):
        gate = described({**paused, "until": str(until)}, NOW, in_flight=1, waiting=2)
        assert gate == dataclasses.replace(closed, until=_at(until), half_open=half_open)
    budget = described(None, NOW, in_flight=1, waiting=2, holds=Holds(budget=500.0))
    assert (budget.open, budget.reason, budget.until) == (False, "budget", datetime(2027, 1, 16, tzinfo=UTC))


def test_the_gate_in_lines() -> None:
    """`motionq gate`: the reason with its words, since and until when, what is under way and what waits."""
    gate = GateStatus(open=False, reason="operator", message="moving\nhouse", since=_at(NOW), in_flight=1, waiting=2)
    assert gate_lines(GateStatus(open=True, in_flight=3, waiting=12)) == "open: 3 in flight, 12 waiting"
    since = "closed: operator: moving house\nsince 2027-01-15T08:00:00.000Z, "
    for fields, opens in (
        ({}, "until `motionq gate resume`"),
        ({"until": _at(NOW + 1000)}, "until 2027-01-15T08:00:01.000Z"),
        ({"until": _at(NOW), "half_open": True}, "one job tries now: kie.ai's answer decides"),
    ):
        changes: dict[str, Any] = dict(fields)
        assert gate_lines(dataclasses.replace(gate, **changes)) == f"{since}{opens}\n1 in flight, 2 waiting"
    for reason, opens in (
        ("restored", "until `motionq gate resume --restored`"),  # no reason that goes by itself
        ("no_credits", "until its reason is gone or `motionq gate resume`"),
        ("memory", "until its reason is gone"),  # nobody can resume a full server
    ):
        closed = GateStatus(open=False, reason=reason, in_flight=0, waiting=0)
        assert gate_lines(closed) == f"closed: {reason}\n{opens}\n0 in flight, 0 waiting"
