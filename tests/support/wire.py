"""Raw servers that misbehave in one exact way each and keep every request they got; TLS and proxies for them."""

from __future__ import annotations

import shutil
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest

Behaviour = Callable[[socket.socket], None]


def http(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def read_request(conn: socket.socket) -> bytes:
    """One whole request, or what came of it."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (more := conn.recv(65536)):
            return data
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0
    )
    whole = bytearray(body)
    while len(whole) < length and (more := conn.recv(65536)):
        whole += more
    return head + b"\r\n\r\n" + whole


class Server:
    """Listens on a free port; each connection gets `behaviour`, after its request was read if the server `reads`."""

    def __init__(
        self, behaviour: Behaviour, *, reads: bool = True, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> None:
        self.behaviour, self.reads, self.tls = behaviour, reads, tls
        self.requests: list[bytes] = []
        self.connections = 0
        self.released = threading.Event()  # what a hanging behaviour waits for
        self.served = threading.Semaphore(0)  # one for each connection that is over
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family)
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                conn, _ = self._listener.accept()
                self.connections += 1
                thread = threading.Thread(target=self._serve, args=(conn,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, raw: socket.socket) -> None:
        with closing(raw), suppress(OSError):
            raw.settimeout(10)
            conn = self.tls.wrap_socket(raw, server_side=True) if self.tls else raw
            with closing(conn):
                if self.reads:
                    self.requests.append(read_request(conn))
                self.behaviour(conn)
        self.served.release()

    def close(self) -> None:
        self.released.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in list(self._threads):
            thread.join(10)
            assert not thread.is_alive()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


Start = Callable[..., Server]


@contextmanager
def servers() -> Iterator[Start]:
    """Start servers that end with the block."""
    with ExitStack() as stack:

        def start_one(behaviour: Behaviour, **options: object) -> Server:
            server = Server(behaviour, **options)  # type: ignore[arg-type]
            stack.callback(server.close)
            return server

        yield start_one


# ---- behaviours ----


def says(answer: bytes) -> Behaviour:
    return lambda conn: conn.sendall(answer)


def reset(conn: socket.socket) -> None:
    """Close with RST instead of FIN."""
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def drip(prefix: bytes, filler: bytes) -> Behaviour:
    """Send a byte every 50 ms for ever."""

    def behave(conn: socket.socket) -> None:
        conn.sendall(prefix)
        pause = threading.Event()
        while not pause.wait(0.05):
            conn.sendall(filler)

    return behave


def relay(target: int) -> Behaviour:
    """A CONNECT proxy, after the request for a way through was read."""

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def behave(conn: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", target), 10) as upstream:
            conn.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=pump, args=(upstream, conn))
            back.start()
            pump(conn, upstream)
            back.join(10)

    return behave


# ---- the environment ----


def localhost_tls(folder: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's TLS for the name "localhost", trusted by this process."""
    if not (openssl := shutil.which("openssl")):
        pytest.skip("openssl is not installed")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    extension = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([*command, *extension], check=True, capture_output=True)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(cert))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


def use_proxy(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    for name in ("no_proxy", "NO_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", url)
    monkeypatch.setenv("http_proxy", url)
