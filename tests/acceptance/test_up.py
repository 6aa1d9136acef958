"""`motionq up`: ready, supervised, and gone without a trace."""

from __future__ import annotations

import json
import os
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from motionq import MotionQueue, State
from motionq.contract.keys import Keys
from motionq_ops.redis_server import RedisServer, free_port
from support import IMAGE, VIDEO, eventually
from support.local_stack import Up, gone, living, motionq, quickly, up

PROMISED = 10.0  # seconds in which a signal ends everything


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A stack with two workers and Flower, which tests may hurt but not end."""
    home = tmp_path_factory.mktemp("up")
    with up(home, "--sandbox", "--speed=20", "--workers=2", f"--flower-port={free_port()}") as running:
        yield running


def _heard_of(stack: Up, worker: str) -> int:
    """The last sign of life of the worker whose name begins so, in ms; 0 while nobody answers."""
    with Redis.from_url(stack.addresses["redis_url"], decode_responses=True) as redis:
        rows = redis.zrange(Keys().workers, 0, -1, withscores=True)
    return max((int(score) for name, score in rows if name.startswith(f"{worker}@")), default=0)


def test_ready_means_that_everything_answers(stack: Up) -> None:
    """After "motionq: ready" server, sandbox, workers, Flower and receiver answer where stack.json says."""
    addresses = stack.addresses
    assert {path: _status(f"{addresses[name]}{path}") for name, path in _PAGES} == {path: 200 for _, path in _PAGES}
    assert _heard_of(stack, "w1") > 0
    assert _heard_of(stack, "w2") > 0
    assert addresses["pid"] == stack.process.pid
    assert addresses["namespace"] == "motionq"


_PAGES = (
    ("flower_url", "/healthcheck"),
    ("flower_url", "/tasks"),
    ("sandbox_url", "/sandbox/ledger?summary=1"),
    ("callback_url", "/healthz"),
)


def _status(url: str) -> int:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return int(answer.status)


def test_flower_changes_nothing(stack: Up) -> None:
    """Flower's API is closed: a page in somebody's browser can't stop a worker, start a task, or read of any."""
    request = urllib.request.Request(f"{stack.addresses['flower_url']}/api/worker/shutdown/w1", b"")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)
    refused.value.close()
    assert refused.value.code == 401


def test_commands_find_the_stack(stack: Up) -> None:
    """Another command on this machine needs no address: it reads where the stack listens."""
    listed = stack.command("list", "--json")
    assert (listed.returncode, listed.stderr) == (0, "motionq: no job matches\n")


def test_a_second_stack_is_refused(stack: Up) -> None:
    """A second `up` over the same data says so in one line, exits 1, and leaves the first one alone."""
    before = stack.addresses
    second = quickly(stack.home, "up", "--sandbox", "--data-dir", str(stack.data))
    assert second.returncode == 1
    assert second.stdout == ""
    assert second.stderr == (
        f"motionq: a stack runs already over {stack.data} (process {stack.process.pid}): "
        "end it first, or take another --data-dir\n"
    )
    assert stack.addresses == before


def test_a_killed_worker_starts_again(stack: Up) -> None:
    """A worker that dies is said in one line and works again seconds later."""
    killed, last_sign = stack.child("w1@"), _heard_of(stack, "w1")
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: "motionq: w1 ended (killed by signal 9); it starts again in 0.5 s\n" in stack.said())
    eventually(lambda: living([killed]) == set() and _heard_of(stack, "w1") > last_sign + 2000, timeout=30)
    assert stack.child("w1@") != killed


def test_a_killed_server_starts_again_with_its_records(stack: Up) -> None:
    """The queue's server comes back with what it had, and the workers find it again."""
    with Redis.from_url(stack.addresses["redis_url"]) as redis:
        redis.set("kept", "yes")
    os.kill(stack.child("server.sock"), signal.SIGKILL)
    eventually(lambda: "motionq: redis runs again\n" in stack.said(), timeout=30)
    last_sign = _heard_of(stack, "w2")
    eventually(lambda: _heard_of(stack, "w2") > last_sign, timeout=30)
    with Redis.from_url(stack.addresses["redis_url"]) as redis:
        assert redis.get("kept") == b"yes"


def test_a_killed_sandbox_comes_back_at_its_address(stack: Up) -> None:
    """The workers know the sandbox's address from their start, so it keeps it."""
    os.kill(stack.child("motionq_ops.sandbox"), signal.SIGKILL)
    eventually(lambda: "motionq: sandbox runs again\n" in stack.said(), timeout=30)
    url = f"{stack.addresses['sandbox_url']}/sandbox/ledger?summary=1"
    eventually(lambda: _answers(url), timeout=30)


