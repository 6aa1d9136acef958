"""createTask on the wire: one POST on one fresh connection, and the truth about what may have been bought.

The servers here are raw sockets that misbehave in one exact way each (`support/wire.py`).
"""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from motionq_worker.kie.account import USER_AGENT, KieAccount
from motionq_worker.kie.client import KieClient
from motionq_worker.kie.errors import NotSent, Refusal, Refused, Unknown
from support.wire import Behaviour, Start, drip, http, localhost_tls, relay, reset, says, servers, use_proxy

TASK = "0123456789abcdef0123456789abcdef"
MADE = json.dumps({"code": 200, "msg": "success", "data": {"taskId": TASK, "recordId": TASK}}).encode()
BODY = {"model": "m", "input": {"prompt": "踊れ", "input_urls": ["https://f.example/a?x=1"]}}


@pytest.fixture
def start() -> Iterator[Start]:
    """Start servers that end with the test."""
    with servers() as start_one:
        yield start_one


def client(url: str, *, connect_timeout: float = 5.0, read_timeout: float = 5.0) -> KieClient:
    return KieClient(KieAccount(url, "http://127.0.0.1:9", SecretStr("sk-17"), connect_timeout, read_timeout))


def buy(url: str, **timeouts: float) -> str:
    with client(url, **timeouts).open_purchase_connection() as connection:
        return connection.create_task(BODY)


# ---- the good way ----


def test_one_purchase_is_one_post_on_a_fresh_connection(start: Start) -> None:
    """Two purchases: two connections with one exact POST each."""
    server = start(says(http(MADE)))
    assert buy(server.url + "/prefix/") == TASK
    assert buy(server.url + "/prefix") == TASK
    assert (server.connections, len(server.requests)) == (2, 2)
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    line, *headers = head.decode().split("\r\n")
    assert line == "POST /prefix/api/v1/jobs/createTask HTTP/1.1"
    assert dict(header.split(": ", 1) for header in headers) == {
        "Host": f"127.0.0.1:{server.port}",
        "Authorization": "Bearer sk-17",
        "User-Agent": USER_AGENT,
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "Connection": "close",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
    }
    assert json.loads(body) == BODY


def test_nothing_is_sent_before_the_purchase(start: Start) -> None:
    """An open connection that is closed unused has sent no byte."""
    server = start(lambda _: None)
    client(server.url).open_purchase_connection().close()
    assert server.served.acquire(timeout=10)
    assert server.requests == [b""]


def test_a_connection_buys_once(start: Start) -> None:
    """A second use is a programming error, and nothing more is sent."""
    server = start(says(http(MADE)))
    with client(server.url).open_purchase_connection() as connection:
        assert connection.create_task(BODY) == TASK
        with pytest.raises(RuntimeError, match="one purchase"):
            connection.create_task(BODY)
    assert (server.connections, len(server.requests)) == (1, 1)


@pytest.mark.parametrize(
    "answer",
    [
        http(MADE),
        http(MADE, "500 Internal Server Error"),
        b"HTTP/1.1 200 OK\r\n\r\n" + MADE,
        b"HTTP/1.0 200 OK\r\n\r\n" + MADE,
        b"HTTP/1.1 100 Continue\r\n\r\n" + http(MADE),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(MADE), MADE),
        b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n" + MADE,
        http(MADE, "307 Temporary Redirect", "Location: /elsewhere"),
    ],
)
def test_the_task_id_is_taken_from_every_form_of_answer(start: Start, answer: bytes) -> None:
    """With a length, until the end, in chunks, after 100 Continue, cut behind the object, under any status."""
    server = start(says(answer))
    assert buy(server.url) == TASK
    assert len(server.requests) == 1


def test_a_task_id_is_kept_when_the_end_of_the_answer_never_comes(start: Start) -> None:
    """The whole object is here; a server that keeps the connection open does not turn it into Unknown."""

    def hold(conn: socket.socket) -> None:
        conn.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + MADE)
        server.released.wait(10)

    server = start(hold)
    assert buy(server.url, read_timeout=0.3) == TASK


def test_ipv6(start: Start) -> None:
    """An IPv6 address works, in the Host header too."""
    try:
        server = start(says(http(MADE)), host="::1")
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    assert buy(f"http://[::1]:{server.port}") == TASK
    assert f"Host: [::1]:{server.port}".encode() in server.requests[0]


# ---- refused ----


def test_a_refusal_under_http_200(start: Start) -> None:
    """The vendor's usual way: HTTP 200 and a code in the body; an echoed key is not in the fault."""
    words = {"code": 402, "msg": "Credits insufficient : key sk-17", "data": None}
    server = start(says(http(json.dumps(words).encode())))
    with pytest.raises(Refused) as caught:
        buy(server.url)
    assert (caught.value.refusal, caught.value.code) == (Refusal.NO_CREDITS, 402)
    assert caught.value.message == "Credits insufficient : key …"
    assert len(server.requests) == 1


