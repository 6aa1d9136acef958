"""Every move of the table, from every situation a job can be in, with right and wrong fences, on both servers."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from motionq.contract.keys import STEPS
from motionq.contract.record import Record
from motionq.contract.states import HOMES, MOVES, RESTS, Fence, Move, Purchase, State
from support.invariants import violations
from support.life import FAILURE, SITUATIONS, Life

_PURCHASE_FENCES = (Fence.NONCE, Fence.TASK)
# What any move may change of the record; `task_id` only `record_task`, which binds it.
_CHANGES = {"state", "since", "updated_at", "last_call", "purchases"}
FOLLOWED = "was made after all: it is followed"

pytestmark = pytest.mark.redis_server


class Fences(NamedTuple):
    """What a call says it still expects."""

    claim: str | None
    nonce: str | None
    task: str | None


_FENCED_BY = {
    Fence.NONE: (),
    Fence.CLAIM: ("claim",),
    Fence.CLAIM_TASK: ("claim", "task"),
    Fence.NONCE: ("nonce",),
    Fence.TASK: ("nonce", "task"),
}


def fences_for(move: Move, record: Record) -> list[Fences]:
    """The right fences, and each that counts for this move wrong or missing in turn."""
    right = Fences(record.claim or "upload.1", record.nonce or "n" * 40, record.task_id or f"T{record.nonce}")
    names = (*_FENCED_BY[move.fence], *(["task"] if move.name == "record_task" else []))
    wrong = [right._replace(**{name: "0ther"}) for name in names]
    missing = [right._replace(**{name: None}) for name in _FENCED_BY[move.fence]]
    return [right, *wrong, *missing]


def expected(move: Move, record: Record, fences: Fences) -> tuple[str, State]:
    """The outcome and the state after it, as `Move`'s docstring promises."""
    if move.fence in (Fence.CLAIM, Fence.CLAIM_TASK):
        mine = fences.claim is not None and fences.claim == record.claim
        if move.fence is Fence.CLAIM_TASK:
            mine = mine and fences.task == record.task_id
        if move.newest is not None:
            mine = mine and record.purchase is not None and record.purchase.status is move.newest
        return _led(move, record) if mine else ("fenced", record.state)
    if move.fence in _PURCHASE_FENCES:
        return _expected_of_purchase(move, record, fences)
    return _led(move, record)


def _led(move: Move, record: Record, otherwise: str = "fenced") -> tuple[str, State]:
    return ("ok", move.to[record.state]) if record.state in move.to else (otherwise, record.state)


def _expected_of_purchase(move: Move, record: Record, fences: Fences) -> tuple[str, State]:
    bought = next((p for p in record.purchases if p.nonce == fences.nonce), None)
    if bought is None or bought.status not in move.books:
        return "fenced", record.state
    if move.has_task is not None and move.has_task != (bought.task_id is not None):
        return "fenced", record.state
    if (move.fence is Fence.TASK or move.binds_task) and bought.task_id not in (None, fences.task):
        return "fenced", record.state
    if not move.binds_task:
        outcome, state = _led(move, record, "booked" if move.books_late else "fenced")
    elif bought.status is Purchase.OPEN and record.state in move.to:
        outcome, state = _led(move, record)
    else:
        outcome, state = ("ok" if bought.task_id else "booked"), record.state
    followed = outcome == "booked" and move.books[bought.status] is Purchase.STRAY
    return outcome, RESTS.get(state, state) if followed else state


