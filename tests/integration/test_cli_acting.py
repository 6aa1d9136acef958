"""cancel, replay, attach and gate as their users meet them: a real command, a real server, jobs moved by hand."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from motionq import ActionRefused, Job, MotionQueue, QueueUnavailable, Settings
from motionq.contract.durability import EVERYSEC
from motionq.contract.keys import Keys
from motionq.contract.states import State
from motionq.durable import safely
from motionq.gate import NOT_LOOKED_AT
from motionq_ops.redis_server import RedisServer
from motionq_ops.sandbox.process import SandboxProcess
from support.by_hand import buy, fail, lose, succeed
from support.command import WHOLE, Command, Screen
from support.life import life

MEDIA = Path(__file__).parents[1] / "media"
PNG, MP4 = str(MEDIA / "astronaut.png"), str(MEDIA / "bigbuckbunny.mp4")
KEPT = "the purchase is open: a paid result will be kept"


@pytest.fixture
def submitted(queue: MotionQueue) -> Callable[[], Job]:
    """Each job of a tenant of its own, so that all are due at once."""
    tenants = iter(range(1000))
    return lambda: queue.submit(image=PNG, video=MP4, tenant=f"t{next(tenants)}")


def statuses(queue: MotionQueue, job: Job) -> list[str]:
    return [p.status.value for p in queue.store.get(job.id).purchases]


# -- cancel -----------------------------------------------------------------------------------------------------------
def test_cancel(motionq: Command, queue: MotionQueue, submitted: Callable[[], Job]) -> None:
    """Unbought jobs are cancelled, bought ones cancelling, finished ones refused with 1; again without complaint."""
    bought, done, free = submitted(), submitted(), submitted()
    buy(queue, bought.id)
    succeed(queue, done.id)
    answer = motionq("cancel", bought.id, done.id, free.id)
    assert (answer.code, answer.out) == (1, f"{bought.id}  cancelling  {KEPT}\n{free.id}  cancelled\n")
    assert answer.err == f"motionq: job {done.id} has succeeded: there is nothing to cancel\n"
    assert (queue.get(bought.id).state, statuses(queue, bought)) == (State.CANCELLING, ["open"])
    assert queue.get(free.id).state is State.CANCELLED
    again = motionq("cancel", bought.id, free.id, "--json")
    assert (again.code, again.jsons) == (0, [queue.get(bought.id).to_json(), queue.get(free.id).to_json()])
    mixed = motionq("cancel", done.id, "gone", "--json")
    assert mixed.code == 3
    kinds = [line["error"]["kind"] for line in mixed.jsons if isinstance(line["error"], dict)]
    assert kinds == ["refused", "not_found"]


def test_cancel_of_a_purchase_is_answered_when_it_is_durable(queue: MotionQueue, submitted: Callable[[], Job]) -> None:
    """With `appendfsync everysec` the answer comes when the write is as old as a disk may lag."""
    job = submitted()
    buy(queue, job.id)
    assert queue.cancel(job.id).state is State.CANCELLING
    since = queue.store.get(job.id).since
    assert queue.store.now() - since >= EVERYSEC * 1000
    assert queue.cancel(job.id).state is State.CANCELLING
    assert queue.store.get(job.id).since == since


def test_a_restart_before_the_write_is_safe_is_told(tmp_path: Path) -> None:
    """A server that is another one by then may have lost the write: the person is asked to look."""
    with RedisServer(tmp_path / "own", appendfsync="always") as server, life(server.url, "motionq") as lived:
        with safely(lived.store) as moments:
            moments.append(lived.store.now())
        waiting = safely(lived.store)
        waiting.__enter__().append(lived.store.now())
        server.stop()
        server.start()
        with pytest.raises(QueueUnavailable, match="restarted before the write was safe"):
            waiting.__exit__(None, None, None)


# -- replay -----------------------------------------------------------------------------------------------------------
def test_replay(motionq: Command, queue: MotionQueue, submitted: Callable[[], Job]) -> None:
    """A failed job starts again under its ID, one that succeeded or goes on is refused with 1."""
    failed = submitted()
    fail(queue, failed.id)
    done = submitted()
    succeed(queue, done.id)
    answer = motionq("replay", failed.id, done.id)
    assert (answer.code, answer.out) == (1, f"{failed.id}  queued\n")
    assert answer.err == f"motionq: job {done.id} is succeeded: only a failed or cancelled job can be replayed\n"
    again = motionq("replay", failed.id, "--json")
    assert (again.code, again.error["kind"]) == (1, "refused")


def test_replay_asks_for_consent(motionq: Command, queue: MotionQueue, submitted: Callable[[], Job]) -> None:
    """Where a purchase may have been charged: refused with what is open and what to do; with consent written off."""
    job = submitted()
    lose(queue, job.id)
    nonce = queue.store.get(job.id).nonce
    refused = motionq("replay", job.id)
    assert (refused.code, refused.out) == (1, "")
    assert re.fullmatch(
        rf"motionq: job {job.id} may have been charged already \(sent \S+Z, no task ID\): look for its task at"
        rf" https://kie\.ai/logs and name it with `motionq attach {job.id} TASK_ID`, or consent to pay twice with"
        rf" `motionq replay {job.id} --may-pay-twice`\n",
        refused.err,
    )
    assert nonce not in refused.err
    assert statuses(queue, job) == ["open"]
    agreed = motionq("replay", job.id, "--may-pay-twice", "--json")
    assert (agreed.code, agreed.err, agreed.jsons) == (0, "", [queue.get(job.id).to_json()])
    record = queue.store.get(job.id)
    assert (record.state, statuses(queue, job)) == (State.QUEUED, ["written_off"])
    assert queue.store.now() - record.updated_at >= EVERYSEC * 1000


def test_consent_on_a_terminal_shows_what_may_be_paid_twice(
    motionq: Command, queue: MotionQueue, submitted: Callable[[], Job]
) -> None:
    """Before it is done, each open purchase is on stderr: when it was sent and which task it has, never its nonce."""
    job = submitted()
    lose(queue, job.id)
    nonce = queue.store.get(job.id).nonce
    ours, theirs = pty.openpty()
    screen = Screen(ours)
    try:
        process = motionq.start("replay", job.id, "--may-pay-twice", stdout=subprocess.PIPE, stderr=theirs)
        os.close(theirs)
        with process:
            out, _ = process.communicate(timeout=30)
        screen.ended()
    finally:
        os.close(ours)
    assert (process.returncode, out.decode()) == (0, f"{job.id}  queued\n")
    shown = rf"motionq: {job.id}: may be paid twice: sent \S+Z, no task ID\s+"
    assert re.fullmatch(shown, screen.text)
    assert nonce not in screen.text


def test_a_key_gives_its_job_also_when_that_has_failed(queue: MotionQueue) -> None:
    """Submitting again under the key of a failed job buys nothing: the failed job is returned, for `replay`."""
    job = queue.submit(image=PNG, video=MP4, idempotency_key="order-17")
    lose(queue, job.id)
    again = queue.submit(image=PNG, video=MP4, idempotency_key="order-17")
    assert (again.id, again.state, again.failure) == (job.id, State.FAILED, queue.get(job.id).failure)
    with pytest.raises(ActionRefused, match="may have been charged already"):
        queue.replay(again.id)
    assert queue.replay(again.id, may_pay_twice=True).state is State.QUEUED
    assert len(queue.list()) == 1


# -- attach -----------------------------------------------------------------------------------------------------------
def test_attach_on_a_persons_word(motionq: Command, queue: MotionQueue, submitted: Callable[[], Job]) -> None:
    """--unchecked puts the task on record and the job goes on; another job's task is refused by that job's ID."""
    lost, other = submitted(), submitted()
    lose(queue, lost.id)
    buy(queue, other.id)
    refused = motionq("attach", lost.id, f"task-{other.id}", "--unchecked")
    assert (refused.code, refused.err) == (1, f"motionq: task task-{other.id} belongs to job {other.id}\n")
    attached = motionq("attach", lost.id, "T-found", "--unchecked")
    assert (attached.code, attached.out, attached.err) == (0, f"{lost.id}  running  task T-found\n", "")
    job = queue.get(lost.id)
    assert (job.task_id, job.failure, statuses(queue, job)) == ("T-found", None, ["open"])
    wrong = motionq("attach", lost.id, "no task", "--json")
    assert (wrong.code, wrong.error["kind"], wrong.error["field"]) == (2, "invalid_job", "task")


def test_status_counts_purchases(motionq: Command, queue: MotionQueue, submitted: Callable[[], Job]) -> None:
    """`status` says what became of a job's purchases; the JSON object has its fixed keys and no others."""
    job = submitted()
    lose(queue, job.id)
    assert "purchases  1 open\n" in re.sub(r"  +", "  ", motionq("status", job.id).out)
    assert motionq("status", job.id, "--json").jsons == [queue.get(job.id).to_json()]


