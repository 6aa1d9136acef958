"""Callbacks from end to end: real workers, the receiver's process, and the sandbox that calls it back.

Asked of the vendor's own ledger after each: one purchase, whatever the callbacks did.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from motionq import Job
from motionq.contract.record import Record
from motionq.contract.states import State
from support import Stack, eventually
from support.receiver import ReceiverProcess, signature

KEY = "webhook-key"
SANDBOX = {"rate_limit": "off", "duration": 60.0, "callback_retries": 0}
numbers = itertools.count()


class Called(Stack):
    """A stack whose vendor reaches the receiver."""

    def __init__(self, folder: Path, *, signing: bool = False, sandbox: dict[str, Any] | None = None, **settings: str):
        settings = {"MOTIONQ_SUBMIT_RATE": "200/1s"} | settings
        key = KEY if signing else None
        if key:
            settings["KIE_WEBHOOK_HMAC_KEY"] = key
        super().__init__(folder, workers=0, sandbox=SANDBOX | (sandbox or {}), hmac_key=key, **settings)

    def __enter__(self) -> Called:
        super().__enter__()
        self.receiver = ReceiverProcess(self.folder, self.environment).__enter__()
        self.environment["MOTIONQ_PUBLIC_BASE_URL"] = self.receiver.url
        self.add_worker()
        return self

    def __exit__(self, *given: object) -> None:
        self.receiver.__exit__()
        super().__exit__(*given)

    def ordered(self, *faults: tuple[str, str | None, dict[str, Any]], **options: Any) -> Job:
        """A job with faults of its own."""
        prompt = f"job {next(numbers)}"
        for fault, call, given in faults:
            self.vendor.add_fault(fault, call, match={"prompt": prompt}, **given)
        return self.submit(prompt=prompt, **options)

    def calls(self, job: Job) -> list[int | None]:
        """What the receiver answered to the vendor's callbacks for this job, oldest first."""
        lines = self.vendor.ledger("callback")
        return [line["http"] for line in lines if f"/{job.id}/" in line["callBackUrl"]]

    def record(self, job: Job) -> Record:
        """The job's record."""
        return self.store.get(job.id)

    def ended_well(self, job: Job) -> Job:
        """The job succeeded with the one task that the vendor made for it, and nothing is left to be looked at."""
        done = self.finished(job)
        assert done.state == "succeeded", done.failure
        assert [line["taskId"] for line in self.bought(job)] == [done.task_id]
        assert [line.status for line in self.record(job).purchases] == ["paid"]
        eventually(lambda: not self.candidates(job))
        return done

    def candidates(self, job: Job) -> list[str]:
        """Purchases of this job for which a named task is still to be looked at."""
        return [member for member in self.redis.zrange(self.keys.candidates, 0, -1) if member.startswith(job.id)]


DROPPED = ("drop_after", "createTask", dict[str, Any]())
LASTING = ("duration", None, {"seconds": 300.0})  # five seconds: long enough to do something meanwhile


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Called]:
    with Called(tmp_path_factory.mktemp("called")) as running:
        yield running


@pytest.fixture(autouse=True)
def _nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "stack" in request.fixturenames:
        running: Called = request.getfixturevalue("stack")
        running.vendor.clear_faults()
        running.store.resume()


# -- a lost answer ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("fault", ["drop_after", "cut_json", "garbage", "no_task_id"])
def test_a_lost_answer_of_create_task_is_healed_by_the_callback(stack: Called, fault: str) -> None:
    """The job waits as submit_unknown, the callback brings the task ID, and the one purchase is delivered."""
    job = stack.ordered((fault, "createTask", {}))
    done = stack.ended_well(job)
    assert State.SUBMIT_UNKNOWN in [event.state for event in done.events]
    assert stack.calls(job) == [200]
    assert any("named by a callback" in (event.note or "") for event in done.events)


