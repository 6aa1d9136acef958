"""The plan of `motionq bench chaos`, and the comparison of the books: pure values."""

from __future__ import annotations

from typing import Any

import pytest

from motionq.contract.job import JobSpec, UrlSource
from motionq.contract.record import PurchaseLine, Record
from motionq.contract.states import Purchase, State
from motionq_ops.bench.chaos_plan import TROUBLES, draw
from motionq_ops.books import Task, addressed, balance, task_of
from motionq_ops.sandbox.rules import parse_rule

JOB, NONCE = "j" * 26, "a" * 40
_SPEC = JobSpec(image=UrlSource(url="https://host/hero.png"), video=UrlSource(url="https://host/dance.mp4"))


# -- the plan ----------------------------------------------------------------------------------------------------------
def test_a_seed_gives_one_plan() -> None:
    """Equal numbers give the same events, another seed gives others."""
    asked = {"jobs": 60, "seconds": 18.0, "workers": 2}
    assert draw(seed=1, **asked) == draw(seed=1, **asked)  # type: ignore[arg-type]
    assert draw(seed=1, **asked) != draw(seed=2, **asked)  # type: ignore[arg-type]


def test_every_job_is_submitted_once_and_every_trouble_comes() -> None:
    """In order of time; long troubles only in long runs; every order is one that the sandbox takes."""
    plan = draw(seed=3, jobs=60, seconds=60.0, workers=2)
    assert [event.at for event in plan] == sorted(event.at for event in plan)
    assert sorted(event.number for event in plan if event.what == "submitted") == list(range(60))
    rules = [parse_rule(event.rule) for event in plan if event.what == "fault"]
    wanted = {(trouble.rule["call"], trouble.rule["fault"]) for trouble in TROUBLES if trouble.what == "fault"}
    assert {(rule.call, rule.fault) for rule in rules} == wanted
    assert {trouble.what for trouble in TROUBLES} <= {event.what for event in plan}
    short = draw(seed=3, jobs=60, seconds=30.0, workers=2)
    assert not [event for event in short if "524" in event.rule.get("fault", "") and event.rule["call"] == "generation"]


def test_what_is_killed_is_started_again() -> None:
    """Every kill has its start, two seconds later at most."""
    plan = draw(seed=4, jobs=1, seconds=60.0, workers=3)
    for part in ("worker", "server", "receiver"):
        killed = sorted((e.number, e.at) for e in plan if e.what == f"{part}_killed")
        started = sorted((e.number, e.at) for e in plan if e.what == f"{part}_started")
        assert len(killed) == len(started) > 0
        assert all(any(n == m and a < b <= a + 2.0 for m, b in started) for n, a in killed)


# -- the books ---------------------------------------------------------------------------------------------------------
def _record(state: State, *lines: PurchaseLine, job_id: str = JOB) -> Record:
    return Record(
        id=job_id,
        state=state,
        tenant="default",
        priority="normal",
        labels={},
        spec=_SPEC,
        created_at=0,
        updated_at=0,
        since=0,
        purchases=lines,
    )


def _line(status: Purchase, task_id: str | None = None, nonce: str = NONCE) -> PurchaseLine:
    return PurchaseLine(nonce=nonce, status=status, armed_at=0, task_id=task_id)


def _task(task_id: str = "T", state: str = "success", **other: Any) -> Task:
    failed = other.pop("failed", 5.0 if state == "fail" else None)
    return Task(
        **{"id": task_id, "job_id": JOB, "nonce": NONCE, "state": state, "made": 1.0, "failed": failed, **other}
    )


def test_equal_books() -> None:
    """A paid task that its purchase names: one job, one task, nothing to complain about."""
    books = balance([], [_task()], [_record(State.SUCCEEDED, _line(Purchase.PAID, "T"))])
    assert (books.jobs, books.tasks, books.per_job, books.refunds, books.unknown) == (1, 1, {1: 1}, 0, 0)
    assert (books.lost, books.doubled, books.misbooked) == ((), (), ())


@pytest.mark.parametrize(
    ("record", "lost", "unknown"),
    [
        (_record(State.FAILED, _line(Purchase.OPEN)), 0, 1),  # it says itself that it may have been charged
        (_record(State.FAILED, _line(Purchase.WRITTEN_OFF)), 0, 1),
        (_record(State.SUBMIT_UNKNOWN, _line(Purchase.OPEN)), 1, 0),  # not finished: nobody has been told anything
        (_record(State.FAILED, _line(Purchase.REFUSED)), 1, 0),
        (_record(State.FAILED, _line(Purchase.OPEN, "another")), 1, 0),
        (_record(State.FAILED), 1, 0),
    ],
)
def test_a_task_that_no_purchase_names_is_lost_unless_the_job_says_so(record: Record, lost: int, unknown: int) -> None:
    """A task without its ID on record is lost, except where a finished job says "charged unknown"."""
    books = balance([], [_task()], [record])
    assert (len(books.lost), books.unknown_tasks) == (lost, unknown)


def test_a_second_task_before_the_first_has_failed_is_doubled() -> None:
    """Two successes are doubled, so is a second one made too early; a second one after a failure is not."""
    later: dict[str, Any] = {"nonce": "b" * 40, "made": 9.0}
    record = _record(State.SUCCEEDED, _line(Purchase.REFUNDED, "T"), _line(Purchase.PAID, "U", "b" * 40))
    assert balance([], [_task(state="fail"), _task("U", **later)], [record]).doubled == ()
    assert len(balance([], [_task(), _task("U", **later)], [record]).doubled) == 1
    assert len(balance([], [_task(state="fail", failed=10.0), _task("U", **later)], [record]).doubled) == 1


def test_a_purchase_that_was_sent_twice_is_doubled() -> None:
    """Also when no task was made of it: a nonce is POSTed at most once."""
    asked = [{"callBackUrl": f"http://host/callbacks/kie/{JOB}/{NONCE}"}] * 2
    assert balance(asked, [], [_record(State.FAILED)]).doubled == (f"one purchase of job {JOB} was sent 2 times",)
    assert balance(asked[:1], [], [_record(State.FAILED)]).doubled == ()


def test_a_purchase_says_how_its_task_ended() -> None:
    """A success is paid, a failure refunded; anything else is misbooked. What has not ended is not judged."""
    booked = {"success": Purchase.PAID, "fail": Purchase.REFUNDED, "waiting": Purchase.OPEN}
    for state, right in booked.items():
        for status in Purchase:
            books = balance([], [_task(state=state)], [_record(State.FAILED, _line(status, "T"))])
            assert bool(books.misbooked) is (state != "waiting" and status is not right)


def test_a_task_is_read_from_the_ledger_and_its_own_page() -> None:
    """Seconds of the ledger's clock; the plan's are simulated."""
    line = {"taskId": "T", "arrival": 100.0, "callBackUrl": f"http://host/callbacks/kie/{JOB}/{NONCE}"}
    seen = {"record": {"state": "fail"}, "plan": {"seconds": 120.0}}
    assert task_of(line, seen, 60.0) == _task(state="fail", made=100.0, failed=102.0)
    assert addressed(None) == ("", "")
