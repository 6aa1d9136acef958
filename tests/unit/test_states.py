"""The tables of states, purchases and moves: complete, and saying what the design says."""

from __future__ import annotations

import json

import pytest

from motionq.contract import states
from motionq.contract.keys import STEPS
from motionq.contract.states import FINAL, HOMES, MOVES, UNFINISHED, Fence, Move, Purchase, State

_BY_PURCHASE = (Fence.NONCE, Fence.TASK)
each_move = pytest.mark.parametrize("move", MOVES.values(), ids=lambda m: m.name)


def test_each_state_is_finished_or_has_a_home() -> None:
    """An unfinished state has exactly one set (a line or the due set of a step); a finished one has none."""
    assert set(HOMES) | set(FINAL) == set(State)
    assert set(HOMES) & set(FINAL) == set()
    assert set(HOMES.values()) == {"line", *STEPS}
    assert set(HOMES) == set(UNFINISHED)


def test_every_move_is_in_the_table_under_its_own_name() -> None:
    """`MOVES` holds all moves of the module, none twice."""
    all_moves = [value for value in vars(states).values() if isinstance(value, Move)]
    assert {move.name: move for move in all_moves} == MOVES
    assert len(all_moves) == len(MOVES)


@each_move
def test_a_move_names_states_and_purchases_that_exist(move: Move) -> None:
    """Both ends of each move are states, what it books are purchases (a move to nowhere books late); all is JSON."""
    ends = {*move.to, *move.to.values(), *(move.other_server or {}), *(move.other_server or {}).values()}
    assert move.to or move.books_late
    assert ends <= set(State)
    assert {*move.books, *move.books.values()} <= set(Purchase)
    assert move.rate_slot in ("keep", "free", "answered")
    sent = json.loads(json.dumps(move.for_lua()))
    assert (sent["to"], sent["books"], sent["fence"]) == (dict(move.to), dict(move.books), move.fence)
    assert ("has_task" in sent, "other_server" in sent) == (move.has_task is not None, move.other_server is not None)


@each_move
def test_what_touches_money_is_fenced_by_its_purchase(move: Move) -> None:
    """Only moves under a purchase's fence book purchases or give slots back; they say what each status becomes."""
    if move.fence in _BY_PURCHASE:
        assert move.books
    else:
        assert (dict(move.books), move.frees_slot, move.rate_slot, move.has_task) == ({}, False, "keep", None)
        assert not move.books_late


@each_move
def test_money_is_never_unspent(move: Move) -> None:
    """What is paid stays so in every move; of what was given up or refunded the most that comes is a stray."""
    settled = (Purchase.PAID, Purchase.REFUNDED, Purchase.WRITTEN_OFF, Purchase.STRAY)
    changed = {status: then for status in settled if (then := move.books.get(status, status)) is not status}
    possible = {"record_task": {Purchase.WRITTEN_OFF}, "revived": {Purchase.REFUNDED, Purchase.WRITTEN_OFF}}
    assert changed == dict.fromkeys(possible.get(move.name, ()), Purchase.STRAY)
    assert [was for was, now in move.books.items() if now is Purchase.OPEN and was is not Purchase.OPEN] == []


@each_move
def test_a_closed_purchase_keeps_no_slot(move: Move) -> None:
    """Whatever closes a purchase, and whatever ends a job with an open one, gives its in-flight slot back."""
    closes = any(was is Purchase.OPEN and now is not Purchase.OPEN for was, now in move.books.items())
    ends = move.fence in _BY_PURCHASE and any(to in FINAL for to in move.to.values())
    assert not (closes or ends) or move.frees_slot


@each_move
def test_a_finished_job_moves_only_to_be_healed(move: Move) -> None:
    """Out of a finished state lead a late task ID and a late video alone."""
    healing = {state: to for state, to in move.to.items() if state in FINAL}
    assert healing == {
        "record_task": {State.FAILED: State.RUNNING, State.CANCELLED: State.CANCELLING},
        "paid": {State.FAILED: State.DELIVERING, State.CANCELLED: State.CANCELLED},
    }.get(move.name, {})


def test_only_the_gate_leads_to_a_purchase_and_only_send_to_the_vendor() -> None:
    """`armed` is entered by `admit` alone, `submitting` by `send` alone; under another server it leads to unknown."""
    into = {
        state: [m.name for m in MOVES.values() if any(to is state != was for was, to in m.to.items())]
        for state in State
    }
    assert into[State.ARMED] == ["admit"]
    assert into[State.SUBMITTING] == ["send"]
    assert states.SEND.other_server == {State.ARMED: State.SUBMIT_UNKNOWN}


def test_every_exit_from_armed_by_one_that_never_sent_asks_for_the_server() -> None:
    """Who only failed to connect may close a purchase under the identity that armed it, nowhere else and never late."""
    assert states.UNCONNECTED.other_server == {State.ARMED: State.SUBMIT_UNKNOWN}
    assert dict(states.UNCONNECTED.to) == {State.ARMED: State.READY}
    assert not states.UNCONNECTED.books_late


def test_a_task_id_is_taken_whatever_the_purchase_became() -> None:
    """`record_task` refuses no status: what was booked as not bought, or given up, becomes a stray; the rest stays."""
    books = states.RECORD_TASK.books
    assert set(books) == set(Purchase)
    assert {was: now for was, now in books.items() if was is not now} == {
        Purchase.NOT_SENT: Purchase.STRAY,
        Purchase.REFUSED: Purchase.STRAY,
        Purchase.WRITTEN_OFF: Purchase.STRAY,
    }
    assert states.RECORD_TASK.books_late


@each_move
def test_a_step_that_moves_files_says_when_it_ends(move: Move) -> None:
    """Beginning and renewing hold a place among the transfers; every other write of a claim gives it back."""
    claimed = move.fence in (Fence.CLAIM, Fence.CLAIM_TASK)
    assert move.ends_transfer is (claimed and move.name not in ("begin_upload", "begin_deliver", "renew"))


def test_every_unfinished_state_has_a_way_out() -> None:
    """From each unfinished state some move leads to another state, and so on to a finished one."""
    reached = set(FINAL)
    for _ in State:
        reached |= {was for m in MOVES.values() for was, to in m.to.items() if to in reached}
    assert reached == set(State)