def test_a_cut_refusal_is_unknown(start: Start) -> None:
    """A refusal counts only when its answer is whole."""
    refusal = b'{"code":402,"msg":"Credits insufficient","data":null}'
    server = start(says(http(refusal).replace(b"Content-Length: ", b"Content-Length: 9")))
    with pytest.raises(Unknown, match="cut"):
        buy(server.url)


# ---- unknown ----


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x00\xff\r\n\r\n",
        http(b""),
        http(b"<html>502 Bad Gateway</html>", "502 Bad Gateway"),
        http(b"<html>hello</html>"),
        http(b"", "204 No Content"),
        http(b"", "408 Request Timeout"),
        http(b"", "524 A Timeout Occurred"),
        http(MADE[:40]),
        http(b'{"code":200,"msg":"success","data":null}'),
        http(b'{"code":408,"msg":"upstream gave nothing"}'),
        http(b'{"code":200,"msg":"' + b"x" * 200_000 + b'"}'),
        http(MADE).replace(MADE, MADE[:40]),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"ff\r\n" + MADE[:40],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n" + MADE,
    ],
)
def test_after_sending_every_other_answer_is_unknown(start: Start, answer: bytes) -> None:
    """Dropped, cut, garbled, oversized, from a gateway: a task may exist, and nothing is sent again."""
    server = start(says(answer))
    with pytest.raises(Unknown):
        buy(server.url)
    assert (server.connections, len(server.requests)) == (1, 1)


@pytest.mark.parametrize("answer", [b"", http(MADE).replace(MADE, MADE[:40])])
def test_a_reset_after_sending_is_unknown(start: Start, answer: bytes) -> None:
    """RST instead of an answer, or in the middle of it."""

    def behave(conn: socket.socket) -> None:
        conn.sendall(answer)
        reset(conn)

    server = start(behave)
    with pytest.raises(Unknown):
        buy(server.url)
    assert (server.connections, len(server.requests)) == (1, 1)


def test_a_cut_answer_leaves_its_task_id_as_candidate(start: Start) -> None:
    """What was seen of a cut answer can be verified later."""
    cut = MADE[: MADE.index(b"recordId")]
    server = start(says(http(MADE).replace(MADE, cut)))
    with pytest.raises(Unknown) as caught:
        buy(server.url)
    assert caught.value.candidate == TASK


@pytest.mark.parametrize(
    "status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"]
)
def test_redirects_are_never_followed(start: Start, status: str) -> None:
    """A 307 or 308 would repeat the POST: neither the same server nor another one sees a second request."""
    other = start(says(http(MADE)))
    first = start(says(http(b'{"code":401,"msg":"no"}', status, f"Location: {other.url}/api/v1/jobs/createTask")))
    with pytest.raises(Unknown):
        buy(first.url)
    assert (len(first.requests), other.connections) == (1, 0)


# ---- time ----


