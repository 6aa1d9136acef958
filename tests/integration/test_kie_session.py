"""Free calls on the wire: kept connections, repetition, limits, time, TLS, proxies, forks."""

from __future__ import annotations

import io
import itertools
import json
import os
import signal
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from motionq_worker.kie.account import USER_AGENT, KieAccount
from motionq_worker.kie.client import KieClient
from motionq_worker.kie.errors import KeyRefused, KieFault, Unavailable
from support.wire import (
    Behaviour,
    Server,
    Start,
    drip,
    http,
    localhost_tls,
    read_request,
    relay,
    reset,
    says,
    servers,
    use_proxy,
)

TASK = "0123456789abcdef0123456789abcdef"
SEVEN = b'{"code":200,"msg":"success","data":7}'
STORED = b'{"code":200,"msg":"success","data":{"downloadUrl":"https://f.example/a.png","fileSize":%d}}'
LARGE = 30_000_000  # bytes, more than the sockets between two processes take up unread

Open = Callable[..., KieClient]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start servers that end with the test."""
    with servers() as start_one:
        yield start_one


@pytest.fixture
def connect(start: Start) -> Iterator[Open]:
    """Clients that are closed before the servers."""
    clients: list[KieClient] = []

    def connect_one(url: str, *, connect_timeout: float = 5.0, read_timeout: float = 5.0) -> KieClient:
        clients.append(KieClient(KieAccount(url, url, SecretStr("sk-17"), connect_timeout, read_timeout)))
        return clients[-1]

    yield connect_one
    for client in clients:
        client.close()


def upload(client: KieClient, size: int = 10) -> int:
    return client.upload(
        io.BytesIO(bytes(size)), size=size, file_name="a.png", upload_path="motionq", mime="image/png"
    ).size


def talking(start: Start, reply: Callable[[bytes], bytes], **options: object) -> Server:
    """A server that keeps connections and answers each request; an empty reply hangs up."""

    def behave(conn: socket.socket) -> None:
        while request := read_request(conn):
            server.requests.append(request)
            if not (answer := reply(request)):
                break
            conn.sendall(answer)

    server: Server = start(behave, reads=False, **options)
    return server


def answering(start: Start, *answers: bytes, **options: object) -> Server:
    """A server that keeps connections: each request gets the next answer, the last one for ever."""
    supply = itertools.chain(answers, itertools.repeat(answers[-1]))
    return talking(start, lambda _: next(supply), **options)


# ---- kept connections ----


def test_free_calls_share_a_connection_until_it_is_closed(start: Start, connect: Open) -> None:
    """Three calls, one of them with a file, are one connection; `close` ends it."""
    server = answering(start, http(SEVEN), http(STORED % 10), http(SEVEN))
    client = connect(server.url)
    assert (client.credits(), upload(client), client.credits()) == (7.0, 10, 7.0)
    assert (server.connections, len(server.requests)) == (1, 3)
    assert not server.served.acquire(blocking=False)
    client.close()
    assert server.served.acquire(timeout=10)


def test_a_free_call_carries_the_key_and_little_else(start: Start, connect: Open) -> None:
    """The exact request."""
    server = answering(start, http(SEVEN))
    connect(server.url + "/prefix/").credits()
    line, *headers = server.requests[0].decode().rstrip().split("\r\n")
    assert line == "GET /prefix/api/v1/chat/credit HTTP/1.1"
    assert dict(header.split(": ", 1) for header in headers) == {
        "Host": f"127.0.0.1:{server.port}",
        "Authorization": "Bearer sk-17",
        "User-Agent": USER_AGENT,
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "Connection": "keep-alive",
    }


def test_cookies_are_not_kept(start: Start, connect: Open) -> None:
    """One account's session never carries what the vendor said to an earlier call."""
    server = answering(start, http(SEVEN, "200 OK", "Set-Cookie: a=b; Path=/"))
    client = connect(server.url)
    client.credits()
    client.credits()
    assert [b"cookie" in request.lower() for request in server.requests] == [False, False]


