"""What happens to money when the vendor, the network or a worker fails: asked of the vendor's own ledger."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from motionq import Job
from support import Stack, eventually, picture


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("money")
    with Stack(folder, workers=1, sandbox={"rate_limit": "off"}, MOTIONQ_SUBMIT_RATE="200/1s") as running:
        yield running


@pytest.fixture(autouse=True)
def _no_leftover_faults(stack: Stack) -> Iterator[None]:
    yield
    stack.vendor.clear_faults()
    stack.store.resume()


def made(stack: Stack, job: Job) -> list[str]:
    """The tasks that the vendor made for a job."""
    return [line["taskId"] for line in stack.bought(job) if line.get("taskId")]


ANSWERS = ("drop_after", "drop_before", "html_502", "cut_json", "http_408", "redirect_307", "redirect_301", "garbage")


def test_an_answer_that_cannot_be_trusted_is_never_asked_for_again(stack: Stack) -> None:
    """Whatever happens to createTask's answer: one POST, no second purchase, and the job says what is unknown."""
    for fault in ANSWERS:
        stack.vendor.add_fault(fault, "createTask", match={"prompt": f"answer {fault}"})
    jobs = {fault: stack.submit(prompt=f"answer {fault}") for fault in ANSWERS}
    done = {fault: stack.finished(job) for fault, job in jobs.items()}

    assert {fault: len(stack.bought(job)) for fault, job in jobs.items()} == dict.fromkeys(ANSWERS, 1)
    for job in done.values():
        assert job.failure is not None
        assert (job.failure.reason, job.failure.charged) == ("submit_unknown", "unknown")
        assert "kie.ai/logs" in job.failure.message


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("code_402", "no_credits"),
        ("credits_500", "no_credits"),
        ("code_401", "key_refused"),
        ("code_433", "key_cap"),
        ("code_455", "maintenance"),
        ("code_505", "feature_disabled"),
        ("code_429", "rate"),
    ],
)
def test_a_refusal_of_the_account_pauses_and_the_job_waits(stack: Stack, fault: str, reason: str) -> None:
    """The gate closes with the vendor's words, the job waits without a purchase, and is bought once it opens."""
    prompt = f"account {fault}"
    stack.vendor.add_fault(fault, "createTask", match={"prompt": prompt})
    job = stack.submit(prompt=prompt)
    paused = eventually(stack.store.paused)

    assert paused["reason"] == reason
    assert made(stack, job) == []
    stack.in_state(job, "ready")
    stack.store.resume()
    stack.in_state(job, "running", "delivering", "succeeded")
    assert made(stack, job) == [stack.store.get(job.id).task_id]


def test_a_request_that_the_vendor_rejects_fails_with_its_words(stack: Stack) -> None:
    """A validation error is final: one POST, nothing charged, the vendor's code and message in the failure."""
    stack.vendor.add_fault("code_422", "createTask", match={"prompt": "rejected"})
    job = stack.finished(stack.submit(prompt="rejected"))

    assert job.failure is not None
    assert (job.failure.reason, job.failure.code, job.failure.charged) == ("refused", "422", "no")
    assert len(stack.bought(job)) == 1


def test_a_failed_generation_that_may_pass_is_bought_again_once(stack: Stack) -> None:
    """A refunded internal error is bought a second time under a new nonce, and the job succeeds with that task."""
    stack.vendor.add_fault(
        "fail_generation", match={"prompt": "flaky"}, code="500", msg="Internal Error, Please try again later."
    )
    job = stack.finished(stack.submit(prompt="flaky"))

    assert job.state == "succeeded"
    tasks = made(stack, job)
    assert len(tasks) == 2
    assert job.task_id == tasks[1]
    assert [p.status for p in stack.store.get(job.id).purchases] == ["refunded", "paid"]


