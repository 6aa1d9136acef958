"""What people do to jobs while real workers run: what is bought, what is kept, asked of the vendor's own ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from motionq import ActionRefused, Job
from support import Stack, eventually, picture

LONG = 600.0  # seconds of a generation that ends when the test says so; kie.ai itself gives up after 1,200


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The vendor's clock goes as ours does: a task's createTime must lie in its purchase's send window."""
    folder = tmp_path_factory.mktemp("people")
    vendor = {"rate_limit": "off", "duration": 3.0}
    with Stack(folder, speed=1.0, sandbox=vendor, MOTIONQ_SUBMIT_RATE="200/1s", MOTIONQ_STEP_ATTEMPTS="1") as running:
        yield running


@pytest.fixture(autouse=True)
def _no_leftovers(stack: Stack) -> Iterator[None]:
    yield
    stack.vendor.clear_faults()
    stack.vendor.settings(duration=3.0)
    stack.queue.resume()


def made(stack: Stack, job: Job) -> list[str]:
    """The tasks that the vendor made for a job."""
    return [line["taskId"] for line in stack.bought(job) if line.get("taskId")]


def statuses(stack: Stack, job: Job) -> list[str]:
    return [p.status.value for p in stack.store.get(job.id).purchases]


def lost(stack: Stack, prompt: str) -> Job:
    """A job whose createTask was answered into the void: the task runs, and only the vendor knows its ID."""
    stack.vendor.add_fault("drop_after", "createTask", match={"prompt": prompt})
    job = stack.finished(stack.submit(prompt=prompt))
    assert job.failure is not None
    assert (job.failure.reason, job.task_id, len(made(stack, job))) == ("submit_unknown", None, 1)
    return job


# -- cancel -----------------------------------------------------------------------------------------------------------
def test_a_job_cancelled_while_it_runs_keeps_what_is_paid(stack: Stack) -> None:
    """Cancelling until the verdict, then cancelled with a paid purchase, bought once; replay delivers that video."""
    stack.vendor.settings(duration=LONG)
    job = stack.submit(prompt="cancelled while running")
    stack.in_state(job, "running")
    assert stack.queue.cancel(job.id).state == "cancelling"
    stack.vendor.advance(LONG)
    done = stack.finished(job)
    assert (done.state, done.result, statuses(stack, job)) == ("cancelled", None, ["paid"])
    assert int(stack.redis.zcard(stack.keys.slots)) == 0

    stack.queue.replay(job.id)
    delivered = stack.finished(job)
    assert delivered.state == "succeeded"
    assert made(stack, job) == [delivered.task_id]
    assert len(stack.bought(job)) == 1


def test_a_job_cancelled_while_it_is_bought_keeps_what_is_paid(stack: Stack) -> None:
    """Cancelled between createTask and its answer: the task that comes back is followed to its verdict, and kept."""
    stack.vendor.settings(duration=LONG)
    stack.vendor.add_fault("slow", "createTask", match={"prompt": "cancelled while bought"}, seconds=2.0)
    job = stack.submit(prompt="cancelled while bought")
    stack.in_state(job, "submitting")
    assert stack.queue.cancel(job.id).state == "cancelling"
    eventually(lambda: stack.store.get(job.id).task_id)
    stack.vendor.advance(LONG)
    done = stack.finished(job, timeout=30)
    assert (done.state, statuses(stack, job)) == ("cancelled", ["paid"])
    assert len(stack.bought(job)) == 1


def test_a_job_cancelled_while_its_files_are_uploaded_buys_nothing(stack: Stack) -> None:
    """Cancelled at once; the worker that moves its files stops at its next write, and nothing is armed."""
    stack.vendor.add_fault("slow", "upload", times=None)
    # A picture of its own: those of other jobs lie at the vendor already, and an upload that is not made takes no time.
    job = stack.submit(prompt="cancelled while uploading", image=picture(colour=(1, 2, 3)))
    stack.in_state(job, "uploading")
    stack.queue.pause("no purchase in this test")
    assert stack.queue.cancel(job.id).state == "cancelled"
    stack.vendor.clear_faults()
    stack.queue.resume()
    other = stack.finished(stack.submit(prompt="after it"))
    assert other.state == "succeeded"
    assert (stack.queue.get(job.id).state, stack.bought(job), statuses(stack, job)) == ("cancelled", [], [])


