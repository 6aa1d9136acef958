"""One HTTP exchange, and how far it came: name, connection, TLS, answer. No redirect is followed, no key is sent."""

from __future__ import annotations

import http.client
import socket
import ssl
from contextlib import closing
from dataclasses import dataclass
from urllib.parse import urlsplit

import requests

from motionq_worker.kie.account import USER_AGENT, Origin, proxy_for, trusted_certificates
from motionq_worker.kie.words import error_words

LARGEST = 64 * 1024  # bytes of an answer that are read


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """`failed` is where it ended: name | connection | tls | answer; empty when there is an answer of that `status`."""

    failed: str = ""
    words: str = ""
    addresses: tuple[str, ...] = ()
    proxied: bool = False
    status: int = 0
    body: bytes = b""


def exchange(base_url: str, path: str, *, method: str, connect: float, read: float) -> Exchange:
    """`base_url` as the setting has it, `path` added to it; `connect` and `read` are seconds. Raises nothing."""
    try:
        origin = Origin.parse(base_url)
    except ValueError as error:
        return Exchange(failed="name", words=str(error))
    if proxy := proxy_for(origin):
        return _through(proxy, f"{origin.url}{path}", method, (connect, read))
    return _direct(origin, path, method, connect, read)


def _direct(origin: Origin, path: str, method: str, connect: float, read: float) -> Exchange:
    try:
        found = socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return Exchange(failed="name", words=error_words(error))
    addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
    try:
        plain = socket.create_connection((origin.host, origin.port), timeout=connect)
    except OSError as error:
        return Exchange(failed="connection", words=error_words(error), addresses=addresses)
    with closing(plain):
        try:
            sock = _secured(plain, origin, connect)
        except (OSError, ValueError) as error:
            return Exchange(failed="tls", words=_tls_words(error), addresses=addresses)
        with closing(sock):
            return _ask(sock, origin, path, method, read, addresses)


def _secured(sock: socket.socket, origin: Origin, patience: float) -> socket.socket:
    sock.settimeout(patience)
    return trusted_certificates().wrap_socket(sock, server_hostname=origin.host) if origin.scheme == "https" else sock


def _tls_words(error: Exception) -> str:
    return error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else error_words(error)


def _ask(
    sock: socket.socket, origin: Origin, path: str, method: str, read: float, addresses: tuple[str, ...]
) -> Exchange:
    sock.settimeout(read)
    connection = http.client.HTTPConnection(origin.host, origin.port)
    connection.sock = sock
    headers = {"Host": origin.authority, "User-Agent": USER_AGENT, "Accept": "*/*", "Connection": "close"}
    try:
        connection.request(method, f"{origin.prefix}{path}" or "/", b"" if method == "POST" else None, headers)
        answer = connection.getresponse()
        return Exchange(addresses=addresses, status=answer.status, body=answer.read(LARGEST))
    except (OSError, http.client.HTTPException) as error:
        return Exchange(failed="answer", words=error_words(error), addresses=addresses)
    finally:
        connection.close()


def _through(proxy: str, url: str, method: str, timeout: tuple[float, float]) -> Exchange:
    with requests.Session() as session:
        session.trust_env = False
        session.headers["User-Agent"] = USER_AGENT
        try:
            answer = session.request(
                method, url, proxies={"https": proxy}, timeout=timeout, allow_redirects=False, stream=True
            )
            with answer:
                body = answer.raw.read(LARGEST, decode_content=True) or b""
        except (OSError, requests.RequestException) as error:
            return Exchange(failed="connection", words=error_words(error), proxied=True)
    return Exchange(proxied=True, status=answer.status_code, body=body)


def host_of(url: str) -> str:
    """The host of an address, for sentences."""
    return urlsplit(url).hostname or "(no host)"
