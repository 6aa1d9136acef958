"""The callback receiver: a tiny public ASGI app with one route, `POST /callbacks/kie/<job>/<nonce>`.

A callback proves nothing: kie.ai's signature does not cover the body. So the receiver stores which task a purchase may
have, wakes a worker, and the result is read from the vendor itself. Beside it lies the probe of `motionq doctor`.

What the server in front of an app may not do for it is done here: the size of a body, the time it may take, and how
many calls may be under way. How long the *head* of a request may take is not an app's to limit (docs/callbacks.md).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from motionq.contract.errors import QueueUnavailable
from motionq_worker.kie.messages import parse_object, task_id_in
from motionq_worker.together import Together
from motionq_worker.waker import Waker

LARGEST = 64 * 1024  # bytes of a body
OLDEST = 86_400.0  # seconds a signature may be old, either way
BODY_SECONDS = 10.0  # for the whole body
STORE_SECONDS = 10.0  # for the record; the vendor waits 15 s for an answer (documented for its other APIs)
MOST = 1000  # calls under way at once
_PATH = re.compile(rb"/callbacks/kie/([0-9a-z]{26})/([0-9a-f]{40})")
_PROBE = re.compile(rb"/callbacks/kie/probe/([0-9a-f]{40})")  # beside the callbacks, so that a proxy leads it here too
_CONTENT_LENGTH = re.compile(rb"[0-9]{1,18}")

Headers = list[tuple[bytes, bytes]]
Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Named:
    """What a callback says: this purchase has this task."""

    job_id: str
    nonce: str
    task_id: str


class Refused(Exception):
    """The call is not taken in; `status` and the words are the answer."""

    def __init__(self, status: int, words: str, *, allow: str | None = None) -> None:
        super().__init__(words)
        self.status = status
        self.allow = allow


class Gone(Exception):
    """The caller hung up: nobody waits for an answer."""


class Receiver:
    """The app.

    `name_tasks` stores what several calls say and may block (it is called in a thread); it answers for each of them
    stored | known | orphan, or an empty word where it could not be stored, and may raise QueueUnavailable. With `key`,
    the webhook's HMAC key, calls must be signed. `waker` is told when somebody should look, and ends with the app.
    `prove` answers `motionq doctor`'s probes (probe.py): a word for each token, empty for one that nobody wrote.
    `count` hears what became of each call, stored | known | orphan | refused_<status>, and must not block.
    """

    def __init__(
        self,
        name_tasks: Callable[[Sequence[Named]], Sequence[str]],
        key: bytes | None,
        waker: Waker,
        prove: Callable[[Sequence[str]], Sequence[str]] = lambda tokens: [""] * len(tokens),
        count: Callable[[str], None] = lambda outcome: None,
    ) -> None:
        self._name_task = Together(name_tasks)
        self._prove = Together(prove)
        self._key = key
        self._waker = waker
        self._count = count
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request (or the server's start and end)."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._request(scope, receive, send)
        else:
            await send({"type": "websocket.close"})

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._under_way += 1
        try:
            await _reply(send, 200, await self._answer(scope, receive))
        except Refused as refused:
            if scope["path"] != "/readyz":  # no callback
                self._count(f"refused_{refused.status}")
            await _reply(send, refused.status, str(refused), refused.allow)
        except Gone:
            pass
        finally:
            self._under_way -= 1

    async def _answer(self, scope: Scope, receive: Receive) -> str:
        """The words of a call that is taken in. Raises Refused, Gone."""
        path = scope.get("raw_path") or scope["path"].encode()  # decoded, "%2f" could not be told from "/"
        if path == b"/healthz":
            _only(scope, "GET", "HEAD")
            return "ok"
        if path == b"/readyz":
            _only(scope, "GET", "HEAD")
            await self._ask("0" * 40)
            return "ok"
        if probe := _PROBE.fullmatch(path):
            return await self._proof(scope, probe[1].decode())
        place = _PATH.fullmatch(path)
        if not place:
            raise Refused(404, "not found")
        _only(scope, "POST")
        if self._under_way > MOST:
            raise Refused(503, "busy")
        task_id = self._named(scope["headers"], await _body(scope["headers"], receive))
        await self._store(Named(place[1].decode(), place[2].decode(), task_id))
        return "success"

    async def _proof(self, scope: Scope, token: str) -> str:
        """That this receiver reads the server on which the token's secret lies. Raises Refused."""
        _only(scope, "POST")
        if self._under_way > MOST:
            raise Refused(503, "busy")
        if not (proof := await self._ask(token)):
            raise Refused(404, "not found")
        return proof

    async def _ask(self, token: str) -> str:
        """What the queue's server has for this token; questions under way share a round trip. Raises Refused."""
        try:
            async with asyncio.timeout(STORE_SECONDS):
                return await self._prove(token)
        except (QueueUnavailable, TimeoutError):
            raise Refused(503, "try again") from None

    def _named(self, headers: Headers, body: bytes) -> str:
        """The task of which the call speaks, by the vendor's word where calls are signed. Raises Refused."""
        named = named_tasks(body)
        if not named:
            raise Refused(400, "names no task")
        if self._key is None:
            return named[0]
        task_id = signed(headers, named, self._key, time.time())
        if task_id is None:
            raise Refused(401, "not signed")
        return task_id

    async def _store(self, named: Named) -> None:
        """Raises Refused with 503 when nothing is stored for sure: the vendor repeats what is not answered with 200."""
        try:
            async with asyncio.timeout(STORE_SECONDS):
                outcome = await self._name_task(named)
        except (QueueUnavailable, TimeoutError):
            raise Refused(503, "try again") from None
        except Exception as error:  # its text might show what was to be stored
            _log.error("a callback could not be stored: %s", type(error).__name__)
            raise Refused(503, "try again") from None
        if not outcome:
            raise Refused(503, "try again")
        self._count(outcome)
        if outcome == "stored":
            self._waker.wake()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": f"{message['type']}.complete"})
        await asyncio.to_thread(self._waker.close)
        await send({"type": "lifespan.shutdown.complete"})


