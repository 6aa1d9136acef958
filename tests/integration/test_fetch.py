"""Downloads over real HTTP, with the exempt set naming the test's own server and nothing else."""

from __future__ import annotations

import hashlib
import socket
import threading
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest

from motionq_worker.fetch import FetchedFile, FetchFailed, fetch

BODY = bytes(range(256)) * 4096  # 1 MiB
SECRET = "X-Amz-Signature=s3cr3t"


class Server(ThreadingHTTPServer):
    """A server of a few faults, by path; it remembers what it was asked."""

    daemon_threads = True
    block_on_close = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []
        self.agents: list[str] = []
        self.redirect_to = ""
        self.stopping = threading.Event()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def url(self, path: str) -> str:
        return f"http://{self.host}{path}?{SECRET}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of these tests."""


class Handler(BaseHTTPRequestHandler):
    """One method per path."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server = cast(Server, self.server)
        path = self.path.partition("?")[0]
        server.asked.append(path)
        server.agents.append(self.headers["User-Agent"])
        if path.startswith("/status/"):
            return self._answer(int(path.rpartition("/")[2]), b"no")
        return cast(None, getattr(self, f"_{path.strip('/')}")())

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _file(self) -> None:
        self._answer(200, BODY)

    def _empty(self) -> None:
        self._answer(200, b"")

    def _chunked(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for at in range(0, len(BODY), 65536):
            self.wfile.write(b"10000\r\n" + BODY[at : at + 65536] + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def _cut(self) -> None:
        self.close_connection = True
        self._answer(200, BODY[:1000], **{"Content-Length": str(len(BODY))})

    def _cut_chunked(self) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"10000\r\nonly this")

    def _endless(self) -> None:
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        while True:
            self.wfile.write(BODY)

    def _reset(self) -> None:
        self.close_connection = True

    def _silent(self) -> None:
        cast(Server, self.server).stopping.wait(20)
        self.close_connection = True

    def _trickle(self) -> None:
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self._drip(b"x")

    def _trickle_headers(self) -> None:
        self.close_connection = True
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        self._drip(b"x")

    def _drip(self, drop: bytes) -> None:
        while not cast(Server, self.server).stopping.wait(0.02):
            self.wfile.write(drop)
            self.wfile.flush()

    def _redirect(self) -> None:
        self._answer(302, b"", Location=cast(Server, self.server).redirect_to)

    def _relative(self) -> None:
        self._answer(307, b"", Location=f"/file?{SECRET}")

    def _loop(self) -> None:
        self._answer(302, b"", Location="/loop")

    def log_message(self, *args: object) -> None:
        """Quiet."""


def serve() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.stopping.set()
    server.shutdown()
    thread.join()
    server.server_close()


server = pytest.fixture(serve, name="server")
other = pytest.fixture(serve, name="other")


def get(server: Server, path: str, tmp_path: Path, **options: Any) -> FetchedFile:
    defaults: dict[str, Any] = {
        "limit_bytes": 2 * len(BODY),
        "exempt": frozenset({server.host}),
        "connect_timeout": 5.0,
        "read_timeout": 5.0,
    }
    url = options.pop("url", None) or server.url(path)
    return fetch(url, tmp_path / "got", **(defaults | options))


def refused(server: Server, path: str, tmp_path: Path, **options: Any) -> FetchFailed:
    """The fault; also that no file stays, and that neither the fault nor what it came from shows the secret."""
    with pytest.raises(FetchFailed) as caught:
        get(server, path, tmp_path, **options)
    assert not (tmp_path / "got").exists()
    assert "s3cr3t" not in "".join(traceback.format_exception(caught.value))
    seen: BaseException | None = caught.value
    while seen is not None:
        assert "s3cr3t" not in repr(seen)
        seen = seen.__cause__ or seen.__context__
    return caught.value


@pytest.mark.parametrize("path", ["/file", "/chunked"])
def test_a_file_arrives_whole(server: Server, tmp_path: Path, path: str) -> None:
    """A download gives the path, the bytes and the hash, tells its progress, and names itself as a normal client."""
    seen: list[tuple[int, int | None]] = []
    fetched = get(server, path, tmp_path, progress=lambda size, announced: seen.append((size, announced)))
    expected = FetchedFile(path=tmp_path / "got", size=len(BODY), sha256=hashlib.sha256(BODY).hexdigest())
    assert fetched == expected
    assert fetched.path.read_bytes() == BODY
    assert seen[-1] == (len(BODY), len(BODY) if path == "/file" else None)
    assert server.agents == ["Mozilla/5.0 (compatible; motionq)"]


@pytest.mark.parametrize(
    ("status", "words", "permanent"),
    [
        (404, " (not found)", True),
        (410, " (gone)", True),
        (403, " (refused: expired or not allowed)", True),
        (401, " (not allowed)", True),
        (400, "", True),
        (206, "", True),
        (408, "", False),
        (429, "", False),
        (500, "", False),
        (502, "", False),
        (503, "", False),
    ],
)
def test_statuses(server: Server, tmp_path: Path, status: int, words: str, permanent: bool) -> None:
    """What asking again can't change is permanent, what may pass is not."""
    fault = refused(server, f"/status/{status}", tmp_path)
    shown = f"http://{server.host}/status/{status}?…"
    assert (str(fault), fault.permanent, fault.status) == (f"{shown} answered {status}{words}", permanent, status)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/cut", "the connection was cut during the transfer"),
        ("/cut_chunked", "the connection was cut during the transfer"),
        ("/reset", "can't be reached, or the connection was cut"),
        ("/empty", "0 of some bytes arrived"),
    ],
)
def test_a_cut_body_is_a_fault_that_may_pass(server: Server, tmp_path: Path, path: str, words: str) -> None:
    """A body shorter than announced is never taken for the file."""
    fault = refused(server, path, tmp_path)
    assert (str(fault), fault.permanent) == (f"http://{server.host}{path}?…: {words}", False)


