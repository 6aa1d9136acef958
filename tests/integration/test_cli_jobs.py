"""The other job verbs as their users meet them: a real command, a real server, jobs moved by hand."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from motionq import Job, MotionQueue
from motionq.contract.states import State
from support import eventually
from support.by_hand import buy, fail, refund, succeed
from support.command import Command, Screen

MEDIA = Path(__file__).parents[1] / "media"
PNG, MP4 = str(MEDIA / "astronaut.png"), str(MEDIA / "bigbuckbunny.mp4")


@pytest.fixture
def submitted(queue: MotionQueue) -> Callable[[], Job]:
    return lambda: queue.submit(image=PNG, video=MP4)


# -- looking ----------------------------------------------------------------------------------------------------------
def test_status_shows_a_failed_job_and_ends_with_0(motionq: Command, queue: MotionQueue) -> None:
    """`status` answers 0 whatever the state; the page has the failure and the timeline, and no query string."""
    job = queue.submit(image=PNG, video="https://cdn.example/b.mp4?X-Amz-Signature=secret", labels={"a": "b"})
    fail(queue, job.id)
    answer = motionq("status", job.id)
    assert (answer.code, answer.err) == (0, "")
    lines = [re.sub(r"  +", "  ", line) for line in answer.out.splitlines()]
    assert lines[:4] == [
        f"job  {job.id}",
        "state  failed",
        "image  astronaut.png (image/png, 791,555 bytes)",
        "video  https://cdn.example/b.mp4?…",
    ]
    assert "failure  invalid_media: 2 s video" in lines
    assert "charged  no" in lines
    assert lines[-4] == "AT  AFTER  STATE  STEP  WORKER  NOTE"
    assert [line.split("  ")[2:4] for line in lines[-3:]] == [
        *(["queued", "submitted"], ["uploading", "upload"], ["failed", "upload"])
    ]
    as_json = motionq("status", job.id, "--json")
    assert "secret" not in as_json.out
    assert as_json.jsons[0] == queue.get(job.id).to_json()


def test_status_of_several_jobs_prints_those_found(motionq: Command, submitted: Callable[[], Job]) -> None:
    """A job that does not exist costs exit code 3 and one line, not the others' answers."""
    one, two = submitted(), submitted()
    answer = motionq("status", one.id, "no-such-job", two.id)
    assert (answer.code, answer.err) == (3, "motionq: no job no-such-job\n")
    assert [line.split()[1] for line in answer.out.splitlines() if line.startswith("job ")] == [one.id, two.id]
    as_json = motionq("status", "no-such-job", "--json")
    assert as_json.code == 3
    assert (as_json.error["kind"], as_json.error["value"]) == ("not_found", "no-such-job")


def test_list_filters(motionq: Command, queue: MotionQueue) -> None:
    """`list` shows the newest first, and each filter narrows it; an unknown state is refused, nothing found is 0."""
    jobs = [queue.submit(image=PNG, video=MP4, tenant=f"t{n}", labels={"n": str(n)}) for n in range(3)]
    buy(queue, jobs[0].id)
    everything = motionq("list")
    assert everything.code == 0
    rows = [line.split() for line in everything.out.splitlines()]
    assert rows[0] == ["JOB", "STATE", "AGE", "TOOK", "LEFT", "TENANT", "LABELS", "TASK", "OUTCOME"]
    assert [row[0] for row in rows[1:]] == [job.id for job in reversed(jobs)]
    for args, found in (
        (["--state", "running"], [0]),
        (["--state", "running", "--state", "queued", "--limit", "2"], [2, 1]),
        (["--label", "n=1"], [1]),
        (["--tenant", "t2", "--since", "1h"], [2]),
        (["--task", f"task-{jobs[0].id}"], [0]),
        (["--since", "2999-01-01T00:00:00Z"], []),
    ):
        answer = motionq("list", *args, "--json")
        assert (answer.code, [job["id"] for job in answer.jsons]) == (0, [jobs[n].id for n in found])
    refused = motionq("list", "--state", "done", "--json")
    assert (refused.code, refused.error["kind"], refused.error["field"]) == (2, "usage", "state")


# -- wait -------------------------------------------------------------------------------------------------------------
def test_wait_says_how_jobs_ended(motionq: Command, queue: MotionQueue, submitted: Callable[[], Job]) -> None:
    """`wait` prints one line for each job, and ends with 1 if one failed, 0 if all succeeded."""
    good = submitted()
    succeed(queue, good.id)
    bad = submitted()
    fail(queue, bad.id)
    both = motionq("wait", good.id, bad.id)
    assert both.code == 1
    assert sorted(both.out.splitlines()) == sorted(
        [f"{good.id}  succeeded  /results/{good.id}.mp4", f"{bad.id}  failed  invalid_media: 2 s video"]
    )
    alone = motionq("wait", good.id, "--json")
    assert alone.code == 0
    assert alone.jsons == [queue.get(good.id).to_json()]