def test_a_netrc_does_not_replace_the_key(
    start: Start, connect: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logins of the machine's user are not for the vendor."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server = answering(start, http(SEVEN))
    connect(server.url).credits()
    assert b"Authorization: Bearer sk-17\r\n" in server.requests[0]


def test_eight_threads_share_one_client(start: Start, connect: Open) -> None:
    """Nothing is mixed up or lost, and no thread opens a connection per call."""

    def reply(request: bytes) -> bytes:
        task = request.split(b"taskId=")[1].split(b" ")[0].decode()
        data = {"taskId": task, "state": f"state of {task}"}
        return http(json.dumps({"code": 200, "msg": "success", "data": data}).encode())

    def look(task: str) -> None:
        seen.extend((task, client.read(task).state) for _ in range(20))

    server = talking(start, reply)
    client, seen = connect(server.url), list[tuple[str, str]]()
    threads = [threading.Thread(target=look, args=(f"task{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == sorted((f"task{n}", f"state of task{n}") for n in range(8) for _ in range(20))
    assert server.connections <= 8


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system can't fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_child_has_connections_of_its_own(start: Start, connect: Open) -> None:
    """Parent and child never share one, and the child's end does not close the parent's."""
    server = answering(start, http(SEVEN))
    client = connect(server.url)
    client.credits()
    child = os.fork()
    if child == 0:
        signal.alarm(15)  # a child that waits for ever ends as a failure
        good = False
        try:
            good = client.credits() == 7.0
            client.close()
        finally:
            os._exit(0 if good else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert server.connections == 2
    assert client.credits() == 7.0
    assert (server.connections, len(server.requests)) == (2, 3)


# ---- repetition ----


@pytest.mark.parametrize("farewell", [lambda _: None, reset])
def test_a_small_call_is_repeated_once_when_the_vendor_hung_up(
    start: Start, connect: Open, farewell: Behaviour
) -> None:
    """The vendor drops a kept connection just as it is used: a second one gets the answer."""

    def behave(conn: socket.socket) -> None:
        for place in range(2):
            if not (request := read_request(conn)):
                return
            server.requests.append(request)
            if (server.connections, place) == (1, 1):
                farewell(conn)
                return
            conn.sendall(http(SEVEN))

    server = start(behave, reads=False)
    client = connect(server.url)
    assert (client.credits(), client.credits()) == (7.0, 7.0)
    assert (server.connections, len(server.requests)) == (2, 3)


def test_a_vendor_that_always_hangs_up_is_unavailable(start: Start, connect: Open) -> None:
    """Two requests, then the caller decides."""
    server = answering(start, b"")
    with pytest.raises(Unavailable):
        connect(server.url).credits()
    assert len(server.requests) == 2


def test_an_upload_is_never_repeated(start: Start, connect: Open) -> None:
    """The vendor hangs up after the form, on a kept connection or a fresh one: the caller decides."""
    server = answering(start, http(SEVEN), b"")
    client = connect(server.url)
    client.credits()
    for sent in (2, 3):
        with pytest.raises(Unavailable):
            upload(client)
        assert len(server.requests) == sent


# ---- answers ----


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n" + SEVEN,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(SEVEN), SEVEN),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n" + SEVEN,
        b"SSH-2.0-OpenSSH_9.2\r\n",
        http(SEVEN + b" " * 200_000),
    ],
)
def test_only_a_whole_answer_counts(start: Start, connect: Open, answer: bytes) -> None:
    """Cut, garbled or oversized: no balance is read out of it, nor is a file believed to be there."""
    server = start(says(answer))
    with pytest.raises(Unavailable):
        connect(server.url).credits()
    server = start(says(answer.replace(SEVEN, STORED % 10)))
    with pytest.raises(Unavailable):
        upload(connect(server.url))


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Again", "308 For ever"])
def test_a_redirect_without_an_end_is_neither_followed_nor_read(start: Start, connect: Open, status: str) -> None:
    """The key goes nowhere else, and the body of the redirect meets the limit of every answer."""

    def pour(conn: socket.socket) -> None:
        conn.sendall(f"HTTP/1.1 {status}\r\nLocation: {other.url}\r\n\r\n".encode())
        while True:
            conn.sendall(bytes(65536))

    other = start(says(http(SEVEN)))
    server = start(pour)
    client = connect(server.url)
    with pytest.raises(Unavailable, match="longer than 131072 bytes"):
        client.credits()
    with pytest.raises(Unavailable, match="longer than 131072 bytes"):
        upload(client)
    assert (len(server.requests), other.connections) == (2, 0)


def test_the_key_is_in_no_error(start: Start, connect: Open) -> None:
    """Neither in the words of a fault nor anywhere in its traceback, where addresses don't appear either."""
    refused = answering(start, http(b'{"code":401,"msg":"Invalid key sk-17","data":null}'))
    hangs_up, gone = answering(start, b""), "http://127.0.0.1:9"
    with pytest.raises(KeyRefused) as caught:
        connect(refused.url).credits()
    assert caught.value.message == "Invalid key …"
    for url in (refused.url, hangs_up.url, gone):
        with pytest.raises(KieFault) as caught:
            connect(url).read(TASK)
        text = "".join(traceback.format_exception(caught.value))
        assert (text.count("sk-17"), text.count(TASK)) == (0, 0)


# ---- time ----


def test_a_silent_server_is_asked_once(start: Start, connect: Open) -> None:
    """A read time-out is not repeated: it has cost its time."""
    server = start(lambda _: server.released.wait(10) and None)
    begun = time.monotonic()
    with pytest.raises(Unavailable, match="timed out"):
        connect(server.url, read_timeout=0.3).credits()
    assert 0.3 <= time.monotonic() - begun < 1.3
    assert (server.connections, len(server.requests)) == (1, 1)


@pytest.mark.parametrize(
    "behaviour",
    [
        drip(b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n", b" "),
        drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        drip(b"HTTP/1.1 200 OK\r\n\r\n", b" "),
    ],
)
def test_a_dripping_answer_meets_a_deadline(start: Start, connect: Open, behaviour: Behaviour) -> None:
    """The read time-out bounds the body as a whole, not the pause between two bytes."""
    server = start(behaviour)
    begun = time.monotonic()
    with pytest.raises(Unavailable, match="timed out"):
        connect(server.url, read_timeout=0.5).credits()
    assert 0.5 <= time.monotonic() - begun < 1.5


def test_an_upload_that_nobody_takes_ends(start: Start, connect: Open) -> None:
    """A stall of the line longer than the read time-out is Unavailable."""
    server = start(lambda _: server.released.wait(10) and None, reads=False)
    begun = time.monotonic()
    with pytest.raises(Unavailable, match="timed out"):
        upload(connect(server.url, connect_timeout=0.1, read_timeout=0.5), LARGE)
    assert 0.5 <= time.monotonic() - begun < 2


def test_an_upload_outlives_a_pause_beyond_the_connect_timeout(start: Start, connect: Open) -> None:
    """A line that stalls for a while is slow, not dead: only the read time-out counts while sending."""

    def pause(conn: socket.socket) -> None:
        server.released.wait(0.6)
        read_request(conn)
        conn.sendall(http(STORED % LARGE))

    server = start(pause, reads=False)
    assert upload(connect(server.url, connect_timeout=0.2), LARGE) == LARGE


# ---- TLS and proxies ----


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's TLS for the name "localhost", trusted by this process."""
    return localhost_tls(tmp_path, monkeypatch)


def test_free_calls_over_tls(start: Start, connect: Open, certificate: ssl.SSLContext) -> None:
    """The certificates that a purchase trusts, beside the packaged ones; the connection is kept."""
    server = answering(start, http(SEVEN), http(STORED % 10), tls=certificate)
    client = connect(f"https://localhost:{server.port}")
    assert (client.credits(), upload(client)) == (7.0, 10)
    assert server.connections == 1


@pytest.mark.parametrize("trusted", [True, False])
def test_a_wrong_certificate_ends_every_free_call(
    start: Start, connect: Open, certificate: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, trusted: bool
) -> None:
    """Another name, or an unknown issuer: neither the key nor a file is shown to that server."""
    server = answering(start, http(SEVEN), tls=certificate)
    if not trusted:
        monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    client = connect(f"https://{'127.0.0.1' if trusted else 'localhost'}:{server.port}")
    for call in (client.credits, lambda: upload(client)):
        with pytest.raises(Unavailable, match="certificate verify failed"):
            call()
    assert server.requests == []


def test_free_calls_through_a_proxy(
    start: Start, connect: Open, certificate: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy of the environment gets its login and the vendor's name, and never sees the key."""
    vendor = answering(start, http(SEVEN), http(STORED % 10), tls=certificate)
    proxy = start(relay(vendor.port))
    use_proxy(monkeypatch, f"http://me:p%40ss@127.0.0.1:{proxy.port}")
    client = connect(f"https://localhost:{vendor.port}")
    assert (client.credits(), upload(client)) == (7.0, 10)
    client.close()
    (asked,) = proxy.requests
    assert asked.startswith(f"CONNECT localhost:{vendor.port} HTTP/1.".encode())
    assert b"Proxy-Authorization: Basic bWU6cEBzcw==\r\n" in asked
    assert b"sk-17" not in asked


def test_plain_http_never_goes_through_a_proxy(start: Start, connect: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in on this machine is reached directly, whatever the environment says."""
    server = answering(start, http(SEVEN))
    use_proxy(monkeypatch, "http://127.0.0.1:9")
    assert connect(server.url).credits() == 7.0