# -- the gate ---------------------------------------------------------------------------------------------------------
def test_the_gate(motionq: Command, queue: MotionQueue, submitted: Callable[[], Job]) -> None:
    """Status, pause with a reason, resume: for people in lines, for programs as one object with every key."""
    assert motionq("gate", "status").out == "open: 0 in flight, 0 waiting\n"
    buy(queue, submitted().id)
    paused = motionq("gate", "pause", "moving the server")
    assert (paused.code, paused.err) == (0, "")
    first, second, third = paused.out.splitlines()
    assert first == "closed: operator: moving the server"
    assert re.fullmatch(r"since \S+Z, until `motionq gate resume`", second)
    assert third == "1 in flight, 0 waiting"
    (status,) = motionq("gate", "status", "--json").jsons
    assert status == queue.gate().to_json()
    assert {k: v for k, v in status.items() if k != "since"} == {
        "open": False,
        "reason": "operator",
        "message": "moving the server",
        "until": None,
        "half_open": False,
        "in_flight": 1,
        "waiting": 0,
    }
    assert motionq("gate", "resume").out == "open: 1 in flight, 0 waiting\n"
    assert queue.gate().open


def test_a_gate_closed_as_restored(motionq: Command, queue: MotionQueue) -> None:
    """A plain resume is refused with what to do first; `--restored` says that it was done."""
    queue.store.pause("restored", "older records")
    assert motionq("gate", "pause", "a restart").out.splitlines()[0] == "closed: restored: older records"
    assert motionq("gate", "status").out.splitlines()[1].endswith(", until `motionq gate resume --restored`")

    refused = motionq("gate", "resume")
    assert (refused.code, refused.out) == (1, "")
    assert refused.err == f"motionq: {NOT_LOOKED_AT}\n"
    assert queue.gate().reason == "restored"

    assert motionq("gate", "resume", "--restored").out == "open: 0 in flight, 0 waiting\n"