def test_a_task_that_the_vendor_had_denied_is_taken_and_its_word_not_believed_again(stack: Called) -> None:
    """Behind a 500 a task was made: the callback names it, nothing more is bought; the next 500 is not believed."""
    job = stack.ordered(("lie_500", "createTask", {}))
    done = stack.ended_well(job)
    assert State.FAILED not in [event.state for event in done.events]
    assert done.attempts == 1
    assert [e.note for e in done.events if "made after all" in (e.note or "")] == [
        f"task {done.task_id} was made after all: it is followed"
    ]

    other = stack.ordered(("code_500", "createTask", {}))
    stack.in_state(other, "submit_unknown")
    assert len(stack.bought(other)) == 1
    stack.queue.cancel(other.id)


def test_a_lost_answer_of_a_failed_generation_is_booked_as_refunded(stack: Called) -> None:
    """The callback of a failure is one too: its task is read, and the failure is the vendor's, free of charge."""
    said = "No valid characters detected in the video"
    job = stack.ordered(DROPPED, ("fail_generation", None, {"code": "400", "msg": said}))
    done = stack.finished(job)
    assert done.failure is not None
    assert (done.failure.reason, done.failure.message, done.failure.charged) == ("generation_failed", said, "no")
    assert len(stack.bought(job)) == 1


def test_a_cancelled_job_keeps_the_result_that_a_callback_brings(stack: Called) -> None:
    """Cancelled while nobody knew the task: it ends cancelled, and what was paid for is on record."""
    job = stack.ordered(DROPPED, LASTING)
    stack.in_state(job, "submit_unknown")
    stack.queue.cancel(job.id)
    done = stack.finished(job)
    assert done.state == "cancelled"
    eventually(lambda: [line.status for line in stack.record(job).purchases] == ["paid"])
    assert stack.record(job).verdict["urls"] == [_film(stack, job)]
    assert len(stack.bought(job)) == 1


def _film(stack: Called, job: Job) -> str:
    task = stack.vendor.task(stack.bought(job)[0]["taskId"])
    return str(task["record"]["response"]["resultUrls"][0])


# -- callbacks of every kind ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("fault", "given", "answers"),
    [
        ("callback_early", {}, [200, 200]),
        ("callback_late", {"seconds": 120.0}, [200]),
        ("callback_duplicate", {"copies": 3}, [200, 200, 200]),
        ("callback_never", {}, []),
        ("callback_alternate", {}, [200]),
        ("callback_forged", {}, [200]),
    ],
)
def test_a_job_ends_right_whatever_its_callback_does(
    stack: Called, fault: str, given: dict[str, Any], answers: list[int]
) -> None:
    """Early, late, thrice, never, in the other shape, with a signature nobody asked for: one purchase, one video."""
    job = stack.ordered((fault, "callback", given))
    stack.ended_well(job)
    eventually(lambda: stack.calls(job) == answers, timeout=20)
    eventually(lambda: not stack.candidates(job))
    assert stack.record(job).state is State.SUCCEEDED
    assert len(stack.bought(job)) == 1


def test_an_early_callback_alone_recovers_a_lost_answer(stack: Called) -> None:
    """It comes before createTask is answered, then the answer is lost, and no other callback ever comes."""
    job = stack.ordered(DROPPED, ("callback_early", "callback", {}), ("callback_never", "callback", {}))
    stack.ended_well(job)
    assert stack.calls(job) == [200]


def test_a_callback_about_another_task_changes_nothing(stack: Called) -> None:
    """To this job's address, but genuinely about the task before it: neither job gets the other's video."""
    first = stack.ordered()
    stack.has_been(first, "running")
    second = stack.ordered(("callback_crossed", "callback", {}))
    ends = [stack.ended_well(first), stack.ended_well(second)]
    assert ends[0].task_id != ends[1].task_id
    assert stack.calls(second) == [200]
    assert [stack.store.by_task(str(done.task_id)) for done in ends] == [first.id, second.id]


def test_a_crossed_callback_does_not_heal_a_lost_answer_with_the_wrong_task(stack: Called) -> None:
    """The task that is named belongs to another purchase: it is dropped, and the job goes on waiting for its own."""
    first = stack.ordered()
    stack.has_been(first, "running")
    second = stack.ordered(DROPPED, ("callback_crossed", "callback", {}))
    stack.ended_well(first)
    eventually(lambda: stack.calls(second) == [200], timeout=20)
    eventually(lambda: not stack.candidates(second))
    record = stack.record(second)
    assert (record.state, record.task_id) == (State.SUBMIT_UNKNOWN, "")
    [task] = [line["taskId"] for line in stack.bought(second)]
    assert stack.receiver.call(second.id, record.nonce, task) == 200  # its own, at last
    stack.ended_well(second)