def test_a_job_cancelled_while_armed_buys_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    """While its purchase becomes durable a job is cancelled for nothing: no POST, the purchase is not sent."""
    vendor = {"rate_limit": "off", "duration": 3.0}
    with Stack(tmp_path_factory.mktemp("armed"), speed=1.0, appendfsync="everysec", sandbox=vendor) as stack:
        job = stack.submit(prompt="cancelled while armed")
        eventually(lambda: stack.store.get(job.id).state == "armed", timeout=60, interval=0.002)
        assert stack.queue.cancel(job.id).state == "cancelled"
        assert stack.finished(stack.submit(prompt="after it")).state == "succeeded"
        assert (stack.queue.get(job.id).state, statuses(stack, job)) == ("cancelled", ["not_sent"])
        assert stack.bought(job) == []
        assert int(stack.redis.zcard(stack.keys.slots)) == 0


# -- replay -----------------------------------------------------------------------------------------------------------
def test_a_failed_delivery_is_delivered_again_not_bought_again(stack: Stack) -> None:
    """The vendor's file is no video: delivery_failed, charged. Replay fetches it, bought once, from where it is now."""
    stack.vendor.add_fault("result_html", "result", times=None)
    job = stack.submit(prompt="delivery fails")
    failed = stack.finished(job)
    assert failed.failure is not None
    assert (failed.failure.reason, failed.failure.charged) == ("delivery_failed", "yes")
    assert statuses(stack, job) == ["paid"]

    stack.vendor.clear_faults()
    verdict = stack.store.get(job.id).verdict | {"urls": []}  # as of a success that named no address in time
    stack.redis.hset(stack.keys.job(job.id), "verdict", json.dumps(verdict))
    assert stack.queue.replay(job.id).failure is None
    done = stack.finished(job)
    assert (done.state, made(stack, job)) == ("succeeded", [done.task_id])
    assert len(stack.bought(job)) == 1


def test_an_unknown_purchase_is_repeated_with_consent_alone(stack: Stack) -> None:
    """Refused without; with consent exactly one more is bought, and the first stays written off."""
    job = lost(stack, "unknown, replayed")
    with pytest.raises(ActionRefused, match="may have been charged already"):
        stack.queue.replay(job.id)
    assert len(stack.bought(job)) == 1

    stack.queue.replay(job.id, may_pay_twice=True)
    done = stack.finished(job)
    tasks = made(stack, job)
    assert (done.state, done.task_id, len(tasks)) == ("succeeded", tasks[1], 2)
    assert len(stack.bought(job)) == 2
    assert statuses(stack, job) == ["written_off", "paid"]


# -- attach -----------------------------------------------------------------------------------------------------------
def test_a_lost_task_is_attached_and_delivered(stack: Stack) -> None:
    """The task ID that a person found at the vendor brings the failed job to success, with one purchase."""
    job = lost(stack, "unknown, attached")
    (task,) = made(stack, job)
    assert stack.queue.attach(job.id, task).task_id == task
    done = stack.finished(job)
    assert (done.state, done.task_id, done.failure) == ("succeeded", task, None)
    assert statuses(stack, job) == ["paid"]
    assert len(stack.bought(job)) == 1


def test_the_task_of_another_request_is_refused(stack: Stack) -> None:
    """Another job's task is refused by the record, a task of nobody's by the worker that reads it at the vendor."""
    job = lost(stack, "unknown, wrong task")
    other = stack.finished(stack.submit(prompt="the owner"))
    with pytest.raises(ActionRefused, match=f"task {other.task_id} belongs to job {other.id}"):
        stack.queue.attach(job.id, str(other.task_id))

    stray = lost(stack, "another lost one")
    (task,) = made(stack, stray)
    with pytest.raises(ActionRefused, match=f"kie.ai does not say that task {task} is job {job.id}'s"):
        stack.queue.attach(job.id, task)
    after = stack.queue.get(job.id)
    assert (after.state, after.task_id, statuses(stack, job)) == ("failed", None, ["open"])
    assert (len(stack.bought(job)), len(stack.bought(stray))) == (1, 1)


# -- the gate ---------------------------------------------------------------------------------------------------------
def test_a_paused_gate_lets_nothing_through(stack: Stack) -> None:
    """While an operator's pause holds jobs wait unbought; after the resume they are bought and succeed."""
    stack.queue.pause("moving the server")
    job = stack.submit(prompt="waits at the gate")
    stack.in_state(job, "ready")
    gate = stack.queue.gate()
    assert gate.waiting == 1
    assert (gate.open, gate.reason, gate.message) == (False, "operator", "moving the server")
    assert stack.bought(job) == []
    assert stack.queue.resume().open
    assert stack.finished(job).state == "succeeded"
