"""The callback receiver as a process, over real HTTP, on a real server with real records."""

from __future__ import annotations

import asyncio
import http.client
import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis.exceptions import OutOfMemoryError
from ulid import ULID

from motionq.contract.record import Record
from motionq_ops.plan import without_settings
from motionq_ops.redis_server import RedisServer
from support.life import Life, life
from support.receiver import ReceiverProcess, callback, signature
from support.waiting import eventually

KEY = "webhook-key"


def settings(url: str, namespace: str, folder: Path, **more: str) -> dict[str, str]:
    named = {"REDIS_URL": url, "MOTIONQ_NAMESPACE": namespace, "MOTIONQ_DATA_DIR": str(folder)}
    return {**without_settings(os.environ), **named, **more}


@pytest.fixture
def jobs(redis_url: str, namespace: str) -> Iterator[Life]:
    with life(redis_url, namespace) as lived:
        yield lived


@pytest.fixture
def receiver(tmp_path: Path, redis_url: str, namespace: str) -> Iterator[ReceiverProcess]:
    """One that takes unsigned calls."""
    with ReceiverProcess(tmp_path, settings(redis_url, namespace, tmp_path)) as running:
        yield running


@contextmanager
def signing(tmp_path: Path, jobs: Life, url: str) -> Iterator[ReceiverProcess]:
    """One that wants signatures."""
    environment = settings(url, jobs.keys.namespace, tmp_path, KIE_WEBHOOK_HMAC_KEY=KEY)
    with ReceiverProcess(tmp_path, environment) as running:
        yield running


def bought(jobs: Life, situation: str = "submit_unknown") -> Record:
    """A new job whose purchase is open."""
    return jobs.reach(situation, str(ULID()).lower())


def candidates(jobs: Life, record: Record) -> list[str | None]:
    """The task that is named for each of its purchases."""
    return [line.candidate for line in jobs.store.get(record.id).purchases]


def waits(jobs: Life) -> int:
    """How many wake-ups lie in the queue."""
    return int(jobs.redis.llen(jobs.keys.queue("start")))


# -- what it does -----------------------------------------------------------------------------------------------------
def test_a_callback_is_on_record_when_it_is_answered(jobs: Life, receiver: ReceiverProcess) -> None:
    """The named task lies on its purchase and in the set that check drains; alarm, state and slot are untouched."""
    job = bought(jobs)
    before = jobs.record_fields(job.id)
    assert receiver.call(job.id, job.nonce, "task-1") == 200
    assert candidates(jobs, job) == ["task-1"]
    assert jobs.redis.zrange(jobs.keys.candidates, 0, -1) == [f"{job.id}:{job.nonce}"]
    after = jobs.record_fields(job.id)
    assert {name for name in before | after if before.get(name) != after.get(name)} == {"purchases"}


def test_a_callback_wakes_a_worker_but_does_not_flood_it(jobs: Life, receiver: ReceiverProcess) -> None:
    """The first callback publishes a wake-up; a hundred more leave a handful in the queue."""
    job = bought(jobs)
    assert receiver.call(job.id, job.nonce, "task-1") == 200
    eventually(lambda: waits(jobs) == 1)
    for _ in range(100):
        assert receiver.call(job.id, job.nonce, "task-1") == 200
    assert waits(jobs) <= 4


def test_one_connection_carries_many_callbacks(jobs: Life, receiver: ReceiverProcess) -> None:
    """HTTP/1.1 keep-alive: the second callback needs no new connection."""
    one, other = bought(jobs), bought(jobs)
    connection = http.client.HTTPConnection(urlsplit(receiver.url).netloc, timeout=30)
    ports = []
    for job in (one, other):
        connection.request("POST", f"/callbacks/kie/{job.id}/{job.nonce}", callback(f"task-{job.id}"))
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b'{"code":200,"msg":"success"}')
        ports.append(connection.sock.getsockname()[1])
    connection.close()
    assert ports[0] == ports[1]
    assert candidates(jobs, one) + candidates(jobs, other) == [f"task-{one.id}", f"task-{other.id}"]


def test_concurrent_callbacks_are_all_stored(jobs: Life, receiver: ReceiverProcess) -> None:
    """Sixty jobs, ten callbacks each, from thirty threads: every answer is 200 and every job has its own task."""
    records = [bought(jobs) for _ in range(60)]
    with ThreadPoolExecutor(30) as threads:
        found = list(threads.map(lambda job: receiver.call(job.id, job.nonce, f"task-{job.id}"), records * 10))
    assert found == [200] * 600
    assert [candidates(jobs, job) for job in records] == [[f"task-{job.id}"] for job in records]


def test_a_callback_for_no_job_is_kept_as_an_orphan(jobs: Life, receiver: ReceiverProcess) -> None:
    """After a loss of data it is the only trace; the list has an end, and the answer is the usual one."""
    lost = str(ULID()).lower()
    assert receiver.call(lost, "ab" * 20, "task-1") == 200
    assert [row.split('"')[1::2] for row in jobs.redis.lrange(jobs.keys.orphans, 0, -1)] == [[lost, "task-1"]]
    with ThreadPoolExecutor(20) as threads:
        found = threads.map(lambda n: receiver.call(lost, f"{n:040x}", f"task-{n}"), range(1100))
        assert set(found) == {200}
    assert jobs.redis.llen(jobs.keys.orphans) == 1000
    assert waits(jobs) == 0


