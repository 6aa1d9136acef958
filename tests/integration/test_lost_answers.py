"""The answer to `submit` is lost: the caller is told which jobs may be on record, and none is made twice."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from motionq import MotionQueue, QueueUnavailable, Request, Settings
from motionq_ops.redis_server import RedisServer
from support.command import Command
from support.wire import Behaviour, servers

ADDRESSES = {"image": "https://host/hero.png", "video": "https://host/dance.mp4"}


def _loses_answers_of_scripts(path: str) -> Behaviour:
    """To the server and back; whoever has called a script gets no answer, and its connection is cut."""

    def behave(conn: socket.socket) -> None:
        with socket.socket(socket.AF_UNIX) as upstream:
            upstream.connect(path)
            called = threading.Event()
            back = threading.Thread(target=_answers, args=(upstream, conn, called))
            back.start()
            with suppress(OSError):
                while data := conn.recv(65536):
                    if b"EVALSHA" in data:
                        called.set()
                    upstream.sendall(data)
            with suppress(OSError):
                upstream.shutdown(socket.SHUT_RDWR)
            back.join(10)

    return behave


def _answers(upstream: socket.socket, conn: socket.socket, called: threading.Event) -> None:
    with suppress(OSError):
        while data := upstream.recv(65536):
            if called.is_set():
                conn.shutdown(socket.SHUT_RDWR)
                return
            conn.sendall(data)


@pytest.fixture
def lossy(server: RedisServer, namespace: str) -> Iterator[str]:
    """An address of the shared server behind which answers to scripts are lost; the scripts themselves are known."""
    with MotionQueue(settings=Settings(redis_url=server.url, namespace=namespace)) as queue:
        queue.submit(**ADDRESSES, tenant="earlier")
    with servers() as start:
        relay = start(_loses_answers_of_scripts(str(server.socket_path)), reads=False)
        yield f"redis://127.0.0.1:{relay.port}/0"


def test_the_error_names_the_jobs_that_may_be_on_record(lossy: str, namespace: str, queue: MotionQueue) -> None:
    """All of a call, under the IDs of the error, and each once although the client has asked again and again."""
    settings = Settings(redis_url=lossy, namespace=namespace)
    with MotionQueue(settings=settings) as behind, pytest.raises(QueueUnavailable) as caught:
        behind.submit_many([Request(**ADDRESSES), Request(**ADDRESSES)])

    on_record = {job.id for job in queue.list(tenant="default")}
    assert set(caught.value.job_ids) == on_record
    assert len(on_record) == 2
    assert "some of the 2 jobs may have been enqueued" in str(caught.value)


def test_the_command_line_says_where_to_look(lossy: str, namespace: str, queue: MotionQueue, tmp_path: Path) -> None:
    """Exit code 5 with the job's ID, and a word about what a second try may cost."""
    said = Command(tmp_path, lossy, namespace)(
        "submit", "--image", ADDRESSES["image"], "--video", ADDRESSES["video"], "--json"
    )

    (job,) = queue.list(tenant="default")
    assert (said.code, said.error["field"], said.error["value"]) == (5, "job", job.id)
    assert f"`motionq status {job.id}` tells" in str(said.error["message"])


def test_a_server_that_is_away_leaves_no_doubt() -> None:
    """Nothing was sent to it: the error names no job."""
    with MotionQueue(redis_url="redis://127.0.0.1:1") as queue, pytest.raises(QueueUnavailable) as caught:
        queue.submit(**ADDRESSES)
    assert caught.value.job_ids == ()
