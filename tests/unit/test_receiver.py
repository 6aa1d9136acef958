"""The callback receiver as an ASGI app, called without a server: what is taken in, and what never is."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from motionq.contract.errors import QueueUnavailable
from motionq_worker import receiver as module
from motionq_worker.receiver import LARGEST, Named, Receiver, named_tasks, signed
from motionq_worker.waker import Waker

JOB, NONCE, TASK = "01hzy3v9qk5r8w2x4c6d7e8f9g", "ab" * 20, "5f" * 16
PATH = f"/callbacks/kie/{JOB}/{NONCE}"
GOOD = json.dumps({"code": 200, "msg": "ok", "data": {"taskId": TASK, "state": "success"}}).encode()
KEY = b"a key"
STORED = [Named(JOB, NONCE, TASK)]


@dataclass
class App:
    """A receiver over a list, and the answers to calls of it."""

    key: bytes | None = None
    outcome: str = "stored"
    fault: Exception | None = None
    stored: list[Named] = field(default_factory=list)
    woken: list[None] = field(default_factory=list)
    counted: list[str] = field(default_factory=list)

    def store(self, named: Sequence[Named]) -> list[str]:
        if self.fault:
            raise self.fault
        self.stored += named
        return [self.outcome] * len(named)

    def prove(self, tokens: Sequence[str]) -> list[str]:
        if self.fault:
            raise self.fault
        return [""] * len(tokens)

    def call(
        self,
        body: bytes | Iterable[bytes] = GOOD,
        *,
        path: str | bytes = PATH,
        method: str = "POST",
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> tuple[int, dict[bytes, bytes], bytes]:
        waker = _Counting(self.woken)
        app = Receiver(self.store, self.key, waker, self.prove, self.counted.append)
        return asyncio.run(_call(app, [body] if isinstance(body, bytes) else list(body), path, method, [*headers]))

    def status(self, *args: Any, **kwargs: Any) -> int:
        return self.call(*args, **kwargs)[0]


class _Counting(Waker):
    """A waker that only counts wishes."""

    def __init__(self, wishes: list[None]) -> None:
        super().__init__(lambda: None)
        self._wishes = wishes

    def wake(self) -> None:
        self._wishes.append(None)


async def _call(
    app: Receiver, parts: list[bytes], path: str | bytes, method: str, headers: list[tuple[bytes, bytes]]
) -> tuple[int, dict[bytes, bytes], bytes]:
    messages = [{"type": "http.request", "body": part, "more_body": i < len(parts) - 1} for i, part in enumerate(parts)]
    said: list[Any] = []

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop(0)
        await asyncio.Event().wait()  # a body that does not go on
        raise AssertionError

    async def send(message: Any) -> None:
        said.append(message)

    raw = path if isinstance(path, bytes) else path.encode()
    scope = {"type": "http", "method": method, "path": raw.decode("latin-1"), "raw_path": raw, "headers": headers}
    await app(scope, receive, send)
    start, content = said
    return start["status"], dict(start["headers"]), content["body"]


def signature(task: str, key: bytes = KEY, at: float | None = None) -> list[tuple[bytes, bytes]]:
    stamp = str(int(time.time() if at is None else at)).encode()
    digest = base64.b64encode(hmac.new(key, task.encode() + b"." + stamp, hashlib.sha256).digest())
    return [(b"x-webhook-timestamp", stamp), (b"x-webhook-signature", digest)]


# -- what is taken in -------------------------------------------------------------------------------------------------
def test_a_callback_is_stored_for_its_purchase_and_wakes_a_worker() -> None:
    """Job and nonce come from the address, the task from the body; the answer is the one that the vendor documents."""
    app = App()
    status, headers, body = app.call()
    assert (status, json.loads(body)) == (200, {"code": 200, "msg": "success"})
    assert b"connection" not in headers
    assert app.stored == STORED
    assert len(app.woken) == 1


@pytest.mark.parametrize("outcome", ["known", "orphan"])
def test_a_callback_that_changes_nothing_is_answered_alike_and_wakes_nobody(outcome: str) -> None:
    """Whoever guesses addresses learns nothing from the answer, and costs no worker a turn."""
    app = App(outcome=outcome)
    assert app.call()[2] == App().call()[2]
    assert app.woken == []


def test_a_body_in_parts_is_one_body() -> None:
    """Chunks of any size are put together before they are read."""
    app = App()
    assert app.status([GOOD[:1], b"", GOOD[1:30], GOOD[30:]]) == 200
    assert app.stored == STORED


@pytest.mark.parametrize(
    ("body", "tasks"),
    [
        ({"data": {"taskId": "A"}}, ("A",)),
        ({"taskId": "A", "code": 200, "msg": "", "data": {"task_id": "A", "callbackType": "x"}}, ("A",)),
        ({"taskId": "A", "data": {"task_id": "B"}}, ("B", "A")),
        ({"taskId": "A", "data": None}, ("A",)),
        ({"taskId": "A", "data": [1]}, ("A",)),
        ({"data": {"taskId": 5, "task_id": "A"}}, ("A",)),
        ({"data": {"taskId": {"a": 1}}}, ()),
        ({"data": {"taskId": ""}}, ()),
        ({"data": {"taskId": "x" * 201}}, ()),
        ({"data": {"taskId": "a b"}}, ()),
        ({"data": {"taskId": "a\n"}}, ()),
        ({"data": {"taskId": "ä"}}, ()),
        ({}, ()),
    ],
)
def test_which_tasks_a_body_names(body: object, tasks: tuple[str, ...]) -> None:
    """Both documented shapes are read, what lies in `data` first; anything but a plain token is no task ID."""
    assert named_tasks(json.dumps(body).encode()) == tasks


# -- what is not ------------------------------------------------------------------------------------------------------
BAD_BODIES: dict[str, bytes] = {
    "empty": b"",
    "not JSON": b"<html>hello</html>",
    "cut": GOOD[:-2],
    "a list": b"[1]",
    "a string": b'"task"',
    "null": b"null",
    "NaN": b"NaN",
    "bytes that are no text": b"\xff\xfe\x00\xd8",
    "nested without end": b"[" * 60_000,
    "objects without end": b'{"a":' * 12_000,
    "a huge number": b'{"data":{"taskId":' + b"9" * 60_000 + b"}}",
    "a huge exponent": b'{"data":{"taskId":1e99999}}',
    "a lone surrogate": b'{"data":{"taskId":"\\ud800"}}',
    "NUL": b'{"data":{"taskId":"a\\u0000b"}}',
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES.keys())
def test_a_body_that_names_no_task_is_refused(body: bytes) -> None:
    """HTTP 400, nothing stored, and the connection ends."""
    app = App()
    status, headers, _ = app.call(body)
    assert (status, headers[b"connection"]) == (400, b"close")
    assert app.stored == []


def test_a_repeated_name_in_an_object_counts_once() -> None:
    """Of two task IDs under one name the last one is read, as JSON readers do; never both."""
    assert named_tasks(b'{"data":{"taskId":"A","taskId":"B"}}') == ("B",)


BAD_PATHS: dict[str, str | bytes] = {
    "root": "/",
    "no nonce": f"/callbacks/kie/{JOB}",
    "a slash at the end": f"{PATH}/",
    "double slash before": f"/{PATH}",
    "double slash inside": f"/callbacks//kie/{JOB}/{NONCE}",
    "an encoded slash": f"/callbacks/kie/{JOB}%2f{NONCE}",
    "an encoded letter": f"/callbacks/%6bie/{JOB}/{NONCE}",
    "upwards": f"/x/..{PATH}",
    "a dot": f"/callbacks/kie/./{JOB}/{NONCE}",
    "upper case": f"/callbacks/kie/{JOB.upper()}/{NONCE}",
    "a nonce in upper case": f"/callbacks/kie/{JOB}/{NONCE.upper()}",
    "a short nonce": f"/callbacks/kie/{JOB}/{NONCE[:-1]}",
    "a long nonce": f"/callbacks/kie/{JOB}/{NONCE}0",
    "a long job": f"/callbacks/kie/{JOB}0/{NONCE}",
    "a new line": f"{PATH}\n",
    "digits of another script": "/callbacks/kie/" + "٣" * 26 + f"/{NONCE}",
    "bytes that are no text": b"/callbacks/kie/" + b"\xff" * 26 + b"/" + NONCE.encode(),
    "very long": "/" + "a" * 60_000,
    "another vendor": f"/callbacks/fal/{JOB}/{NONCE}",
    "health of something": "/healthz/x",
}


@pytest.mark.parametrize("path", BAD_PATHS.values(), ids=BAD_PATHS.keys())
def test_only_the_exact_address_is_one(path: str | bytes) -> None:
    """HTTP 404 for every other spelling: what a proxy made of an address is never guessed at."""
    app = App()
    assert app.status(path=path) == 404
    assert app.stored == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "post", "TRACE"])
def test_only_post_stores(method: str) -> None:
    """HTTP 405 that names POST."""
    app = App()
    status, headers, _ = app.call(method=method)
    assert (status, headers[b"allow"]) == (405, b"POST")
    assert app.stored == []


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("HEAD", 200), ("POST", 405)])
def test_health_is_answered_without_the_server(method: str, status: int) -> None:
    """/healthz says that the process answers; a queue's server that is away does not get the receiver restarted."""
    assert App(fault=QueueUnavailable("away")).status(path="/healthz", method=method) == status