@pytest.mark.parametrize("situation", SITUATIONS)
def test_each_move_from_here(lived: Life, situation: str) -> None:
    """A move leads only where the table says, is fenced as declared, books its purchase, and repeats without effect.

    A fenced call changes no key at all; a job that was moved is in its one new set and in no other.
    """
    number, seen = 0, set()
    record = lived.reach(situation, "job0")
    before = lived.everything()
    for move in MOVES.values():
        for fences in fences_for(move, record):
            outcome, state = expected(move, record, fences)
            values: dict[str, Any] = {**fences._asdict(), "call": "once", "alarm_in": 60_000}
            moved = lived.move(move, record.id, **values)
            assert (moved.outcome, moved.state) == (outcome, state), (move.name, fences)
            seen.add(outcome)
            if outcome == "fenced":
                assert lived.everything() == before, (move.name, fences)
                continue
            after = lived.everything()
            assert lived.move(move, record.id, **values).outcome == "ok"
            assert lived.everything() == after
            _assert_booked(lived, move, record, outcome)
            _assert_only_this_changed(lived, move, record.id, before)
            lived.clean()
            number += 1
            record = lived.reach(situation, f"job{number}")
            before = lived.everything()
    assert "fenced" in seen


def _assert_booked(lived: Life, move: Move, before: Record, outcome: str) -> None:
    after = lived.store.get(before.id)
    home = HOMES.get(after.state)
    if home in STEPS and outcome == "ok" and not move.binds_task:
        assert lived.redis.zscore(lived.keys.due(home), before.id) > lived.store.now() + 30_000
    if move.fence not in _PURCHASE_FENCES or before.purchase is None or after.purchase is None:
        return
    booked = move.books[before.purchase.status]
    followed = booked is Purchase.STRAY and before.state in RESTS
    assert after.purchase.status is (Purchase.OPEN if followed else booked)
    if followed:
        assert (after.purchase.closed_at, after.events[-1].note) == (None, f"task {after.task_id} {FOLLOWED}")
        return
    assert (after.purchase.closed_at != before.purchase.closed_at) is (after.purchase.status != before.purchase.status)
    if move.frees_slot:
        assert lived.redis.zcard(lived.keys.slots) == 0


def _gone(was: str, now: str) -> set[str]:
    """What a record says only while it is armed, or sent."""
    brief = {State.ARMED: {"armed_under", "durable_at"}, State.SUBMITTING: {"sender", "sent_until"}}
    return set().union(*(fields for state, fields in brief.items() if was == state != now))


def _assert_only_this_changed(lived: Life, move: Move, job_id: str, before: dict[str, Any]) -> None:
    flat = before[lived.keys.job(job_id)][0]
    was, now = dict(zip(flat[::2], flat[1::2], strict=True)), lived.record_fields(job_id)
    changed = {field for field in was | now if was.get(field) != now.get(field)}
    allowed = _CHANGES | _gone(was["state"], now["state"]) | ({"task_id"} if move.binds_task else set())
    if move.name == "revived" or move.binds_task:
        allowed |= {"claim", "events", "failure", "running_since", "verdict"}
    assert changed <= allowed | ({"uploaded_at", "estimate"} if move.name == "uploaded" else set())
    # An armed job needs its slot from the gate: `admit` as a bare move has none, and is left out here.
    if move.name != "admit":
        found = violations(lived.redis, lived.keys, jobs=[job_id], tenants=["default"], cap=1, rate=20)
        assert list(found) == [], move.name


def test_every_move_succeeds_from_somewhere(lived: Life) -> None:
    """The situations above are enough to see each move of the table lead from each of its states."""
    reached = {situation.partition(",")[0] for situation in SITUATIONS}
    assert {state for move in MOVES.values() for state in move.to} <= reached
    assert reached == set(State)


# -- slots and rate slots ---------------------------------------------------------------------------------------------


def _rate_in(lived: Life) -> float | None:
    """ms until the only rate slot comes back; None: none is taken."""
    taken = lived.redis.zrange(lived.keys.rate, 0, 0, withscores=True)
    return taken[0][1] - lived.store.now() if taken else None


@pytest.mark.parametrize("move", [m for m in MOVES.values() if State.SUBMITTING in m.to], ids=lambda m: m.name)
def test_an_answer_gives_the_rate_slot_back_a_window_later(lived: Life, move: Move) -> None:
    """Unanswered, its rate slot stays for the lease, cancelled or not; an answer ends it in 10 s, `not_sent` now."""
    job = lived.reach("submitting", "job")
    unanswered = _rate_in(lived)
    assert unanswered is not None
    assert 35_000 < unanswered <= 40_000

    assert lived.move(move, job.id).ok

    left = _rate_in(lived)
    assert (left is None) is (move.rate_slot == "free")
    if left is not None:
        assert (5_000 < left <= 10_000) is (move.rate_slot == "answered")
        assert (35_000 < left <= 40_000) is (move.name == "cancel_bought")