def test_wait_follows_every_change_of_state(motionq: Command, queue: MotionQueue, submitted: Callable[[], Job]) -> None:
    """Without a terminal each new state is one line on stderr, while it happens."""
    job = submitted()
    process = motionq.start("wait", "--all", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stderr is not None
    with process:
        assert process.stderr.readline().startswith(f"motionq: {job.id} queued, ".encode())
        buy(queue, job.id)
        seen = b""
        while f"{job.id} running, ".encode() not in seen:
            seen = process.stderr.readline()
            assert seen
        refund(queue, job.id)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert out.decode() == f"{job.id}  failed  generation_failed: no person found\n"


def test_a_time_out_ends_the_waiting_only(motionq: Command, queue: MotionQueue, submitted: Callable[[], Job]) -> None:
    """A job that is not done in time is exit code 4, and goes on; with a missing job it is 3."""
    job = submitted()
    answer = motionq("wait", job.id, "--timeout", "0.1s")
    assert (answer.code, answer.out) == (4, "")
    assert answer.err.endswith(f"motionq: job {job.id} is not done after 0 s; it goes on\n")
    assert queue.get(job.id).state is State.QUEUED
    mixed = motionq("wait", job.id, "gone", "--timeout", "0", "--json")
    assert mixed.code == 3
    kinds = [line["error"]["kind"] for line in mixed.jsons if isinstance(line["error"], dict)]
    assert kinds == ["not_found", "timeout"]


@pytest.mark.parametrize("args", [["wait"], ["wait", "x", "--all"], ["wait", "x", "--timeout", "soon"], ["status"]])
def test_wrong_usage(motionq: Command, args: list[str]) -> None:
    """Wrong usage is one line and exit code 2."""
    answer = motionq(*args)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.count("\n") == 1


def test_ctrl_c_leaves_the_job(motionq: Command, queue: MotionQueue, submitted: Callable[[], Job]) -> None:
    """Ctrl+C ends the command with 130 and the ID of the job, which goes on."""
    job = submitted()
    process = motionq.start("wait", job.id, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stderr is not None
    with process:
        assert process.stderr.readline().startswith(f"motionq: {job.id} queued".encode())
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, b"")
    assert err.decode() == f"motionq: interrupted, the job goes on: motionq wait {job.id}\n"
    assert queue.get(job.id).state is State.QUEUED


def test_the_live_view_is_gone_when_the_job_has_ended(
    motionq: Command, queue: MotionQueue, submitted: Callable[[], Job]
) -> None:
    """On a terminal `wait` draws a table on stderr and erases it; stdout has the result alone."""
    job = submitted()
    ours, theirs = pty.openpty()
    screen = Screen(ours)
    try:
        process = motionq.start("wait", job.id, stdout=subprocess.PIPE, stderr=theirs)
        os.close(theirs)
        with process:
            eventually(lambda: job.id in screen.text and "queued" in screen.text, timeout=30)
            fail(queue, job.id)
            out, _ = process.communicate(timeout=30)
        screen.ended()
    finally:
        os.close(ours)
    assert (process.returncode, out.decode()) == (1, f"{job.id}  failed  invalid_media: 2 s video\n")
    assert "JOB" in screen.text
    after = screen.text.rpartition("queued")[2]
    assert "\x1b[2K" in after
    assert job.id not in after


# -- the rest ---------------------------------------------------------------------------------------------------------
def test_a_reader_that_goes_away_is_no_fault(
    motionq: Command, queue: MotionQueue, submitted: Callable[[], Job]
) -> None:
    """When nobody reads stdout any more the verb does the rest of its work, in silence."""
    jobs = [submitted() for _ in range(3)]
    read_end, write_end = os.pipe()
    os.close(read_end)
    process = motionq.start("cancel", *(job.id for job in jobs), stdout=write_end, stderr=subprocess.PIPE)
    os.close(write_end)
    with process:
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, b"")
    assert {queue.get(job.id).state for job in jobs} == {State.CANCELLED}


def test_help_teaches(motionq: Command) -> None:
    """The help lists the verbs that exist and no others; each verb's help has examples and exit codes."""
    bare = motionq("--help")
    assert bare.code == 0
    assert re.findall(r"^│ (\w+) {2,}\S", bare.out, flags=re.MULTILINE) == [
        "submit",
        "status",
        "wait",
        "list",
        "cancel",
        "replay",
        "attach",
        "gate",
    ]
    for verb in ("submit", "status", "wait", "list", "cancel", "replay", "attach", "gate"):
        answer = motionq(verb, "--help")
        assert (answer.code, answer.err) == (0, "")
        assert f"motionq {verb}" in answer.out.partition("Examples:")[2]
        assert "Exit codes: 0 " in answer.out