@pytest.mark.parametrize(
    "behaviour",
    [
        drip(b"", b"H"),
        drip(b"HTTP/1.1 200 OK\r\n", b"X"),
        drip(b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n", b" "),
        drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        drip(b"HTTP/1.1 200 OK\r\n\r\n", b" "),
    ],
)
def test_a_dripping_server_meets_the_deadline(start: Start, behaviour: Behaviour) -> None:
    """The read time-out bounds the whole answer, not the pause between two bytes."""
    server = start(behaviour)
    begun = time.monotonic()
    with pytest.raises(Unknown, match="timed out"):
        buy(server.url, read_timeout=0.5)
    assert 0.5 <= time.monotonic() - begun < 1.5
    assert (server.connections, len(server.requests)) == (1, 1)


def test_a_silent_server_meets_the_deadline(start: Start) -> None:
    """No answer at all: Unknown after the read time-out, and no second request."""
    server = start(lambda _: server.released.wait(10) and None)
    begun = time.monotonic()
    with pytest.raises(Unknown, match="timed out"):
        buy(server.url, read_timeout=0.3)
    assert 0.3 <= time.monotonic() - begun < 1.3
    assert (server.connections, len(server.requests)) == (1, 1)


# ---- not sent ----


def test_a_refused_connection_is_not_sent() -> None:
    """Nobody listens: nothing was bought."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(NotSent, match="refused"):
        client(f"http://127.0.0.1:{port}").open_purchase_connection()


def test_a_name_that_cannot_exist_is_not_sent() -> None:
    """A name that the resolver refuses: nothing was bought."""
    with pytest.raises(NotSent):
        client("http://a..b").open_purchase_connection()


def test_tls_against_a_plain_server_is_not_sent(start: Start) -> None:
    """The handshake fails before any request."""
    server = start(says(http(MADE)), reads=False)
    with pytest.raises(NotSent):
        client(f"https://127.0.0.1:{server.port}").open_purchase_connection()


def test_a_silent_handshake_is_not_sent_in_time(start: Start) -> None:
    """The connect time-out covers TLS."""
    server = start(lambda _: server.released.wait(10) and None, reads=False)
    begun = time.monotonic()
    with pytest.raises(NotSent, match="timed out"):
        client(f"https://127.0.0.1:{server.port}", connect_timeout=0.3).open_purchase_connection()
    assert time.monotonic() - begun < 1.3


@pytest.mark.parametrize("farewell", [b"", b"HTTP/1.1 408 Request Timeout\r\n\r\n"])
def test_a_server_that_hung_up_before_sending_is_not_sent(start: Start, farewell: bytes) -> None:
    """The connection is seen to be closed before the first byte is written: nothing was bought, nothing reconnects."""
    server = start(says(farewell), reads=False)
    with client(server.url).open_purchase_connection() as connection:
        assert server.served.acquire(timeout=10)
        with pytest.raises(NotSent):
            connection.create_task(BODY)
    assert server.connections == 1


def test_a_connection_that_was_closed_is_not_sent(start: Start) -> None:
    """Closed by ourselves: nothing is sent and nothing reconnects."""
    server = start(lambda _: None)
    connection = client(server.url).open_purchase_connection()
    connection.close()
    with pytest.raises(NotSent):
        connection.create_task(BODY)
    assert server.served.acquire(timeout=10)
    assert (server.connections, server.requests) == (1, [b""])


# ---- TLS and proxies ----


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's TLS for the name "localhost", trusted by this process."""
    return localhost_tls(tmp_path, monkeypatch)


def test_a_purchase_over_tls(start: Start, certificate: ssl.SSLContext) -> None:
    """With a trusted certificate for the right name; the server's session tickets don't look like a hang-up."""
    server = start(says(http(MADE)), tls=certificate)
    assert buy(f"https://localhost:{server.port}") == TASK
    assert len(server.requests) == 1


def test_tls_that_ends_without_an_answer_is_unknown(start: Start, certificate: ssl.SSLContext) -> None:
    """The end of the stream without TLS's farewell, after the request."""
    server = start(lambda _: None, tls=certificate)
    with pytest.raises(Unknown):
        buy(f"https://localhost:{server.port}")
    assert len(server.requests) == 1


def test_tls_that_hung_up_before_sending_is_not_sent(start: Start, certificate: ssl.SSLContext) -> None:
    """A farewell behind the session tickets is seen before the first byte is written."""
    server = start(lambda _: None, tls=certificate, reads=False)
    with client(f"https://localhost:{server.port}").open_purchase_connection() as connection:
        assert server.served.acquire(timeout=10)
        with pytest.raises(NotSent):
            connection.create_task(BODY)


@pytest.mark.parametrize("trusted", [True, False])
def test_a_wrong_certificate_is_not_sent(
    start: Start, certificate: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, trusted: bool
) -> None:
    """Another name, or an unknown issuer: the key is not shown to that server."""
    server = start(says(http(MADE)), tls=certificate)
    if not trusted:
        monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(NotSent, match="certificate verify failed"):
        client(f"https://{'127.0.0.1' if trusted else 'localhost'}:{server.port}").open_purchase_connection()
    assert server.served.acquire(timeout=10)
    assert server.requests == []


def test_a_purchase_through_a_proxy(start: Start, certificate: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy of the environment gets its login and the vendor's name, and never sees the key."""
    vendor = start(says(http(MADE)), tls=certificate)
    proxy = start(relay(vendor.port))
    use_proxy(monkeypatch, f"http://me:p%40ss@127.0.0.1:{proxy.port}")
    assert buy(f"https://localhost:{vendor.port}") == TASK
    (asked,) = proxy.requests
    assert asked.startswith(f"CONNECT localhost:{vendor.port} HTTP/1.1\r\n".encode())
    assert b"Proxy-Authorization: Basic bWU6cEBzcw==\r\n" in asked
    assert b"sk-17" not in asked
    assert (vendor.connections, len(vendor.requests)) == (1, 1)


def test_a_proxy_that_refuses_is_not_sent(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """No way through: nothing reached the vendor."""
    proxy = start(says(http(b"", "407 Proxy Authentication Required")))
    use_proxy(monkeypatch, f"http://127.0.0.1:{proxy.port}")
    with pytest.raises(NotSent, match="the proxy answered 407"):
        client("https://vendor.example").open_purchase_connection()


def test_plain_http_never_goes_through_a_proxy(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in on this machine is reached directly, whatever the environment says."""
    server = start(says(http(MADE)))
    use_proxy(monkeypatch, "http://127.0.0.1:9")
    assert buy(server.url) == TASK