@pytest.mark.parametrize(("fault", "status"), [(None, 200), (QueueUnavailable("away"), 503)])
def test_readiness_asks_the_server(fault: Exception | None, status: int) -> None:
    """/readyz says whether a callback could be stored now, for health checks; it counts as no callback."""
    app = App(fault=fault)
    assert app.status(path="/readyz", method="GET") == status
    assert app.counted == []


def test_a_body_is_read_no_further_than_its_limit() -> None:
    """One byte more than 64 KB is HTTP 413, whether it is announced, comes in parts or lies about its length."""
    blank = GOOD + b" " * (LARGEST - len(GOOD))
    assert App().status(blank) == 200
    assert App().status(blank + b" ") == 413
    assert App().status([blank, b" ", b" " * 10**6]) == 413
    assert App().status([b"", b"never read"], headers=[(b"content-length", str(LARGEST + 1).encode())]) == 413
    assert App().status([blank, b" "], headers=[(b"content-length", b"5")]) == 413


@pytest.mark.parametrize("length", [b"-1", b"1e3", b"9" * 400, b"\xb2", b"", b" 5"])
def test_a_length_that_is_none_is_refused(length: bytes) -> None:
    """Whatever the server in front let through, only digits are a length."""
    assert App().status(headers=[(b"content-length", length)]) == 413