def test_a_job_whose_earlier_task_cannot_be_read_makes_room_for_others(stack: Stack) -> None:
    """Nothing is bought before the refunded task was looked at once more; the job says so, and holds no slot."""
    passing = {"code": "500", "msg": "Internal Error, Please try again later."}
    stack.vendor.add_fault("fail_generation", match={"prompt": "sick"}, **passing)
    stack.vendor.add_fault("duration", match={"prompt": "sick"}, seconds=300.0)  # five seconds, in which it is paused
    job = stack.submit(prompt="sick")
    stack.in_state(job, "running")
    stack.queue.pause("until its task can't be read")
    stack.in_state(job, "ready")
    stack.vendor.add_fault("code_500", "recordInfo", times=None, match={"prompt": "sick"})
    stack.queue.resume()

    stack.in_state(job, "queued")
    assert int(stack.redis.zcard(stack.keys.slots)) == 0
    assert (stack.store.get(job.id).events[-1].note or "").startswith("the earlier task must be read before another")
    assert stack.finished(stack.submit(prompt="well")).state == "succeeded"
    assert len(made(stack, job)) == 1

    stack.vendor.clear_faults()
    stack.redis.zadd(stack.keys.due("upload"), {job.id: 0}, xx=True)  # it looks again in a minute
    assert stack.finished(job).state == "succeeded"
    assert [p.status for p in stack.store.get(job.id).purchases] == ["refunded", "not_sent", "paid"]


def test_a_failed_generation_that_will_fail_again_is_not_bought_again(stack: Stack) -> None:
    """The vendor's verdict about the inputs is final, free, and given in its words."""
    said = "No valid characters detected in the video"
    stack.vendor.add_fault("fail_generation", match={"prompt": "nobody"}, code="400", msg=said)
    job = stack.finished(stack.submit(prompt="nobody"))

    assert job.failure is not None
    assert (job.failure.reason, job.failure.code, job.failure.message) == ("generation_failed", "400", said)
    assert job.failure.charged == "no"
    assert len(made(stack, job)) == 1


def test_a_worker_killed_while_a_task_runs_loses_nothing(stack: Stack) -> None:
    """SIGKILL with the task at the vendor: another worker takes the result in, and nothing is bought again."""
    stack.vendor.settings(duration=400.0)
    try:
        job = stack.submit(prompt="killed while running")
        stack.in_state(job, "running")
        stack.workers[-1].kill()
        stack.add_worker()
        done = stack.finished(job)
    finally:
        stack.vendor.settings(duration=120.0)

    assert done.state == "succeeded"
    assert made(stack, job) == [done.task_id]


def test_a_worker_killed_while_it_waits_for_the_answer_does_not_buy_twice(stack: Stack) -> None:
    """SIGKILL between the POST and its answer: the purchase is unknown, not repeated."""
    stack.vendor.add_fault("hang", "createTask", match={"prompt": "killed while sending"}, made=True)
    job = stack.submit(prompt="killed while sending")
    stack.in_state(job, "submitting")
    eventually(lambda: stack.bought(job))
    stack.workers[-1].kill()
    stack.add_worker()
    done = stack.finished(job)

    assert done.failure is not None
    assert (done.failure.reason, done.failure.charged) == ("submit_unknown", "unknown")
    assert len(stack.bought(job)) == 1


def test_a_result_that_arrives_cut_is_fetched_again(stack: Stack) -> None:
    """A truncated video is never delivered: it is fetched again until it decodes."""
    stack.vendor.add_fault("result_cut", "result", times=1)
    job = stack.finished(stack.submit(prompt="cut result"))

    assert job.state == "succeeded"
    assert next(e.note for e in job.events if e.step == "deliver" and e.note).startswith("video")
    assert len(made(stack, job)) == 1


def test_an_upload_that_fails_is_repeated_and_costs_nothing(stack: Stack) -> None:
    """The upload host answers HTML twice: the free step is tried again, and the purchase is still one."""
    stack.vendor.add_fault("html_502", "upload", times=2)
    job = stack.submit(prompt="upload trouble", image=picture())
    done = stack.finished(job)

    assert done.state == "succeeded"
    assert len(made(stack, done)) == 1
    assert [event.state for event in done.events].count("queued") == 3  # submitted, and two retries