def test_a_callback_that_names_a_task_nobody_made_changes_nothing(stack: Called) -> None:
    """Whoever knows the address can name what he likes: the job ends with its own task."""
    job = stack.ordered(LASTING)
    stack.in_state(job, "running")
    assert stack.receiver.call(job.id, stack.record(job).nonce, "f" * 32) == 200
    done = stack.finished(job)
    assert done.state == "succeeded"
    assert [line["taskId"] for line in stack.bought(job)] == [done.task_id]


# -- signed -----------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Called]:
    with Called(tmp_path_factory.mktemp("signed"), signing=True) as running:
        yield running


@pytest.mark.parametrize(("fault", "answers"), [("callback_forged", [401]), ("callback_unsigned", [401])])
def test_with_a_key_a_forged_or_unsigned_callback_is_refused_and_polling_goes_on(
    signed: Called, fault: str, answers: list[int]
) -> None:
    """The door stays shut, and the job ends as if no callback had come."""
    job = signed.ordered((fault, "callback", {}))
    signed.ended_well(job)
    eventually(lambda: signed.calls(job) == answers, timeout=20)


@pytest.mark.parametrize("faults", [(), (("callback_alternate", "callback", {}),)], ids=["usual", "other shape"])
def test_with_a_key_a_signed_callback_heals_a_lost_answer(signed: Called, faults: Any) -> None:
    """Both documented shapes are signed over the task ID, and both are taken in."""
    job = signed.ordered(DROPPED, *faults)
    signed.ended_well(job)
    assert signed.calls(job) == [200]


def test_with_a_key_a_signature_for_another_task_heals_nothing(signed: Called) -> None:
    """Job A's address with job B's genuine signature and task ID: dropped; A then heals with its own."""
    other, job = signed.ordered(), signed.ordered(DROPPED, ("callback_never", "callback", {}))
    theirs = str(signed.ended_well(other).task_id)
    signed.in_state(job, "submit_unknown")
    record = signed.record(job)
    assert signed.receiver.call(job.id, record.nonce, theirs, signature(theirs, KEY)) == 200
    eventually(lambda: not signed.candidates(job))
    assert signed.record(job).task_id == ""
    assert signed.store.by_task(theirs) == other.id
    [ours] = [line["taskId"] for line in signed.bought(job)]
    assert signed.receiver.call(job.id, record.nonce, ours, signature(theirs, KEY)) == 401
    assert signed.receiver.call(job.id, record.nonce, ours, signature(ours, KEY)) == 200
    signed.ended_well(job)


# -- after our patience has ended -------------------------------------------------------------------------------------
def test_a_job_that_had_failed_as_unknown_is_healed_by_a_late_callback(tmp_path: Path) -> None:
    """Our patience ended, the vendor's task did not: the paid video is taken in, and nothing is bought again."""
    with Called(tmp_path, MOTIONQ_UNKNOWN_WINDOW="2s") as stack:
        job = stack.ordered(DROPPED, ("callback_late", "callback", {"seconds": 480.0}))
        failed = stack.finished(job)
        assert failed.failure is not None
        assert (failed.failure.reason, failed.failure.charged) == ("submit_unknown", "unknown")
        stack.in_state(job, "succeeded", timeout=60)
        done = stack.ended_well(job)
        assert done.failure is None
        assert done.result is not None
        assert Path(done.result.file or "").stat().st_size > 0


def test_a_job_that_had_failed_as_silent_is_healed_by_a_late_callback(tmp_path: Path) -> None:
    """The run limit ended the waiting; the callback brings the verdict, read from the vendor as always."""
    with Called(tmp_path, sandbox={"duration": 900.0}, MOTIONQ_RUN_LIMIT="3s") as stack:
        job = stack.ordered()
        failed = stack.finished(job)
        assert failed.failure is not None
        assert (failed.failure.reason, failed.failure.charged) == ("vendor_silent", "unknown")
        stack.in_state(job, "succeeded", timeout=60)
        assert stack.ended_well(job).failure is None