def test_a_body_that_does_not_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP 408 after the time a body may take, and the connection ends."""
    monkeypatch.setattr(module, "BODY_SECONDS", 0.01)
    app = App()

    async def call() -> Any:
        said: list[Any] = []

        async def receive() -> dict[str, Any]:
            if not said:
                said.append({"type": "part"})
                return {"type": "http.request", "body": GOOD, "more_body": True}
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Any) -> None:
            said.append(message)

        scope = {"type": "http", "method": "POST", "path": PATH, "raw_path": PATH.encode(), "headers": []}
        await Receiver(app.store, None, _Counting([]))(scope, receive, send)
        return said[1]

    start = asyncio.run(call())
    assert start["status"] == 408
    assert (b"connection", b"close") in start["headers"]
    assert app.stored == []


def test_a_caller_that_hangs_up_is_not_answered() -> None:
    """Half a body and then nobody: nothing is stored, nothing is sent."""
    app, said = App(), []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        said.append(message)

    scope = {"type": "http", "method": "POST", "path": PATH, "raw_path": PATH.encode(), "headers": []}
    asyncio.run(Receiver(app.store, None, _Counting([]))(scope, receive, send))
    assert (app.stored, said) == ([], [])


@pytest.mark.parametrize("fault", [QueueUnavailable("away"), RuntimeError("secret " + NONCE)])
def test_what_could_not_be_stored_is_asked_for_again(fault: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """HTTP 503, so that the vendor repeats it; neither answer nor log shows the address."""
    app = App(fault=fault)
    status, _, body = app.call()
    assert status == 503
    assert NONCE not in body.decode() + caplog.text
    assert app.woken == []


def test_one_that_the_server_refused_is_asked_for_again() -> None:
    """An empty outcome is no success."""
    assert App(outcome="").status() == 503


def test_a_server_that_hangs_costs_the_vendor_no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer comes within the time a record may take, whatever the queue's server does."""
    monkeypatch.setattr(module, "STORE_SECONDS", 0.02)
    monkeypatch.setattr(App, "store", lambda _self, named: time.sleep(0.2) or ["stored"] * len(named))
    assert App().status() == 503


# -- signatures -------------------------------------------------------------------------------------------------------
def test_a_signed_callback_is_taken_in() -> None:
    """With a key set, the signature over task ID and timestamp opens the door."""
    app = App(key=KEY)
    assert app.status(headers=signature(TASK)) == 200
    assert app.stored == STORED


def _spoilt(change: Callable[[list[tuple[bytes, bytes]]], list[tuple[bytes, bytes]]]) -> list[tuple[bytes, bytes]]:
    return change(signature(TASK))