def test_the_size_is_bounded(server: Server, tmp_path: Path) -> None:
    """Neither an announced nor an unannounced body beyond the limit is taken; one of exactly the limit is."""
    for path in ("/file", "/chunked", "/endless"):
        fault = refused(server, path, tmp_path, limit_bytes=len(BODY) - 1)
        words = f"http://{server.host}{path}?… is larger than the limit of 1,048,575 bytes"
        assert (str(fault), fault.permanent) == (words, True)
    assert get(server, "/file", tmp_path, limit_bytes=len(BODY)).size == len(BODY)


def test_silence_ends_with_the_read_time_out(server: Server, tmp_path: Path) -> None:
    """A server that says nothing is given up after the read time-out, for now."""
    fault = refused(server, "/silent", tmp_path, read_timeout=0.1)
    assert (str(fault), fault.permanent) == (f"http://{server.host}/silent?…: no answer in time", False)


@pytest.mark.parametrize("path", ["/trickle", "/trickle_headers"])
def test_a_trickle_ends_with_the_deadline(server: Server, tmp_path: Path, path: str) -> None:
    """A server that sends a byte now and then, in body or headers, can't hold a transfer beyond its deadline."""
    fault = refused(server, path, tmp_path, total_timeout=0.3)
    assert (str(fault), fault.permanent) == (f"http://{server.host}{path}?… did not arrive within 0.3 s", False)


def test_nobody_listens(server: Server, tmp_path: Path) -> None:
    """A refused connection is a fault that may pass."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        host = f"127.0.0.1:{free.getsockname()[1]}"
    fault = refused(server, "", tmp_path, url=f"http://{host}/a?{SECRET}", exempt=frozenset({host}))
    assert (str(fault), fault.permanent) == (f"http://{host}/a?…: can't be reached, or the connection was cut", False)


def test_tls_is_required_where_it_is_asked_for(server: Server, tmp_path: Path) -> None:
    """An https address behind which no TLS answers is a fault."""
    fault = refused(server, "", tmp_path, url=f"https://{server.host}/file?{SECRET}")
    assert (str(fault), server.asked) == (f"https://{server.host}/file?…: no trusted TLS connection", [])


def test_private_addresses_are_refused(server: Server, tmp_path: Path) -> None:
    """Without an exemption the loopback server is not even connected to; another port's exemption does not help."""
    for exempt in (frozenset[str](), frozenset({"127.0.0.1:1"})):
        fault = refused(server, "/file", tmp_path, exempt=exempt)
        words = f"http://{server.host}/file?…: 127.0.0.1 is not a public address (your own: MOTIONQ_TRUSTED_HOSTS)"
        assert (str(fault), fault.permanent) == (words, True)
    assert server.asked == []