@pytest.mark.parametrize("name", ["free_slot", "give_up_unknown"])
def test_a_late_clock_takes_no_slot_from_a_purchase_that_waits_to_be_sent(lived: Life, name: str) -> None:
    """A stale call for a purchase that is armed (again) is fenced: the slot stays while it may be sent."""
    job = lived.reach("armed", "job")

    assert lived.move(name, job.id).outcome == "fenced"

    assert lived.redis.zrange(lived.keys.slots, 0, -1) == [f"job:{job.nonce}"]


@pytest.mark.parametrize("situation", ["submitting", "submit_unknown", "failed, unknown"])
def test_who_could_not_connect_says_nothing_about_a_purchase_that_another_sent(lived: Life, situation: str) -> None:
    """An execution that never connected, and reports late, is fenced: the purchase that another one sent stays open."""
    lived.reach(situation, "job")
    before = lived.everything()

    assert lived.move("unconnected", "job").outcome == "fenced"
    assert lived.everything() == before


def test_a_healed_job_takes_no_slot(lived: Life) -> None:
    """A late task ID brings the job back without a slot: it was given back when our patience ended."""
    job = lived.reach("failed, unknown", "job")

    assert lived.move("record_task", job.id).state == State.RUNNING

    assert lived.redis.zcard(lived.keys.slots) == 0


def test_a_claim_is_needed_where_one_is_asked_for(lived: Life) -> None:
    """A call without a claim never passes for the claim of a job that nobody has claimed."""
    lived.create("job")

    assert lived.move("begin_upload", "job", claim=None).outcome == "fenced"
    assert lived.store.get("job").state is State.QUEUED


def test_a_verdict_needs_a_task(lived: Life) -> None:
    """A cancelled job whose task is unknown can't be booked as paid by a call that names no task."""
    job = lived.reach("cancelling, no task", "job")

    assert lived.move("paid", job.id, task=None).outcome == "fenced"
    assert lived.store.get("job").state is State.CANCELLING


# -- transfers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("situation", ["uploading", "delivering, paid"])
def test_a_transfer_counts_until_its_step_ends(lived: Life, situation: str) -> None:
    """A step that moves files holds its place among the transfers while it renews, and gives it back at its end."""
    job = lived.reach(situation, "job")
    begin, end = (
        ("begin_upload", "retry_upload") if job.state is State.UPLOADING else ("begin_deliver", "retry_deliver")
    )

    assert lived.move(begin, job.id, alarm_in=20_000).ok
    assert lived.move("renew", job.id, alarm_in=60_000).ok
    assert lived.redis.zscore(lived.keys.transfers, job.id) > lived.store.now() + 50_000

    assert lived.move(end, job.id, alarm_in=8_000).ok
    assert lived.redis.zcard(lived.keys.transfers) == 0


# -- record_task --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("situation", [s for s, steps in SITUATIONS.items() if "arm" in steps])
def test_a_task_id_in_hand_is_never_refused(lived: Life, situation: str) -> None:
    """From every situation with a purchase its task ID is taken: it binds, heals, or books a stray."""
    job = lived.reach(situation, "job")
    before = job.purchase
    assert before is not None

    moved = lived.move("record_task", job.id, set={"running_since": lived.store.now()})

    after = lived.store.get(job.id)
    assert moved.outcome in ("ok", "booked")
    assert after.purchase is not None
    assert after.purchase.task_id == after.task_id
    assert lived.redis.get(lived.keys.task(after.task_id)) == "job"
    assert lived.store.by_task(after.task_id) == "job"
    strays = (Purchase.NOT_SENT, Purchase.REFUSED)
    assert after.purchase.status is (Purchase.OPEN if before.status in strays else before.status)
    healed = {"failed, unknown": "running", "failed, silent": "running"}
    healed |= {"cancelled, unknown": "cancelling", "cancelled, silent": "cancelling"}
    early = dict.fromkeys(("armed", "submitting", "submit_unknown"), "running")
    early |= dict.fromkeys(("queued, refused", "ready, not sent", "ready, refused", "failed, refused"), "running")
    assert after.state == (healed | early).get(situation, job.state)