FORGED: dict[str, list[tuple[bytes, bytes]]] = {
    "unsigned": [],
    "another key": signature(TASK, b"another"),
    "another task": signature("other"),
    "no timestamp": signature(TASK)[1:],
    "no signature": signature(TASK)[:1],
    "an empty signature": [signature(TASK)[0], (b"x-webhook-signature", b"")],
    "a signature that is no text": [signature(TASK)[0], (b"x-webhook-signature", b"\xff\xfe")],
    "two timestamps": [signature(TASK)[0], *signature(TASK)],
    "two signatures": [*signature(TASK), (b"x-webhook-signature", b"x")],
    "another moment": [(b"x-webhook-timestamp", b"1790000000"), signature(TASK)[1]],
    "yesterday": signature(TASK, at=time.time() - 90_000),
    "tomorrow": signature(TASK, at=time.time() + 2 * 86_400),  # far enough for a slow run
    "before time": signature(TASK, at=-5),
    "the end of time": signature(TASK, at=10**15),
    "digits of another script": [(b"x-webhook-timestamp", "٣".encode()), signature(TASK)[1]],
}


@pytest.mark.parametrize("headers", FORGED.values(), ids=FORGED.keys())
def test_a_forged_callback_is_refused(headers: list[tuple[bytes, bytes]]) -> None:
    """HTTP 401 and nothing stored for every other signature, timestamp or number of headers."""
    app = App(key=KEY)
    assert app.status(headers=headers) == 401
    assert app.stored == []


def test_without_a_key_signatures_are_not_looked_at() -> None:
    """Whoever has set no key gets callbacks that are signed by one."""
    assert App().status(headers=signature(TASK, b"any")) == 200


@pytest.mark.parametrize("meant", ["A", "B"])
def test_where_a_body_names_two_tasks_the_signature_says_which(meant: str) -> None:
    """The stored task is the signed one, never the other one of the same body."""
    app = App(key=KEY)
    body = json.dumps({"taskId": "A", "data": {"task_id": "B"}}).encode()
    assert app.status(body, headers=signature(meant)) == 200
    assert [one.task_id for one in app.stored] == [meant]


def test_names_of_headers_have_no_case() -> None:
    """A server in front may write them as it likes."""
    headers = [(name.title(), value) for name, value in signature(TASK, at=1000)]
    assert signed(headers, [TASK], KEY, now=1000.0) == TASK
    assert signed(headers, [TASK], KEY, now=1000.0 + 86_401) is None


# -- many at once -----------------------------------------------------------------------------------------------------
async def _many(app: Receiver, count: int, body: list[bytes]) -> list[int]:
    found: list[int] = []

    async def one() -> None:
        parts = [{"type": "http.request", "body": part, "more_body": False} for part in body]

        async def receive() -> dict[str, Any]:
            if parts:
                return parts.pop()
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Any) -> None:
            if "status" in message:
                found.append(message["status"])

        await app(
            {"type": "http", "method": "POST", "path": PATH, "raw_path": PATH.encode(), "headers": []}, receive, send
        )

    await asyncio.gather(*(one() for _ in range(count)))
    return found


def test_concurrent_callbacks_share_round_trips_and_are_all_stored() -> None:
    """900 at once are 900 answers and 900 writes, in far fewer calls of the store."""
    calls: list[int] = []

    def store(named: Sequence[Named]) -> list[str]:
        calls.append(len(named))
        return ["stored"] * len(named)

    assert asyncio.run(_many(Receiver(store, None, _Counting([])), 900, [GOOD])) == [200] * 900
    assert sum(calls) == 900
    assert len(calls) < 100


def test_more_calls_than_can_be_held_are_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies that do not come can't fill the memory: beyond the limit the answer is 503, at once."""
    monkeypatch.setattr(module, "MOST", 10)
    monkeypatch.setattr(module, "BODY_SECONDS", 0.05)
    found = asyncio.run(_many(Receiver(lambda _: [], None, _Counting([])), 30, []))
    assert sorted(found) == [408] * 10 + [503] * 20


def test_a_websocket_is_closed() -> None:
    """An upgrade finds no door."""
    said: list[Any] = []

    async def send(message: Any) -> None:
        said.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    asyncio.run(Receiver(lambda _: [], None, _Counting([]))({"type": "websocket", "path": PATH}, receive, send))
    assert said == [{"type": "websocket.close"}]