def test_redirects_are_followed(server: Server, other: Server, tmp_path: Path) -> None:
    """A redirect, relative or to another permitted host, leads to the file."""
    assert get(server, "/relative", tmp_path).size == len(BODY)
    server.redirect_to = other.url("/file")
    assert get(server, "/redirect", tmp_path, exempt=frozenset({server.host, other.host})).size == len(BODY)
    assert (server.asked, other.asked) == (["/relative", "/file", "/redirect"], ["/file"])


def test_a_redirect_into_private_is_refused(server: Server, other: Server, tmp_path: Path) -> None:
    """A permitted host can't send us to one that is not."""
    server.redirect_to = other.url("/file")
    fault = refused(server, "/redirect", tmp_path)
    assert (
        str(fault) == f"http://{other.host}/file?…: 127.0.0.1 is not a public address (your own: MOTIONQ_TRUSTED_HOSTS)"
    )
    server.redirect_to = f"file:///etc/passwd?{SECRET}"
    assert refused(server, "/redirect", tmp_path).permanent
    assert other.asked == []


def test_redirects_have_an_end(server: Server, tmp_path: Path) -> None:
    """After five redirects it is over."""
    fault = refused(server, "/loop", tmp_path)
    assert (str(fault), fault.permanent) == (f"http://{server.host}/loop?…: too many redirects", True)
    assert server.asked == ["/loop"] * 6


def resolver(monkeypatch: pytest.MonkeyPatch, names: dict[str, list[str]]) -> None:
    """Names resolve to what the test says, as a hostile DNS server would have it."""

    def getaddrinfo(host: str, port: int, *args: object, **options: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in names[host]]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["127.0.0.1", "8.8.8.8"]])
def test_names_of_private_addresses(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, addresses: list[str]
) -> None:
    """A public-looking name is refused if any of its addresses is private; nothing is sent."""
    resolver(monkeypatch, {"public.example": addresses})
    url = f"http://public.example:{server.server_address[1]}/file?{SECRET}"
    fault = refused(server, "", tmp_path, url=url)
    assert (str(fault), fault.permanent) == (
        "public.example is not a public address (your own: MOTIONQ_TRUSTED_HOSTS)",
        True,
    )
    assert server.asked == []


def test_the_peer_is_looked_at(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if a lookup lies at the last moment, nothing is sent to a peer that is not public."""
    resolver(monkeypatch, {"public.example": ["8.8.8.8"], "8.8.8.8": ["127.0.0.1"]})
    url = f"http://public.example:{server.server_address[1]}/file?{SECRET}"
    fault = refused(server, "", tmp_path, url=url)
    assert (str(fault), fault.permanent) == (
        "public.example is not a public address (your own: MOTIONQ_TRUSTED_HOSTS)",
        True,
    )
    assert server.asked == []


def test_proxies_of_the_environment_are_not_used(
    server: Server, other: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy setting can't lead a download around the rule."""
    monkeypatch.setenv("http_proxy", f"http://{other.host}")
    assert get(server, "/file", tmp_path).size == len(BODY)
    assert other.asked == []


def test_a_full_disk_is_not_the_servers_fault(server: Server, tmp_path: Path) -> None:
    """A fault of the local disk is an OSError, so that it is not taken for the file's fault."""
    with pytest.raises(FileNotFoundError):
        get(server, "/file", tmp_path / "no-such-folder")
