"""How a task looks from outside: the data of recordInfo and the bodies of callbacks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

from motionq_ops.sandbox.settings import Settings
from motionq_ops.sandbox.tasks import Reading, Task

_FLAGS = {"success": 1, "fail": 3}
_OUTCOMES = {True: (200, "Playground task completed successfully."), False: (501, "Playground task failed.")}


def record(task: Task, reading: Reading, settings: Settings) -> dict[str, Any]:
    """Return recordInfo's ``data``. Times in ms, costTime in seconds (recordings; the docs' "ms" is wrong)."""
    success, fail = reading.state == "success", reading.state == "fail"
    ended = reading.ended_after
    unset = None if settings.fail_fields == "null" else ""
    result = {"resultUrls": [task.film_url]} if success else None
    no_result = "" if settings.result_json == "empty" else None
    data: dict[str, Any] = {
        "taskId": task.id,
        "model": task.order.model,
        "state": reading.state,
        "param": param(task, settings.param),
        "resultJson": json.dumps(result, separators=(",", ":")) if result else no_result,
        "failCode": task.plan.code if fail else unset,
        "failMsg": task.plan.msg if fail else unset,
        "costTime": None if ended is None else round(ended),
        "completeTime": None if ended is None else task.created_ms + round(ended * 1000),
        "createTime": task.created_ms,
    }
    if settings.new_fields:
        data |= {
            "successFlag": _FLAGS.get(reading.state, 0),
            "response": result,
            "creditsConsumed": task.held if success else 0.0,
        }
    return data


def param(task: Task, encoding: str) -> str:
    """Return the echo of the request: JSON text, whose ``input`` is JSON text again (double) or an object (single).

    The order of keys is not that of the request (recordings).
    """
    values = dict(sorted(task.order.input.items(), reverse=True))
    echo: dict[str, Any] = {"input": json.dumps(values, ensure_ascii=False) if encoding == "double" else values}
    if task.order.callback_url:
        echo["callBackUrl"] = task.order.callback_url
    return json.dumps(echo | {"model": task.order.model}, ensure_ascii=False)


def callback_body(data: dict[str, Any]) -> dict[str, Any]:
    """Return the callback for that recordInfo data (after the vendor's newer pages)."""
    code, msg = _OUTCOMES[data["state"] == "success"]
    return {"code": code, "msg": msg, "data": data | {"resultJson": data["resultJson"] or None}}


def alternate_callback_body(data: dict[str, Any]) -> dict[str, Any]:
    """Return the shape of the vendor's webhook-verification page."""
    code, msg = _OUTCOMES[data["state"] == "success"]
    return {
        "taskId": data["taskId"],
        "code": code,
        "msg": msg,
        "data": {"task_id": data["taskId"], "callbackType": "task_completed"},
    }


def signature_headers(key: str, task_id: str, timestamp: int) -> dict[str, str]:
    """Return base64(HMAC-SHA256(key, "taskId.timestamp")) and the timestamp (Unix s). The body is not covered."""
    digest = hmac.new(key.encode(), f"{task_id}.{timestamp}".encode(), hashlib.sha256).digest()
    return {"X-Webhook-Timestamp": str(timestamp), "X-Webhook-Signature": base64.b64encode(digest).decode()}
