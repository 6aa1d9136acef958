"""The callback receiver: a tiny public ASGI app with one route, `POST /callbacks/kie/<job>/<nonce>`.

A callback proves nothing: kie.ai's signature does not cover the body. So the receiver stores which task a purchase may
have, and the result is read from the vendor itself.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from motionq.contract.errors import QueueUnavailable
from motionq_worker.kie.messages import callback_task_id

LARGEST = 64 * 1024  # bytes of a body
OLDEST = 86_400.0  # seconds a signature may be old, either way
_PATH = re.compile(r"/callbacks/kie/([0-9a-z]{1,64})/([0-9a-f]{40})")

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]

_log = logging.getLogger(__name__)


class Receiver:
    """The app. `name_task` stores (job, nonce, task ID); with `key`, the webhook's HMAC key, calls must be signed."""

    def __init__(self, name_task: Callable[[str, str, str], str], key: bytes | None) -> None:
        self._name_task = name_task
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request (or the server's start and end)."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            status, words = await self._answer(scope, receive)
            await _reply(send, status, words)

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[int, str]:
        if scope["path"] == "/healthz":
            return 200, "ok"
        place = _PATH.fullmatch(scope["path"])
        if not place:
            return 404, "not found"
        if scope["method"] != "POST":
            return 405, "method not allowed"
        body = await _read(receive)
        if body is None:
            return 413, "too large"
        task_id = callback_task_id(body)
        if task_id is None:
            return 400, "names no task"
        if self._key is not None and not signed(scope["headers"], task_id, self._key, time.time()):
            return 401, "not signed"
        return await self._store(place[1], place[2], task_id)

    async def _store(self, job_id: str, nonce: str, task_id: str) -> tuple[int, str]:
        try:
            await asyncio.to_thread(self._name_task, job_id, nonce, task_id)
        except QueueUnavailable:
            return 503, "try again"  # the vendor repeats a callback that is not answered with 200
        return 200, "success"


def signed(headers: list[tuple[bytes, bytes]], task_id: str, key: bytes, now: float) -> bool:
    """Whether the vendor's signature over `taskId.timestamp` is right and not older than a day (vendor page)."""
    found = {name.lower(): value for name, value in headers}
    stamp = found.get(b"x-webhook-timestamp", b"")
    if not stamp.isdigit() or len(stamp) > 12 or abs(now - int(stamp)) > OLDEST:
        return False
    wanted = base64.b64encode(hmac.new(key, task_id.encode() + b"." + stamp, hashlib.sha256).digest())
    return hmac.compare_digest(wanted, found.get(b"x-webhook-signature", b""))


async def _read(receive: Receive) -> bytes | None:
    """The body, or None when it is longer than it may be."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b""
        body += message.get("body", b"")
        if len(body) > LARGEST:
            return None
        if not message.get("more_body"):
            return bytes(body)


async def _reply(send: Send, status: int, words: str) -> None:
    body = f'{{"code":{status},"msg":"{words}"}}'.encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _lifespan(receive: Receive, send: Send) -> None:
    while (message := await receive())["type"] != "lifespan.shutdown":
        await send({"type": f"{message['type']}.complete"})
    await send({"type": "lifespan.shutdown.complete"})
