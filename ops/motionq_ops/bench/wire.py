"""Messages as they lie on the wire, read whole: Redis commands and replies, HTTP requests and answers.

Every function returns the bytes as they came, to be passed on unchanged. All raise asyncio.IncompleteReadError when the
other side ends first.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

Reader = asyncio.StreamReader
_AGGREGATES = {b"*": 1, b"~": 1, b">": 1, b"%": 2}  # elements per count


async def _line(reader: Reader) -> bytes:
    return await reader.readuntil(b"\r\n")


async def read_command(reader: Reader) -> tuple[bytes, list[bytes]]:
    """A client's command: its bytes and its words."""
    raw, words = await read_reply(reader)
    return raw, [word for word in words if isinstance(word, bytes)]


async def read_reply(reader: Reader) -> tuple[bytes, Any]:
    """A server's reply in RESP2 or RESP3: its bytes and its value (None for nil; errors and lines as bytes)."""
    head = await _line(reader)
    kind, rest = head[:1], head[1:-2]
    if kind in (b"$", b"=", b"!"):
        size = int(rest)
        if size < 0:
            return head, None
        body = await reader.readexactly(size + 2)
        return head + body, body[:-2]
    if kind in _AGGREGATES:
        return await _aggregate(reader, head, int(rest) * _AGGREGATES[kind])
    return head, None if kind == b"_" else rest


async def _aggregate(reader: Reader, head: bytes, count: int) -> tuple[bytes, Any]:
    if count < 0:
        return head, None
    parts, values = [head], []
    for _ in range(count):
        raw, value = await read_reply(reader)
        parts.append(raw)
        values.append(value)
    return b"".join(parts), values


@dataclass(frozen=True)
class Message:
    """One HTTP request or answer; `start` is its first line's words, `last` that the connection ends behind it."""

    raw: bytes
    start: tuple[str, ...]
    last: bool


async def read_request(reader: Reader) -> Message:
    """One request."""
    return await _message(reader, bodiless=False, until_end=False)


async def read_answer(reader: Reader, method: str) -> Message:
    """The answer to a request of this method."""
    message = await _message(reader, bodiless=method == "HEAD", until_end=True)
    return message if message.start[1] != "100" else await read_answer(reader, method)


async def _message(reader: Reader, *, bodiless: bool, until_end: bool) -> Message:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    start, closes = tuple(first.split(" ", 2)), fields.get("connection", "").lower() == "close"
    if bodiless or start[1] in ("204", "304", "100"):
        return Message(head, start, closes)
    if "chunked" in fields.get("transfer-encoding", ""):
        return Message(head + await _chunks(reader), start, closes)
    if "content-length" in fields:
        return Message(head + await reader.readexactly(int(fields["content-length"])), start, closes)
    if until_end:
        return Message(head + await reader.read(-1), start, True)
    return Message(head, start, closes)


async def _chunks(reader: Reader) -> bytes:
    body = bytearray()
    while True:
        size = await _line(reader)
        body += size
        left = int(size.split(b";")[0], 16)
        body += await reader.readexactly(left + 2)
        if left == 0:
            return bytes(body)
