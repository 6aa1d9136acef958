"""What goes back over the wire, as values: an answer, and how its delivery ends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MESSAGES: Mapping[int, str] = {
    401: "Unauthorized – Authentication failed. Please check that your Authorization and Content-Type headers are "
    "correctly set.",
    402: "Credits insufficient : Your current balance isn’t enough to run this request. Please top up to continue.",
    404: "Not Found",
    408: "Upstream service did not return a result within 10 minutes",
    422: "The model name you specified is not supported. Please verify your input and use one of the supported "
    "models provided by KIE.",
    429: "Your call frequency is too high. Please try again later.",
    433: "The API key has reached its usage limit",
    455: "Service unavailable - System is currently undergoing maintenance",
    500: "Server exception, please try again later",
    501: "Generation Failed",
    505: "Feature Disabled",
}
"""401, 402, 422, 429, 500: seen in recorded traffic or by several clients. The others: after the vendor's docs."""
NO_RECORD = "recordInfo is null"


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer. ``ending``: whole | cut (half the body, then closed) | drop (closed without a byte) |
    reset (TCP RST) | hang (nothing until the client leaves). ``delay`` is in wall-clock seconds."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    code: int | None = None
    task_id: str | None = None
    path: Path | None = None
    ending: str = "whole"
    delay: float = 0.0

    def content(self) -> bytes:
        """Return the whole body, also of an answer that is a file."""
        return self.body if self.path is None else self.path.read_bytes()


def envelope(code: int, msg: str, data: Any = None, *, status: int = 200, task_id: str | None = None) -> Answer:
    """Return ``{code, msg, data}``: HTTP 200 whatever the code, as recorded."""
    return Answer(status=status, body=to_json({"code": code, "msg": msg, "data": data}), code=code, task_id=task_id)


def refusal(code: int, msg: str | None = None, *, status: int = 200) -> Answer:
    """Return a business error. A recorded 401 has no ``data`` at all, the others have null."""
    body = {"code": code, "msg": msg or MESSAGES[code]} | ({} if code == 401 else {"data": None})
    return Answer(status=status, body=to_json(body), code=code)


def html(status: int, title: str) -> Answer:
    """Return a page as the content network in front of the vendor makes it."""
    page = f"<!DOCTYPE html><html><head><title>{title}</title></head><body><center><h1>{title}</h1></center>"
    return Answer(
        status=status,
        body=f"{page}<hr><center>cloudflare</center></body></html>".encode(),
        content_type="text/html",
        code=status,
    )


def to_json(value: Any) -> bytes:
    """Return compact UTF-8 JSON; half a character (a lone surrogate of the request) becomes a question mark."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(errors="replace")