def test_the_days_budget_closes_the_gate(queue: MotionQueue, tmp_path: Path) -> None:
    """With a budget that is used up the gate is closed until the day (UTC) is over."""
    keys = Keys(queue.store.keys.namespace)
    day = queue.store.now() // 86_400_000
    queue.store.redis.hset(keys.spent, str(day), "500.5")
    url = str(queue.store.redis.connection_pool.connection_kwargs["path"])
    for budget, reason in ((501.0, None), (500.0, "budget")):
        settings = Settings(
            redis_url=f"unix://{url}", namespace=keys.namespace, data_dir=tmp_path, max_credits_per_day=budget
        )
        with MotionQueue(settings=settings) as limited:
            gate = limited.gate()
        assert (gate.open, gate.reason) == (reason is None, reason)
    assert gate.until is not None
    assert gate.until.timestamp() * 1000 == (day + 1) * 86_400_000


# -- credits ----------------------------------------------------------------------------------------------------------
def test_credits(motionq: Command) -> None:
    """`motionq credits` asks the vendor; without a key 2, with a key that is refused 1 and the vendor's words.

    It needs no storage, and looks at none.
    """
    with SandboxProcess(credits=12_345.5) as vendor:
        where = {"KIE_BASE_URL": vendor.url, "KIE_UPLOAD_BASE_URL": vendor.url}
        whole = partial(motionq.run, WHOLE)
        shown = whole("credits", KIE_API_KEY=vendor.api_key, **where)
        assert (shown.code, shown.out) == (0, "12,345.5 credits (about US$61.73)\n")
        as_json = whole("credits", "--json", KIE_API_KEY=vendor.api_key, **where)
        assert as_json.out == '{"credits": 12345.5}\n'
        away = {"MOTIONQ_RESULTS_URL": "s3://bucket/results"}  # whose package is not installed
        assert whole("credits", KIE_API_KEY=vendor.api_key, **where, **away).code == 0
        assert not (motionq.folder / "data").exists()  # a question makes no folders
        refused = whole("credits", KIE_API_KEY="wrong", **where)
        assert (refused.code, refused.out) == (1, "")
        assert re.fullmatch(r"motionq: kie\.ai refused the key: 401 .+\n", refused.err)
    missing = whole("credits")
    assert (missing.code, missing.err) == (2, "motionq: KIE_API_KEY is not set\n")