def test_a_task_belongs_to_one_purchase(lived: Life) -> None:
    """A task ID that another purchase has is refused as bound, nothing changes; so is a second ID for one purchase."""
    lived.reach("running", "first")
    job = lived.reach("submitting", "second")
    taken = lived.store.get("first").task_id
    before = lived.everything()

    assert lived.move("record_task", "second", task=taken).outcome == "bound"
    assert lived.everything() == before

    assert lived.move("record_task", "second", task="T2").ok
    assert lived.move("record_task", "second", task="T3", nonce=job.nonce).outcome == "fenced"
    assert lived.store.get("second").task_id == "T2"


def test_a_stray_of_an_older_purchase_leaves_the_newest_alone(lived: Life) -> None:
    """A task for a purchase booked as refused is noted on that purchase, and the job's own task stays its own."""
    old = lived.reach("ready, refused", "job").nonce
    assert lived.arm() == 1
    assert lived.send("job") == "mine"
    assert lived.move("record_task", "job", task="NEW").ok

    assert lived.move("record_task", "job", nonce=old, task="OLD").outcome == "booked"

    record = lived.store.get("job")
    assert (record.task_id, record.state) == ("NEW", State.RUNNING)
    assert [(p.status, p.task_id) for p in record.purchases] == [(Purchase.STRAY, "OLD"), (Purchase.OPEN, "NEW")]
    assert lived.store.by_task("OLD") == "job"


def test_nothing_is_sent_beside_a_stray(lived: Life) -> None:
    """Named while the next purchase is armed, it is followed, and the armed purchase is not sent."""
    old = lived.reach("ready, refused", "job").nonce
    assert lived.arm() == 1
    assert lived.move("record_task", "job", nonce=old, task="OLD").outcome == "booked"

    assert lived.send("job") == "refused"
    assert lived.move("unconnected", "job").state == State.RUNNING

    record = lived.store.get("job")
    assert (record.nonce, record.task_id) == (old, "OLD")
    assert [p.status for p in record.purchases] == [Purchase.OPEN, Purchase.NOT_SENT]
    assert [e.note for e in record.events][-1] == f"task OLD {FOLLOWED}"
    assert lived.redis.zcard(lived.keys.slots) == 0


@pytest.mark.parametrize(
    ("then", "ends"), [("refused", State.RUNNING), ("refused_again", State.RUNNING), ("refunded", State.RUNNING)]
)
def test_a_stray_is_followed_when_the_purchase_after_it_comes_to_nothing(lived: Life, then: str, ends: State) -> None:
    """The vendor had denied a task and made it, and the next purchase is refused or refunded: no third is bought."""
    old = lived.reach("ready, refused", "job").nonce
    lived.arm()
    assert lived.send("job") == "mine"
    assert lived.move("record_task", "job", nonce=old, task="OLD").state == State.SUBMITTING
    if then == "refunded":
        assert lived.move("record_task", "job", task="NEW").ok

    moved = lived.move(then, "job", set={"failure": FAILURE})

    record = lived.store.get("job")
    assert (moved.state, record.state, record.task_id, record.failure) == (ends, ends, "OLD", None)
    assert lived.arm() == 0


def test_a_written_off_purchase_whose_task_is_named_late_is_followed_before_a_third_is_bought(lived: Life) -> None:
    """Consent was to pay twice: when the second comes to nothing, the first one's video is taken."""
    first = lived.reach("failed, unknown", "job").nonce
    assert lived.store.replay("job", call="c", consent=[first])[0] == "ok"
    lived.claim("upload", "job")
    assert lived.move("begin_upload", "job").ok
    assert lived.move("uploaded", "job").ok
    lived.arm()
    assert lived.send("job") == "mine"
    assert lived.move("record_task", "job", nonce=first, task="FIRST").outcome == "booked"
    assert lived.move("record_task", "job", task="SECOND").ok

    assert lived.move("refunded", "job", task="SECOND").state == State.RUNNING

    record = lived.store.get("job")
    assert (record.task_id, [p.status for p in record.purchases]) == ("FIRST", [Purchase.OPEN, Purchase.REFUNDED])


