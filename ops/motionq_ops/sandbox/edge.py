"""The edge between values and sockets: reads a request, applies faults, writes the ledger, sends (or does not)."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

from motionq_ops.sandbox import faults
from motionq_ops.sandbox.accounts import Account
from motionq_ops.sandbox.answers import MESSAGES, Answer, envelope, refusal, to_json
from motionq_ops.sandbox.clock import wall_ms
from motionq_ops.sandbox.hosts import files_host
from motionq_ops.sandbox.ledger import Entry, Ledger
from motionq_ops.sandbox.numbers import read_text
from motionq_ops.sandbox.validation import Rejected
from motionq_ops.sandbox.vendor import Vendor


@dataclass(slots=True)
class Asked:
    """One request as the sandbox saw it.

    ``arrival``: wall-clock (monotonic) seconds; ``base``: of the URLs of files; ``facts`` go to the ledger.
    """

    call: str
    arrival: float
    at_ms: int
    account: Account | None
    base: str
    port: int | None
    body: Any = None
    fault: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def matched(self) -> dict[str, str]:
        """Return the facts that a fault's ``match`` may name."""
        return {name: str(self.facts.get(name) or "") for name in faults.MATCHES}


Act = Callable[[Asked], Awaitable[Answer]]
BROKEN_OFF = (aiohttp.ClientError, web.RequestPayloadError, OSError)
"""What reading a body raises when the client goes away in the middle of it."""
_SILENT = ("drop", "hang", "reset")


class Edge:
    """What every address has in common."""

    def __init__(self, vendor: Vendor, ledger: Ledger, public_url: str | None) -> None:
        self._vendor = vendor
        self._ledger = ledger
        self._public_url = public_url
        self._hosts: set[str] = set()

    def is_ours(self, host: str) -> bool:
        """Return whether a URL's host is one under which the sandbox was reached, or hands out files."""
        return host in self._hosts

    def note(self, request: web.Request, call: str) -> Asked:
        """Return what is known of a request before its body is read."""
        base = self._public_url or f"{request.scheme}://{files_host(request.host)}"
        self._hosts |= {request.host, urlsplit(base).netloc}
        peer = request.transport.get_extra_info("peername") if request.transport else None
        account = self._vendor.account_of(request.headers.get("Authorization", ""))
        return Asked(call, time.monotonic(), wall_ms(), account, base, peer[1] if peer else None)

    async def serve(self, request: web.Request, asked: Asked, act: Act) -> web.StreamResponse:
        """Carry a request out, or not, as its fault says; write it down; answer."""
        rule = self._vendor.rules.take(asked.call, asked.matched)
        asked.fault = rule.fault if rule else None
        genuine = Answer()
        if rule is None or faults.does_the_work(rule):
            genuine = await _carried_out(act, asked)
        answer = genuine if rule is None else self._spoilt(rule, genuine, asked, str(request.url))
        self._write(asked, answer, genuine.task_id, silent=answer.ending in _SILENT or _left(request))
        return await deliver(request, answer)

    def _spoilt(self, rule: faults.Rule, genuine: Answer, asked: Asked, address: str) -> Answer:
        if rule.fault == "task_bound_elsewhere":
            return _previous_task(asked.account)
        if asked.call == "upload" and rule.fault.startswith("code_"):
            return upload_refusal(int(rule.fault[5:]), rule.options.get("msg"))
        return faults.spoil(rule, genuine, address)

    def _write(self, asked: Asked, answer: Answer, task_id: str | None, *, silent: bool) -> None:
        self._ledger.add(
            Entry(
                call=asked.call,
                arrival=asked.arrival,
                account=asked.account.id if asked.account else None,
                port=asked.port,
                code=None if silent else answer.code,
                http=None if silent else answer.status,
                task_id=task_id,
                fault=asked.fault,
                facts=asked.facts,
                at_ms=asked.at_ms,
            )
        )


async def _carried_out(act: Act, asked: Asked) -> Answer:
    try:
        return await act(asked)
    except Rejected as rejected:
        return refusal(rejected.code, rejected.msg)
    except Exception:  # a fault of the sandbox itself: it must not be missing from the ledger, or look like a refusal
        traceback.print_exc()
        return Answer(status=500, code=500)


def _previous_task(account: Account | None) -> Answer:
    if account is None or not account.created:
        return refusal(500)
    return created(account.created[-1])


def created(task_id: str) -> Answer:
    """Return createTask's answer: ``recordId`` equals ``taskId`` (36 of 36 recordings)."""
    return envelope(200, "success", {"taskId": task_id, "recordId": task_id})


def upload_refusal(code: int, msg: str | None = None, *, true_status: bool = False) -> Answer:
    """Return a refused upload; the envelope has ``success`` besides."""
    body = {"success": False, "code": code, "msg": msg or MESSAGES.get(code, "Internal server error")}
    return Answer(status=code if true_status else 200, body=to_json(body), code=code)


async def read_json(request: web.Request) -> Any:
    """Return the JSON body, or None if it is not JSON, too large, or breaks off."""
    try:
        return read_text(await request.read())
    except (ValueError, web.HTTPException, *BROKEN_OFF):
        return None


async def deliver(request: web.Request, answer: Answer) -> web.StreamResponse:
    """Send an answer the way it is meant to end."""
    if answer.delay:
        await asyncio.sleep(answer.delay)
    if answer.ending == "hang":
        await _until_gone(request)
    if answer.ending in _SILENT:
        return _gone(request, reset=answer.ending == "reset")
    if answer.ending == "cut":
        return await _cut(request, answer)
    if answer.path is not None:
        return web.FileResponse(answer.path, headers=_headers(answer))
    return web.Response(status=answer.status, body=answer.body, headers=_headers(answer))


def _headers(answer: Answer) -> Mapping[str, str]:
    return {"Content-Type": answer.content_type, **answer.headers}


async def _until_gone(request: web.Request) -> None:
    while not _left(request):
        await asyncio.sleep(0.05)


def _left(request: web.Request) -> bool:
    """Whether nobody is there any more who could be answered."""
    return request.transport is None or request.transport.is_closing()


def _gone(request: web.Request, *, reset: bool) -> web.StreamResponse:
    transport = request.transport
    if transport is not None:
        if reset:
            raw = transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response()


async def _cut(request: web.Request, answer: Answer) -> web.StreamResponse:
    whole = answer.content()
    headers = {**_headers(answer), "Content-Length": str(len(whole))}
    response = web.StreamResponse(status=answer.status, headers=headers)
    await response.prepare(request)
    await response.write(whole[: len(whole) // 2])
    if request.transport is not None:
        request.transport.close()
    return response