def _answers(url: str) -> bool:
    try:
        return _status(url) == 200
    except OSError:
        return False


def test_the_sandbox_calls_the_receiver_back(stack: Up) -> None:
    """A job of the local stack is bought with a callback address, and the signed callback is taken in."""
    job = _submitted(stack)
    with MotionQueue(redis_url=stack.addresses["redis_url"]) as queue:
        assert queue.wait(job, timeout=60).state is State.SUCCEEDED
    ours = [line for line in stack.ledger("callback") if f"/callbacks/kie/{job}/" in line["callBackUrl"]]
    assert [line["http"] for line in ours] == [200]
    assert ours[0]["callBackUrl"].startswith(stack.addresses["callback_url"])
    assert ours[0]["callBackUrl"].rpartition("/")[2] not in (stack.data / "logs" / "callback.log").read_text()


def test_a_killed_receiver_comes_back_at_its_address(stack: Up) -> None:
    """The workers have told its address to the vendor, so it keeps it."""
    os.kill(stack.child("motionq_worker.callback"), signal.SIGKILL)
    eventually(lambda: "motionq: callback runs again\n" in stack.said(), timeout=30)
    eventually(lambda: _answers(f"{stack.addresses['callback_url']}/healthz"), timeout=30)


def test_a_public_address_gets_a_receiver_and_no_address_none(tmp_path: Path) -> None:
    """Without the sandbox the receiver starts where kie.ai can reach it; else one line says why it does not."""
    (tmp_path / ".env").write_text("KIE_API_KEY=not-a-key\n")
    with up(tmp_path, "--workers=0", "--flower-port=0") as stack:
        assert stack.addresses["callback_url"] is None
        reason = "MOTIONQ_PUBLIC_BASE_URL is not set, so kie.ai has no address to call"
        assert f"motionq: no callback receiver: {reason}\n" in stack.said()
    (tmp_path / ".env").write_text("KIE_API_KEY=not-a-key\nPUBLIC_BASE_URL=https://host\n")
    with up(tmp_path, "--workers=0", "--flower-port=0") as stack:
        assert _answers(f"{stack.addresses['callback_url']}/healthz")
    with up(tmp_path, "--workers=0", "--flower-port=0", "--callback-port=0") as stack:
        assert stack.addresses["callback_url"] is None


@pytest.mark.parametrize(
    ("words", "settings", "said"),
    [
        (("--sandbox", "--callback-port={port}"), {}, "--callback-port: {port} is taken (0 leaves"),
        ((), {"MOTIONQ_CALLBACK_PORT": "{port}"}, "--callback-port: {port} is taken, and callbacks to"),
    ],
)
def test_a_port_that_others_were_told_must_be_free(
    tmp_path: Path, words: tuple[str, ...], settings: dict[str, str], said: str
) -> None:
    """One that was asked for, or to which a proxy leads, does not silently become another."""
    public = {"KIE_API_KEY": "not-a-key", "FLOWER_PORT": "0"} | (
        {} if words else {"MOTIONQ_PUBLIC_BASE_URL": "https://host"}
    )
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        given = {name: value.format(port=port) for name, value in settings.items()}
        ended = quickly(tmp_path, "up", *(word.format(port=port) for word in words), **public, **given)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith(f"motionq: {said.format(port=port)}")


def test_ctrl_c_ends_everything_in_time(tmp_path: Path) -> None:
    """Ctrl+C leaves no process within 10 s, even while a worker waits for an answer that does not come."""
    with up(tmp_path, "--sandbox", "--workers=1", f"--flower-port={free_port()}") as stack:
        stack.order_fault({"call": "createTask", "fault": "hang"})
        with MotionQueue(redis_url=stack.addresses["redis_url"]) as queue:
            job = _submitted(stack)
            eventually(lambda: queue.get(job).state is State.SUBMITTING, timeout=30)
        children = stack.children()
        assert stack.interrupt() < PROMISED
        assert stack.process.returncode == 0
        assert living(children) == set()
        assert not (stack.data / "stack.json").exists()


def _submitted(stack: Up) -> str:
    said = stack.command("submit", "--image", str(IMAGE), "--video", str(VIDEO), "--json")
    return str(json.loads(said.stdout)["id"])


