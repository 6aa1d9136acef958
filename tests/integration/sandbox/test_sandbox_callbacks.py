"""Callbacks: their shapes, their signatures, and every way in which they go wrong."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time

KEY = "hook-secret"


def genuine(headers: dict[str, str], task: str) -> bool:
    stamp = headers["X-Webhook-Timestamp"]
    digest = hmac.new(KEY.encode(), f"{task}.{stamp}".encode(), hashlib.sha256).digest()
    return headers["X-Webhook-Signature"] == base64.b64encode(digest).decode()


def test_success(client, receiver, wait):
    """One signed POST after a success: code 200 and the same data as recordInfo."""
    task = client.make(callback=receiver.url)
    wait(lambda: receiver.calls)
    headers, body, _ = receiver.calls[0]
    data = client.ended(task)
    assert body == {"code": 200, "msg": "Playground task completed successfully.", "data": data}
    assert genuine(headers, task)
    assert abs(int(headers["X-Webhook-Timestamp"]) - time.time()) < 5
    assert headers["Content-Type"] == "application/json"


def test_failure(client, sandbox, receiver, wait):
    """After a failure: code 501, resultJson null, the failure's code and text."""
    sandbox.add_fault("fail_generation", code=400, msg="No valid characters detected in the video")
    task = client.make(callback=receiver.url)
    wait(lambda: receiver.calls)
    body = receiver.calls[0][1]
    assert (body["code"], body["msg"]) == (501, "Playground task failed.")
    data = body["data"]
    assert (data["taskId"], data["state"], data["failCode"], data["resultJson"]) == (task, "fail", "400", None)


def test_only_when_asked(client, sandbox, receiver, wait):
    """Without a callBackUrl nothing is sent."""
    client.ended(client.make())
    client.make(callback=receiver.url)
    wait(lambda: sandbox.ledger("callback"))
    assert len(receiver.calls) == len(sandbox.ledger("callback")) == 1


def test_echo_holds_the_address(client, receiver, wait):
    """The echoed param in the callback holds the callBackUrl."""
    client.make(callback=receiver.url + "?nonce=1")
    wait(lambda: receiver.calls)
    assert json.loads(receiver.calls[0][1]["data"]["param"])["callBackUrl"] == receiver.url + "?nonce=1"


def test_repeated_until_200(client, sandbox, receiver, wait):
    """Whatever is not HTTP 200 is repeated, at most three times."""
    receiver.replies = [500, 202, 200]
    client.make(callback=receiver.url)
    wait(lambda: len(sandbox.ledger("callback")) == 3)
    assert [line["http"] for line in sandbox.ledger("callback")] == [500, 202, 200]
    receiver.replies = [500] * 9
    client.make(callback=receiver.url)
    wait(lambda: len(sandbox.ledger("callback")) == 7)
    sandbox.advance(1000)
    client.ended(client.make())
    assert [line["http"] for line in sandbox.ledger("callback")][3:] == [500] * 4


def test_nobody_there(client, sandbox, wait):
    """An address where nobody listens is tried four times and written down without a status."""
    client.make(callback="http://127.0.0.1:9/hook")
    wait(lambda: len(sandbox.ledger("callback")) == 4)
    assert {line["http"] for line in sandbox.ledger("callback")} == {None}


def test_duplicate(client, sandbox, receiver, wait):
    """callback_duplicate: the same body so many times."""
    sandbox.add_fault("callback_duplicate", copies=3)
    client.make(callback=receiver.url)
    wait(lambda: len(receiver.calls) == 3)
    assert receiver.calls[0][1] == receiver.calls[1][1] == receiver.calls[2][1]


def test_late(client, sandbox, receiver, wait):
    """callback_late: not at the end of the task but so many simulated seconds later."""
    sandbox.settings(speed=1.0)
    sandbox.add_fault("callback_late", seconds=500)
    task = client.make(callback=receiver.url)
    sandbox.advance(101)
    assert client.ended(task)["state"] == "success"
    assert receiver.calls == []
    sandbox.advance(500)
    wait(lambda: receiver.calls)


def test_early(client, sandbox, receiver):
    """callback_early: it has arrived before createTask is answered, though the task is still running."""
    sandbox.settings(speed=1.0)
    sandbox.add_fault("callback_early")
    task = client.make(callback=receiver.url)
    answered = time.monotonic()
    ((headers, body, arrived),) = receiver.calls
    assert arrived < answered
    assert (body["data"]["taskId"], body["data"]["state"], genuine(headers, task)) == (task, "success", True)
    assert client.record(task)["state"] == "waiting"


def test_early_although_the_answer_is_lost(client, sandbox, receiver, body_of, wait):
    """callback_early works together with a lost answer, and the usual callback comes at the end."""
    sandbox.add_fault("callback_early")
    sandbox.add_fault("lie_500")
    assert client.create(callback=receiver.url)["code"] == 500
    (line,) = sandbox.ledger("createTask")
    assert receiver.calls[0][1]["data"]["taskId"] == line["taskId"]
    wait(lambda: len(receiver.calls) == 2)


def test_never(client, sandbox, receiver):
    """callback_never: the task ends, nobody hears of it."""
    sandbox.add_fault("callback_never")
    client.ended(client.make(callback=receiver.url))
    sandbox.advance(10_000)
    client.ended(client.make())
    assert receiver.calls == []
    assert sandbox.ledger("callback") == []


def test_alternate_shape(client, sandbox, receiver, wait):
    """callback_alternate: the other documented shape."""
    sandbox.add_fault("callback_alternate")
    task = client.make(callback=receiver.url)
    wait(lambda: receiver.calls)
    assert receiver.calls[0][1] == {
        "taskId": task, "code": 200, "msg": "Playground task completed successfully.",
        "data": {"task_id": task, "callbackType": "task_completed"},
    }  # fmt: skip


def test_forged_and_unsigned(client, sandbox, receiver, wait):
    """callback_forged has a signature of another key, callback_unsigned has none."""
    sandbox.add_fault("callback_forged")
    task = client.make(callback=receiver.url)
    wait(lambda: len(receiver.calls) == 1)
    sandbox.add_fault("callback_unsigned")
    client.make(callback=receiver.url)
    wait(lambda: len(receiver.calls) == 2)
    assert len(base64.b64decode(receiver.calls[0][0]["X-Webhook-Signature"])) == 32
    assert not genuine(receiver.calls[0][0], task)
    assert not [name for name in receiver.calls[1][0] if name.startswith("X-Webhook")]


def test_crossed(client, sandbox, receiver, wait):
    """callback_crossed: to the second task's address comes a genuine call about the first task."""
    first = client.make()
    sandbox.add_fault("callback_crossed")
    client.make(callback=receiver.url)
    wait(lambda: receiver.calls)
    headers, body, _ = receiver.calls[0]
    assert (body["data"]["taskId"], genuine(headers, first)) == (first, True)


def test_callback_after_a_flip(client, sandbox, receiver, wait):
    """A 524 that becomes a success is called back twice: 501, then 200."""
    sandbox.add_fault("fail_524_flip")
    client.make(callback=receiver.url)
    sandbox.advance(1201)
    wait(lambda: len(receiver.calls) == 1)
    sandbox.advance(61)
    wait(lambda: len(receiver.calls) == 2)
    assert [body["code"] for _, body, _ in receiver.calls] == [501, 200]