# -- bad input --------------------------------------------------------------------------------------------------------
def test_a_forged_or_unsigned_callback_is_refused(tmp_path: Path, redis_url: str, jobs: Life) -> None:
    """With a key set only its own signatures open the door; a stale one does not."""
    job = bought(jobs)
    with signing(tmp_path, jobs, redis_url) as receiver:
        day_old = signature("task-1", KEY, at=1_700_000_000)
        for headers in ({}, signature("task-1", "another"), signature("task-2", KEY), day_old):
            assert receiver.call(job.id, job.nonce, "task-1", headers) == 401
        assert candidates(jobs, job) == [None]
        assert receiver.call(job.id, job.nonce, "task-1", signature("task-1", KEY)) == 200
    assert candidates(jobs, job) == ["task-1"]


def test_a_replayed_callback_changes_nothing_more(tmp_path: Path, redis_url: str, jobs: Life) -> None:
    """The same signed call a second time leaves the record as it was."""
    job = bought(jobs)
    headers = signature("task-1", KEY)
    with signing(tmp_path, jobs, redis_url) as receiver:
        assert receiver.call(job.id, job.nonce, "task-1", headers) == 200
        before = jobs.record_fields(job.id)
        assert receiver.call(job.id, job.nonce, "task-1", headers) == 200
    assert jobs.record_fields(job.id) == before


def test_the_address_of_one_job_with_the_signature_of_another(tmp_path: Path, redis_url: str, jobs: Life) -> None:
    """The signature covers no address: the other's task is only named for this job, and nothing touches the other."""
    mine, other = bought(jobs), bought(jobs, "running")
    before = jobs.record_fields(other.id)
    with signing(tmp_path, jobs, redis_url) as receiver:
        assert receiver.call(mine.id, mine.nonce, other.task_id, signature(other.task_id, KEY)) == 200
    assert candidates(jobs, mine) == [other.task_id]
    assert jobs.store.get(mine.id).task_id == ""
    assert jobs.store.by_task(other.task_id) == other.id
    assert jobs.record_fields(other.id) == before


def test_an_address_with_another_jobs_nonce_is_an_orphan(jobs: Life, receiver: ReceiverProcess) -> None:
    """The nonce is the capability: job A's ID with job B's nonce opens neither."""
    mine, other = bought(jobs), bought(jobs)
    assert receiver.call(mine.id, other.nonce, "task-1") == 200
    assert candidates(jobs, mine) + candidates(jobs, other) == [None, None]


def test_a_body_without_end_is_cut_off(jobs: Life, receiver: ReceiverProcess) -> None:
    """A sender of megabytes gets 413, or finds its connection closed; either way it is not read on."""
    job = bought(jobs)
    address = urlsplit(receiver.url)
    head = f"POST /callbacks/kie/{job.id}/{job.nonce} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    sent = 0
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=20) as raw:
        raw.sendall(head.encode())
        with suppress(ConnectionError):
            while sent < 400 * 65536:
                raw.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")
                sent += 65536
    assert sent < 400 * 65536  # what it does not read, socket buffers alone hold
    assert candidates(jobs, job) == [None]


def test_garbage_leaves_it_answering(jobs: Life, receiver: ReceiverProcess) -> None:
    """10,000 senseless requests later it is the same process, no larger than it was, and takes a callback in."""
    job = bought(jobs)
    assert receiver.call(job.id, job.nonce, "early") == 200
    rest = _resident(receiver.process.pid)
    answered = asyncio.run(_garbage(receiver.url, 10_000, job))
    assert answered.get(200, 0) == 0
    assert sum(answered.values()) == 10_000
    assert {400, 404, 405, 413} <= answered.keys()
    assert receiver.process.code() is None
    assert _resident(receiver.process.pid) < rest + 40_000_000
    assert receiver.call(job.id, job.nonce, "late") == 200
    assert candidates(jobs, job) == ["late"]
    assert "Traceback" not in receiver.said()
    assert job.nonce not in receiver.said()


async def _garbage(url: str, count: int, job: Record) -> dict[int, int]:
    """How many requests were answered with which status; 0: the connection was closed without an answer."""
    address, found, chance = urlsplit(url), dict[int, int](), random.Random(7)
    turns = iter(range(count))

    async def line() -> None:
        for _ in turns:
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            status = 0
            with suppress(ConnectionError, ValueError, IndexError):
                writer.write(_request(chance, job))
                if writer.can_write_eof():
                    writer.write_eof()
                head = await reader.read(65536)
                status = int(head.split(b" ")[1]) if head else 0
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            found[status] = found.get(status, 0) + 1

    await asyncio.gather(*(line() for _ in range(50)))
    return found


