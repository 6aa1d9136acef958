"""The URL rule: an address given by a caller or the vendor is fetched only if it is public, redirects included.

The rule is kept where it can't be talked around: on the connection. The host is resolved once, every address it
resolves to must be public, the connection goes to one of these very addresses, and the peer is looked at again before
a byte is sent. So neither an odd spelling of 127.0.0.1 nor a name that resolves differently the second time gets
through. Proxies of the environment are not used: behind one, the peer would be the proxy and the rule worth nothing.

Exempt hosts (the configured vendor hosts and MOTIONQ_TRUSTED_HOSTS) are given as `host` or, narrower, `host:port`.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from motionq.contract.redact import redact

MOST_REDIRECTS = 5
# The vendor's CDN answers 403 to the default name of Python's urllib.
USER_AGENT = "Mozilla/5.0 (compatible; motionq)"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_PORTS = {"http": 80, "https": 443}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address
# What `is_global` lets through, in some releases of Python or in all, and what yet is never a public host.
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",  # RFC 6890: protocol assignments; a cloud's metadata service lives there
        "168.63.129.16/32",  # Azure: public by its number, yet each virtual machine's own host
        "fec0::/10",  # RFC 3879: site-local, deprecated
        "64:ff9b:1::/48",  # RFC 8215: of a private NAT64 translator
        "::/96",  # RFC 4291: IPv4-compatible, deprecated
    )
)
# Names that never mean a public host: RFC 6761, RFC 6762, and ICANN's reservation of 2024.
_PRIVATE_DOMAINS = frozenset({"localhost", "local", "internal"})


class ForbiddenAddress(Exception):
    """The address is not one that may be fetched; the message says why, without the address's query."""


def check_url(url: str, exempt: frozenset[str]) -> None:
    """Check what an address says of itself, without resolving it; raises `ForbiddenAddress`.

    It must be http or https, with a host and without user and password; a literal private address or a name such as
    `localhost` is refused unless exempt. Connections are checked by a `PublicSession` in any case.
    """
    parts = _parse(url)
    host = parts.hostname or ""
    if is_exempt(host, parts.port or _PORTS[parts.scheme], exempt):
        return
    literal = _literal(host)
    private = host.rstrip(".").rpartition(".")[2] in _PRIVATE_DOMAINS
    if private or (literal is not None and not is_public(literal)):
        raise _not_public(host, f"{redact(url)}: ")


def _not_public(host: str, before: str = "") -> ForbiddenAddress:
    return ForbiddenAddress(f"{before}{host} is not a public address (your own: MOTIONQ_TRUSTED_HOSTS)")


def is_exempt(host: str, port: int, exempt: frozenset[str]) -> bool:
    """Whether `host` or `host:port` is among the exempt ones."""
    name = host.lower().rstrip(".").strip("[]")
    return name in exempt or f"{name}:{port}" in exempt


def is_public(address: Address) -> bool:
    """Whether an address is a public one, as are all IPv4 addresses embedded in it (mapped, 6to4, NAT64)."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return is_public(address.ipv4_mapped)
    if address.is_multicast or not address.is_global or any(address in network for network in _NOT_PUBLIC):
        return False
    return isinstance(address, ipaddress.IPv4Address) or all(is_public(inner) for inner in _embedded(address))


class PublicSession(requests.Session):
    """`requests.Session` whose connections go to public peers and exempt hosts only; no proxies, `.netrc` or retries.

    One session serves one transfer: it keeps a second handle on each of its sockets until it is closed.
    """

    def __init__(self, exempt: frozenset[str]) -> None:
        super().__init__()
        self.trust_env = False
        self.exempt = exempt
        self.headers["User-Agent"] = USER_AGENT
        self._wires = _Wires()
        adapter = _PublicAdapter(exempt, self._wires)
        self.mount("http://", adapter)
        self.mount("https://", adapter)

    def close(self) -> None:
        """Close every connection."""
        super().close()
        self._wires.close()

    def abort(self) -> None:
        """End every transfer under way, from any thread: the reader sees the end of its connection."""
        self._wires.shut()


@contextlib.contextmanager
def get(
    session: PublicSession, url: str, *, timeout: tuple[float, float], headers: dict[str, str] | None = None
) -> Iterator[requests.Response]:
    """GET `url`, following at most `MOST_REDIRECTS` redirects, each checked; the body is not read yet.

    `timeout` is (connect, read) in seconds. Raises `ForbiddenAddress` and what requests raises, whose texts hold the
    address with its query: translate them before they reach a log.
    """
    for _ in range(MOST_REDIRECTS + 1):
        check_url(url, session.exempt)
        response = session.get(url, timeout=timeout, headers=headers, stream=True, allow_redirects=False)
        location = response.headers.get("Location")
        if response.status_code not in _REDIRECTS or not location:
            with response:
                yield response
            return
        response.close()
        url = urljoin(url, location)
    raise requests.TooManyRedirects(f"{redact(url)}: more than {MOST_REDIRECTS} redirects")


def _parse(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ForbiddenAddress(f"{redact(url)}: not a well-formed address") from None
    if parts.scheme not in _PORTS:
        raise ForbiddenAddress(f"{redact(url)}: only http and https addresses are fetched")
    if not parts.hostname or port == 0:
        raise ForbiddenAddress(f"{redact(url)}: not a well-formed address")
    if "@" in parts.netloc:
        raise ForbiddenAddress(f"{redact(url)}: an address with a user or password is not fetched")
    return parts


def _literal(host: str) -> Address | None:
    """The address that `host` spells, in any spelling a resolver takes (`127.1`, `0x7f000001`), or None for a name."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host.partition("%")[0])
    with contextlib.suppress(OSError):
        return ipaddress.IPv4Address(socket.inet_aton(host))
    return None


