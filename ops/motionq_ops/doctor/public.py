"""MOTIONQ_PUBLIC_BASE_URL: does it lead to our receiver, on our queue's server, and to no other? (worker: probe.py)"""

from __future__ import annotations

import hmac
import ipaddress
import json
from contextlib import suppress

from motionq.contract.errors import QueueUnavailable
from motionq.contract.redact import redact
from motionq.contract.settings import Settings
from motionq.contract.store import JobStore
from motionq_ops.doctor.findings import Finding, error, ok, warning
from motionq_ops.doctor.web import Exchange, exchange, host_of
from motionq_worker import probe

_WHY = "kie.ai's callbacks do not arrive: a purchase whose answer is lost stays unknown, and may be paid for nothing"
_START = "start the receiver (`motionq up`, or uvicorn motionq_worker.callback:app) with the same REDIS_URL and "
_START += "MOTIONQ_NAMESPACE, and lead /callbacks/kie/ of the proxy to it (docs/callbacks.md)"


def look_at_public(settings: Settings, store: JobStore) -> tuple[Exchange, bool] | None:
    """(how far the probe came, whether the answer proves that it is our receiver); None without an address.

    Raises QueueUnavailable.
    """
    if settings.public_base_url is None:
        return None
    asked = probe.put(store)
    try:
        patience = {"connect": settings.connect_timeout, "read": settings.read_timeout}
        seen = exchange(settings.public_base_url, asked.path, method="POST", **patience)
    finally:
        with suppress(QueueUnavailable):
            probe.take_back(store, asked)
    return seen, proves(seen, asked.proof)


def proves(seen: Exchange, proof: str) -> bool:
    """Whether the answer holds what only our receiver can know."""
    try:
        said = json.loads(seen.body)["msg"]
    except (ValueError, KeyError, TypeError):
        return False
    return seen.status == 200 and isinstance(said, str) and hmac.compare_digest(said.encode(), proof.encode())


def judge_public(settings: Settings, seen: tuple[Exchange, bool] | None) -> Finding:
    """What the probe says of callbacks."""
    if settings.public_base_url is None or seen is None:
        why = "when the answer to createTask is lost the job fails at once as submit_unknown, charged unknown"
        mend = "set MOTIONQ_PUBLIC_BASE_URL to the address at which kie.ai reaches the receiver (docs/callbacks.md)"
        return warning("callbacks", "MOTIONQ_PUBLIC_BASE_URL is not set", why=why, mend=mend)
    answer, proven = seen
    url = redact(settings.public_base_url)
    if not proven:
        return error("callbacks", f"{url}: {_fault(answer)}", value=answer.status or None, why=_WHY, mend=_START)
    if inside(answer.addresses) and not _is_inside(settings.kie_base_url):
        return error(
            "callbacks",
            f"{url} is our receiver, at an address that the internet does not reach",
            value=", ".join(answer.addresses),
            why=_WHY,
            mend="set MOTIONQ_PUBLIC_BASE_URL to an address that is reachable from outside (https://…)",
        )
    if url.startswith("http://") and not inside(answer.addresses):
        why = "who listens on the way learns which purchase a callback speaks of, and may name another task for it"
        mend = "put a proxy with TLS in front (docs/callbacks.md) and set MOTIONQ_PUBLIC_BASE_URL to https://…"
        return warning("callbacks", f"{url} is our receiver, without TLS", why=why, mend=mend)
    return ok("callbacks", f"{url} leads to our receiver")


def _fault(answer: Exchange) -> str:
    if answer.failed:
        where = {"name": "no such host", "connection": "no connection", "tls": "TLS fails", "answer": "no answer"}
        return where[answer.failed] + (f" ({answer.words})" if answer.words else "")
    if answer.status == 200:
        return "somebody else answers there, or a receiver on another server or namespace"
    if answer.status == 404:
        return "HTTP 404: not our receiver, or one on another server or namespace, or of an older version"
    if 300 <= answer.status < 400:
        return f"HTTP {answer.status}: it redirects, and callbacks do not follow"
    return f"HTTP {answer.status}"


def inside(addresses: tuple[str, ...]) -> bool:
    """Whether none of these addresses is reached from the internet; no address says nothing."""
    return bool(addresses) and not any(_is_global(address) for address in addresses)


def _is_global(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_global
    except ValueError:
        return True


def _is_inside(url: str) -> bool:
    """A stand-in for the vendor on this machine or network, by its name."""
    host = host_of(url)
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host or host.endswith((".localhost", ".local", ".internal"))