def named_tasks(body: bytes) -> tuple[str, ...]:
    """The task IDs of a callback in the order of trust: in `data`, then beside it (the other documented shape).

    The vendor's page signs the "task ID from the request body", and in its examples that is `data.task_id`; where the
    two differ, the signature says which one is meant.
    """
    found = parse_object(body)
    if found is None:
        return ()
    beside = {name: value for name, value in found.items() if name != "data"}
    named = (task_id_in(found), task_id_in(beside))
    return tuple(dict.fromkeys(task_id for task_id in named if task_id is not None))


def signed(headers: Headers, task_ids: Iterable[str], key: bytes, now: float) -> str | None:
    """The one of these tasks over which the vendor's signature of `taskId.timestamp` is right (vendor page).

    None when it is none of them, the timestamp is more than a day away from `now` (seconds), or a header is missing or
    there twice.
    """
    stamp, signature = _single(headers, b"x-webhook-timestamp"), _single(headers, b"x-webhook-signature")
    if not stamp.isdigit() or len(stamp) > 12 or abs(now - int(stamp)) > OLDEST:
        return None
    for task_id in task_ids:
        wanted = base64.b64encode(hmac.new(key, task_id.encode() + b"." + stamp, hashlib.sha256).digest())
        if hmac.compare_digest(wanted, signature):
            return task_id
    return None


def _single(headers: Headers, name: bytes) -> bytes:
    """The value of a header that is there once; else nothing."""
    values = [value for other, value in headers if other.lower() == name]
    return values[0] if len(values) == 1 else b""


def _only(scope: Scope, *methods: str) -> None:
    if scope["method"] not in methods:
        raise Refused(405, "method not allowed", allow=", ".join(methods))


async def _body(headers: Headers, receive: Receive) -> bytes:
    """The whole body. Raises Refused when it is too large or too slow, Gone when it will not come."""
    for length in (value for name, value in headers if name.lower() == b"content-length"):
        if not _CONTENT_LENGTH.fullmatch(length) or int(length) > LARGEST:
            raise Refused(413, "too large")
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _read(receive)
    except TimeoutError:
        raise Refused(408, "too slow") from None


async def _read(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        body += message.get("body", b"")
        if len(body) > LARGEST:
            raise Refused(413, "too large")
        if not message.get("more_body"):
            return bytes(body)


async def _reply(send: Send, status: int, words: str, allow: str | None = None) -> None:
    """A refused call ends the connection too: whatever of its body is still to come is not waited for."""
    body = f'{{"code":{status},"msg":"{words}"}}'.encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [] if status == 200 else [(b"connection", b"close")]
    headers += [(b"allow", allow.encode())] if allow else []
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