def _request(chance: random.Random, job: Record) -> bytes:
    path = f"/callbacks/kie/{job.id}/{job.nonce}"
    body = chance.choice([b"{}", b"[" * 9000, chance.randbytes(500), b'{"data":{"taskId":7}}', callback("x")[:-3]])
    posted = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"
    kinds = (
        lambda: posted % (path.encode(), len(body), body),
        lambda: posted % (path.encode(), 10**9, body),  # more is announced than may come
        lambda: posted % (f"{path}/x".encode(), len(body), body),
        lambda: posted % (b"/" + path.encode(), len(callback("x")), callback("x")),
        lambda: posted % (path.encode(), 5000, body[:3]),  # and then nothing
        lambda: b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode(),
        lambda: chance.randbytes(chance.randint(1, 3000)),
        lambda: b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        lambda: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + chance.randbytes(500),  # TLS to a plain port
        lambda: b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" % path.encode(),
        lambda: b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" % path.encode(),
    )
    large = (
        lambda: b"POST " + b"/a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        lambda: b"POST / HTTP/1.1\r\n" + b"X-A: b\r\n" * 5000 + b"\r\n",
    )
    return chance.choice(large if chance.random() < 0.02 else kinds)()


def _resident(pid: int) -> int:
    """Bytes of memory it has now."""
    if not Path("/proc/self/status").exists():
        return 0
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


# -- the server behind it ---------------------------------------------------------------------------------------------
def test_a_server_that_is_away_is_said_and_comes_back(tmp_path: Path, namespace: str) -> None:
    """503 while nothing can be stored, so that the vendor repeats; without a restart it stores again afterwards."""
    with ExitStack() as stack:
        server = stack.enter_context(RedisServer(tmp_path / "server"))
        jobs = stack.enter_context(life(server.url, namespace))
        job = bought(jobs)
        receiver = stack.enter_context(ReceiverProcess(tmp_path, settings(server.url, namespace, tmp_path)))
        assert receiver.call(job.id, job.nonce, "task-1") == 200
        server.stop()
        assert receiver.call(job.id, job.nonce, "task-2") == 503
        assert receiver.post("/healthz", b"") == 405  # it answers all the same
        server.start()
        eventually(lambda: receiver.call(job.id, job.nonce, "task-3") == 200)
        assert candidates(jobs, job) == ["task-3"]


def test_a_full_server_still_takes_callbacks(tmp_path: Path, namespace: str) -> None:
    """Where no job could be made any more, a task that was bought is still put on record."""
    with ExitStack() as stack:
        server = stack.enter_context(RedisServer(tmp_path / "server"))
        jobs = stack.enter_context(life(server.url, namespace))
        job = bought(jobs)
        receiver = stack.enter_context(ReceiverProcess(tmp_path, settings(server.url, namespace, tmp_path)))
        jobs.redis.config_set("maxmemory", "1mb")
        try:
            with pytest.raises(OutOfMemoryError):
                jobs.redis.set("one", "more")
            assert receiver.call(job.id, job.nonce, "task-1") == 200
            assert candidates(jobs, job) == ["task-1"]
        finally:
            jobs.redis.config_set("maxmemory", "0")


# -- how it is started ------------------------------------------------------------------------------------------------
def test_the_access_log_shows_no_capability(jobs: Life, receiver: ReceiverProcess) -> None:
    """A bare uvicorn writes access lines; however the address was spoilt, its nonce is not in them."""
    job = bought(jobs)
    good = f"/callbacks/kie/{job.id}/{job.nonce}"
    for path in (good, f"//{good}", f"{good}?{job.nonce}", good.replace("/", "%2F"), good.upper(), f"/x{good}/y"):
        receiver.post(path, b"{}")
    eventually(lambda: receiver.said().count('"POST ') == 6)
    assert f"/callbacks/kie/{job.id}/…" in receiver.said()
    assert job.nonce not in receiver.said().lower()


def test_a_long_path_does_not_fill_the_log(receiver: ReceiverProcess) -> None:
    """Of a path of 40,000 characters the access line holds the first 300."""
    receiver.post("/" + "a" * 40_000, b"{}")
    eventually(lambda: '"POST ' in receiver.said())
    assert f"/{'a' * 299}… HTTP/1.1" in receiver.said()
    assert len(receiver.said()) < 5_000


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"KIE_WEBHOOK_HMAC_KEY_FILE": "/dev/null"}, "motionq: KIE_WEBHOOK_HMAC_KEY is empty: "),
        ({"MOTIONQ_CALBACK_PORT": "1"}, "motionq: MOTIONQ_CALBACK_PORT is no setting of motionq: did you mean "),
        ({"REDIS_URL": ""}, "motionq: no queue server is known: "),
    ],
)
def test_wrong_settings_are_one_line(tmp_path: Path, more: dict[str, str], line: str) -> None:
    """Exit 2 and the reason, before anything listens; an empty key never means that everybody may call."""
    ended = subprocess.run(
        [sys.executable, "-m", "uvicorn", "motionq_worker.callback:app", "--port=0"],
        env=settings("redis://127.0.0.1:1", "motionq", tmp_path, **more),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith(line)
    assert len(ended.stderr.splitlines()) == 1
