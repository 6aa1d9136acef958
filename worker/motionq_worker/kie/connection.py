"""The connection on which a purchase is made: fresh, opened beforehand, used once.

Why not an HTTP library, as for all that is free (`session.py`): a library may reconnect, follow a 307, or repeat a
request on a connection that went stale, and each of these buys twice. Here a socket is opened, one request is written
to it, one answer is read. Python's `http.client` only parses that answer. Every wait ends at a deadline, also when a
server sends byte by byte.

What a deadline can't bound is the look-up of a name: the system's resolver has its own patience.
"""

from __future__ import annotations

import base64
import io
import json
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from types import TracebackType
from typing import cast
from urllib.parse import unquote, urlsplit

from motionq_worker.kie.account import USER_AGENT, KieAccount, Origin, proxy_for
from motionq_worker.kie.answers import TaskMade, purchase_answer
from motionq_worker.kie.errors import NotSent, Unknown
from motionq_worker.kie.metered import metered
from motionq_worker.kie.words import error_words
from motionq_worker.metering import Meter

ANSWER_LIMIT = 128 * 1024  # bytes of an answer's body; a createTask answer has about 120

# ---- opening --------------------------------------------------------------------------------------------------------


def _open_socket(account: KieAccount) -> socket.socket:
    """A new TCP connection to where tasks are made, with TLS where it is https, within `connect_timeout` in all.

    IPv6 and IPv4 addresses are tried in the resolver's order. Raises NotSent, also for a bad certificate.
    """
    origin, deadline = account.api, time.monotonic() + account.connect_timeout
    proxy = proxy_for(origin)
    try:
        sock = _connect(origin.host, origin.port, deadline) if proxy is None else _tunnel(origin, proxy, deadline)
        return _secured(sock, account, origin, deadline) if origin.scheme == "https" else sock
    except (OSError, HTTPException, ValueError) as error:
        raise NotSent(error_words(error)) from error


def _connect(host: str, port: int, deadline: float) -> socket.socket:
    """Try each address, leaving time for the ones behind it."""
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for position, (family, kind, protocol, _, address) in enumerate(addresses):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(_left(deadline) / (len(addresses) - position))
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
        except OSError:
            sock.close()
            if position == len(addresses) - 1:
                raise
    raise OSError("the name has no address")


def _tunnel(origin: Origin, proxy: str, deadline: float) -> socket.socket:
    """Ask an http:// proxy for a way through to `origin`."""
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError("only http:// proxies are supported")
    sock = _connect(parts.hostname, parts.port or 80, deadline)
    try:
        sock.settimeout(_left(deadline))
        sock.sendall(_connect_request(origin, parts.username, parts.password))
        status = _status_of_proxy(sock, deadline)
        if status != 200:
            raise OSError(0, f"the proxy answered {status}")
    except BaseException:
        sock.close()
        raise
    return sock


def _connect_request(origin: Origin, user: str | None, password: str | None) -> bytes:
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    target = f"{host}:{origin.port}"
    headers = {"Host": target, "User-Agent": USER_AGENT}
    if user is not None:
        login = f"{unquote(user)}:{unquote(password or '')}".encode()
        headers["Proxy-Authorization"] = f"Basic {base64.b64encode(login).decode('ascii')}"
    return _request_head("CONNECT", target, headers)


def _status_of_proxy(sock: socket.socket, deadline: float) -> int:
    response = _response(sock, deadline, method="CONNECT")
    try:
        response.begin()
        return response.status
    finally:
        response.close()


def _secured(sock: socket.socket, account: KieAccount, origin: Origin, deadline: float) -> ssl.SSLSocket:
    """The same connection with TLS, certificate and host name verified."""
    try:
        sock.settimeout(_left(deadline))
        return account.tls.wrap_socket(sock, server_hostname=origin.host)
    except BaseException:
        sock.close()
        raise


def _left(deadline: float) -> float:
    """Seconds until the deadline; TimeoutError when it has passed."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


# ---- writing and reading --------------------------------------------------------------------------------------------


def _request_head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """Request line and headers. ValueError when a value holds anything but printable ASCII and blanks."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if not all(line.isascii() and line.isprintable() for line in lines):
        raise ValueError("a header of the request is not printable ASCII")
    return "\r\n".join([*lines, "", ""]).encode("ascii")


@dataclass(frozen=True)
class Answer:
    """What came back. `status` is None without a status line; `problem` is why reading ended early, "" if it did not.

    With a problem, `body` holds what came before it.
    """

    status: int | None
    body: bytes
    problem: str = ""