def test_a_planned_stop_disarms(tmp_path: Path) -> None:
    """A job whose purchase is on record but was not sent goes back to its line: the next start may buy it."""
    with up(tmp_path, "--sandbox", "--workers=1", "--flower-port=0") as stack:
        with MotionQueue(redis_url=stack.addresses["redis_url"]) as queue:
            job = _submitted(stack)
            eventually(lambda: queue.get(job).state is State.ARMED, timeout=30)
        stack.interrupt(signal.SIGTERM)
        data = stack.data
    with RedisServer(data / "redis-sandbox") as server, MotionQueue(redis_url=server.url) as queue:
        stopped = queue.get(job)
    assert stopped.state is State.READY
    assert stopped.events[-1].note == "planned stop"
    assert stopped.attempts == 0


def test_a_killed_stack_leaves_nothing_behind(tmp_path: Path) -> None:
    """SIGKILL of `up` takes all children along, and what it left on disk is no obstacle to the next start."""
    with up(tmp_path, "--sandbox", "--workers=1", f"--flower-port={free_port()}") as stack:
        children = stack.children()
        assert len(children) >= 4
        stack.interrupt(signal.SIGKILL)
        gone(children, timeout=5)
        assert (stack.data / "stack.json").exists()
    with up(tmp_path, "--sandbox", "--workers=0", "--flower-port=0") as again:
        assert again.addresses["pid"] == again.process.pid


def test_jobs_go_where_the_stack_looks_and_those_for_the_sandbox_lie_apart(tmp_path: Path) -> None:
    """A command that only finds the stack submits into its namespace, and leaves the files in its staging storage.

    What was submitted to try things out is not there when the stack later runs with a real key.
    """
    own = {"MOTIONQ_NAMESPACE": "own", "MOTIONQ_STAGING_URL": str(tmp_path / "files")}
    with up(tmp_path, "--sandbox", "--workers=0", "--flower-port=0", **own) as stack:
        with MotionQueue(redis_url=stack.addresses["redis_url"], namespace="own") as queue:
            job = _submitted(stack)
            assert [found.id for found in queue.list()] == [job]
        listed = stack.command("list", "--json")
        assert [json.loads(line)["id"] for line in listed.stdout.splitlines()] == [job]
        assert len([path for path in (tmp_path / "files").rglob("*") if path.is_file()]) == 2
        sandbox_server = stack.addresses["redis_url"]
    (tmp_path / ".env").write_text("KIE_API_KEY=not-a-key\n")
    with up(tmp_path, "--workers=0", "--flower-port=0") as stack:
        assert stack.addresses["redis_url"] != sandbox_server
        for namespace in ("motionq", "own"):
            with MotionQueue(redis_url=stack.addresses["redis_url"], namespace=namespace) as queue:
                assert queue.list() == []


@pytest.mark.parametrize(
    ("words", "settings", "code", "line"),
    [
        (("up",), {}, 2, "KIE_API_KEY is not set (`motionq up --sandbox` needs none, and no money)"),
        (("up", "--speed=2"), {}, 2, "Invalid value for --speed: only the sandbox has a clock to turn: add --sandbox"),
        (("up", "--sandbox"), {"MOTIONQ_SERVER_BINARY": "no-such-program"}, 2, "MOTIONQ_SERVER_BINARY: "),
        (("up", "--sandbox"), {"MOTIONQ_SUBMIT_RAET": "1/1s"}, 2, "MOTIONQ_SUBMIT_RAET is no setting of motionq: did"),
        (("up", "--sandbox"), {"REDIS_URL": "redis://127.0.0.1:1/0"}, 5, "the queue's server can't be reached: "),
    ],
)
def test_what_can_not_start_says_why(
    tmp_path: Path, words: tuple[str, ...], settings: dict[str, str], code: int, line: str
) -> None:
    """One clear line on stderr, nothing on stdout, the right exit code."""
    ended = quickly(tmp_path, *words, FLOWER_PORT="0", MOTIONQ_CALLBACK_PORT="0", **settings)
    assert ended.stdout == ""
    assert ended.stderr.splitlines()[-1].startswith(f"motionq: {line}")
    assert ended.returncode == code


def test_a_child_that_never_starts_ends_the_stack(tmp_path: Path) -> None:
    """A worker whose settings are wrong is not restarted for ever: `up` gives up and names the reason."""
    package = tmp_path / "motionq_worker"  # Celery looks in the folder where it runs first
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "app.py").write_text("raise SystemExit('the worker is broken')\n")
    options = ("--flower-port=0", "--callback-port=0", "--data-dir", str(tmp_path / "data"))
    ended = motionq(tmp_path, "up", "--sandbox", "--workers=1", *options)
    assert ended.returncode == 1
    assert "motionq: w1 does not start: the worker is broken (its log: " in ended.stderr