def test_a_task_given_up_with_consent_is_not_followed_again_by_itself(lived: Life) -> None:
    """Whoever consented knew that task: it was silent. Only the vendor's word that it succeeded brings it back."""
    job = lived.reach("failed, silent", "job")
    assert lived.store.replay("job", call="c", consent=[job.nonce])[0] == "ok"
    assert lived.store.get("job").state is State.QUEUED

    assert lived.move("revived", "job", task=job.task_id).state == State.RUNNING
    assert lived.store.get("job").task_id == job.task_id


def test_what_a_person_named_unchecked_gives_way_to_the_purchase_s_own_task(lived: Life) -> None:
    """A mistyped task ID is no dead end: the task that kie.ai names for the purchase takes its place."""
    lived.reach("failed, unknown", "job")
    assert lived.move("record_task", "job", task="TYPO", purchase={"unchecked": True}, unset=["failure"]).ok

    assert lived.move("record_task", "job", task="OWN").outcome == "booked"

    record = lived.store.get("job")
    assert (record.task_id, record.purchases[0].unchecked) == ("OWN", False)
    assert (lived.store.by_task("TYPO"), lived.store.by_task("OWN")) == (None, "job")
    assert lived.move("record_task", "job", task="ANOTHER").outcome == "fenced"


# -- another server -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["unconnected", "other_server", "send"])
def test_armed_by_another_server_counts_as_possibly_sent(lived: Life, name: str) -> None:
    """Every exit from `armed` under another identity leads to submit_unknown; purchase, slot and rate slot stay."""
    job = lived.reach("armed", "job")
    lived.store.claim("submit", room=9, lease=20, rate=20)
    lived.arm_elsewhere("job")
    kept = lived.redis.zrange(lived.keys.rate, 0, -1, withscores=True)

    assert lived.move(name, "job").state == State.SUBMIT_UNKNOWN

    after = lived.store.get("job")
    assert after.purchase is not None
    assert after.purchase.status is Purchase.OPEN
    assert lived.redis.zrange(lived.keys.slots, 0, -1) == [f"job:{job.nonce}"]
    assert lived.redis.zrange(lived.keys.rate, 0, -1, withscores=True) == kept


def test_the_right_to_send_is_not_given_under_another_server(lived: Life) -> None:
    """`send` answers other_server, writes nothing, and leaves it to the step to book the job as unknown."""
    lived.reach("armed", "job")
    lived.arm_elsewhere("job")
    before = lived.everything()

    assert lived.send("job") == "other_server"
    assert lived.everything() == before


def test_under_its_own_server_an_unsent_job_goes_back_in_line(lived: Life) -> None:
    """The same exit under the identity that armed it books nothing bought, and gives slot and rate slot back."""
    lived.reach("armed", "job")
    lived.store.claim("submit", room=9, lease=20, rate=20)

    assert lived.move("unconnected", "job").state == State.READY

    after = lived.store.get("job")
    assert after.purchase is not None
    assert after.purchase.status is Purchase.NOT_SENT
    assert lived.redis.zcard(lived.keys.slots) == lived.redis.zcard(lived.keys.rate) == 0


def test_the_book_of_a_job_stays_short(lived: Life) -> None:
    """Purchases that were never sent do not grow the record; one that was sent is never dropped."""
    first = lived.reach("ready, refused", "job").nonce
    for _ in range(25):
        assert lived.arm() == 1
        assert lived.move("unconnected", "job").ok

    book = lived.store.get("job").purchases
    assert len(book) == 20
    assert book[0].nonce == first
    assert book[-1].nonce == lived.store.get("job").nonce