def _embedded(address: ipaddress.IPv6Address) -> Iterator[ipaddress.IPv4Address]:
    if address.sixtofour is not None:
        yield address.sixtofour
    if address in _NAT64:
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


def _resolve(host: str, port: int) -> list[str]:
    """Every address of `host`, in the resolver's order; raises `ForbiddenAddress` if one of them is not public."""
    found = [str(info[4][0]) for info in socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)]
    for text in found:
        if not is_public(ipaddress.ip_address(text.partition("%")[0])):
            raise _not_public(host)
    return list(dict.fromkeys(found))


def _check_peer(wire: socket.socket, host: str) -> None:
    peer = str(wire.getpeername()[0]).partition("%")[0]
    if not is_public(ipaddress.ip_address(peer)):
        wire.close()
        raise _not_public(host)


class _Wires:
    """Second handles on a session's sockets, so that another thread can end a transfer at any instant.

    TLS takes the first handle for itself, and a response that is being read is known to no pool.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._handles: list[socket.socket] = []
        self._shut = False

    def add(self, wire: socket.socket) -> None:
        with self._lock:
            self._handles.append(wire.dup())
            already = self._shut
        if already:
            self.shut()

    def shut(self) -> None:
        with self._lock:
            self._shut = True
            for handle in self._handles:
                with contextlib.suppress(OSError):
                    handle.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with self._lock:
            for handle in self._handles:
                handle.close()
            self._handles.clear()


class _PublicAdapter(HTTPAdapter):
    """An adapter whose connections keep the rule: urllib3 makes every socket in `_new_conn` of the connection."""

    def __init__(self, exempt: frozenset[str], wires: _Wires) -> None:
        self._pools = _pool_classes(exempt, wires)
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = self._pools


def _pool_classes(exempt: frozenset[str], wires: _Wires) -> dict[str, type[HTTPConnectionPool]]:
    """Pools for one session. Classes, since urllib3 takes classes here; they carry what instances can't be given."""

    def new_socket(connection: HTTPConnection, plain: Any) -> socket.socket:
        if is_exempt(connection.host, connection.port, exempt):
            wire: socket.socket = plain()
        else:
            wire = _public_socket(connection, plain)
        wires.add(wire)
        return wire

    class PublicHTTP(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return new_socket(self, super()._new_conn)

    class PublicHTTPS(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return new_socket(self, super()._new_conn)

    class PublicHTTPPool(HTTPConnectionPool):
        ConnectionCls = PublicHTTP

    class PublicHTTPSPool(HTTPSConnectionPool):
        ConnectionCls = PublicHTTPS

    return {"http": PublicHTTPPool, "https": PublicHTTPSPool}


def _public_socket(connection: HTTPConnection, plain: Any) -> socket.socket:
    """Connect to one of the host's checked addresses. The name itself stays, for TLS and the Host header."""
    name = connection._dns_host
    try:
        addresses = _resolve(name, connection.port)
    except (socket.gaierror, UnicodeError) as error:
        fault = error if isinstance(error, socket.gaierror) else socket.gaierror(str(error))
        raise NameResolutionError(connection.host, connection, fault) from error
    try:
        wire = _first_that_answers(connection, addresses, plain)
    finally:
        connection._dns_host = name
    _check_peer(wire, name)
    return wire


def _first_that_answers(connection: HTTPConnection, addresses: list[str], plain: Any) -> socket.socket:
    fault: NewConnectionError | ConnectTimeoutError | None = None
    for address in addresses:
        connection._dns_host = address
        try:
            return plain()  # type: ignore[no-any-return]
        except (NewConnectionError, ConnectTimeoutError) as error:
            fault = error
    raise fault or NewConnectionError(connection, "no address")