class _DeadlineReader(io.RawIOBase):
    """Reads a socket until a moment on the monotonic clock: a time-out per read would let a slow drip go on."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline

    def readable(self) -> bool:
        """It is for reading."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Wait for bytes for as long as the deadline leaves; TimeoutError after it."""
        self._sock.settimeout(_left(self._deadline))
        return self._sock.recv_into(buffer)

    def makefile(self, _mode: str) -> io.BufferedReader:
        """What http.client asks a socket for."""
        return io.BufferedReader(self)


def _response(sock: socket.socket, deadline: float, *, method: str) -> HTTPResponse:
    return HTTPResponse(cast(socket.socket, _DeadlineReader(sock, deadline)), method=method)


def _read_answer(sock: socket.socket, deadline: float) -> Answer:
    """Read one HTTP answer until `deadline` (monotonic seconds), at most ANSWER_LIMIT bytes of body. Never raises."""
    response = _response(sock, deadline, method="POST")
    status, body, problem = None, bytearray(), ""
    try:
        response.begin()
        status = response.status
        while len(body) <= ANSWER_LIMIT and (chunk := response.read1(ANSWER_LIMIT + 1 - len(body))):
            body += chunk
        problem = _shortfall(response, len(body))
    except Exception as error:
        problem = error_words(error)
    finally:
        response.close()
    return Answer(status, bytes(body), problem)


def _shortfall(response: HTTPResponse, received: int) -> str:
    """Why this is not the whole body, or ""."""
    if received > ANSWER_LIMIT:
        return f"the answer is longer than {ANSWER_LIMIT} bytes"
    missing = response.length  # what Content-Length promised and did not come
    return f"the answer was cut {missing} bytes before its end" if isinstance(missing, int) and missing > 0 else ""


# ---- buying ---------------------------------------------------------------------------------------------------------


class PurchaseConnection:
    """An open connection on which one task may be bought, once.

    Use as a context manager, or `close()` it. Nothing has been sent when it is handed out.
    """

    def __init__(self, account: KieAccount, meter: Meter | None = None) -> None:
        self._account = account
        self._meter = meter or Meter()
        self._used = False
        self._sock = _open_socket(account)

    def __enter__(self) -> PurchaseConnection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; may be repeated. Never raises: a task ID may be on its way to the caller."""
        with suppress(OSError):
            self._sock.close()

    def create_task(self, body: Mapping[str, object]) -> str:
        """POST createTask once and return the task ID; within `read_timeout` in all.

        NotSent: the vendor had closed the connection before the first byte was written. Refused: no task was made.
        Unknown: anything else, from the first byte on. RuntimeError on a second call: a nonce is posted at most once.
        """
        if self._used:
            raise RuntimeError("this connection has been used: one connection, one purchase")
        self._used = True
        request = self._request(body)
        with metered(self._meter, "create_task"):
            return self._buy(request)

    def _buy(self, request: bytes) -> str:
        self._require_open()
        answer = self._exchange(request)
        secrets = (self._account.api_key.get_secret_value(),)
        outcome = purchase_answer(answer.status, answer.body, problem=answer.problem, secrets=secrets)
        if isinstance(outcome, TaskMade):
            return outcome.task_id
        raise outcome

    def _request(self, body: Mapping[str, object]) -> bytes:
        content = json.dumps(body).encode("ascii")
        origin = self._account.api
        headers = {
            "Host": origin.authority,
            "Authorization": self._account.authorization,
            "User-Agent": USER_AGENT,
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Connection": "close",
            "Content-Type": "application/json",
            "Content-Length": str(len(content)),
        }
        return _request_head("POST", f"{origin.prefix}/api/v1/jobs/createTask", headers) + content

    def _require_open(self) -> None:
        """NotSent when the connection is known to be broken, while nothing has been written yet.

        A server has nothing to say before it is asked: bytes or an end of the stream mean that it has hung up.
        """
        try:
            self._sock.settimeout(0)
            self._sock.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except (OSError, ValueError) as error:
            self.close()
            raise NotSent(error_words(error)) from error
        self.close()
        raise NotSent("the connection was closed before anything was sent")

    def _exchange(self, request: bytes) -> Answer:
        """Write, read, close. From the first byte on every failure means Unknown."""
        deadline = time.monotonic() + self._account.read_timeout
        try:
            self._sock.settimeout(self._account.read_timeout)
            self._sock.sendall(request)
            return _read_answer(self._sock, deadline)
        except Exception as error:
            raise Unknown(error_words(error)) from error
        finally:
            self.close()
