"""Names what a worker says to Redis and to the vendor, and tells which of it is a boundary of a job.

A boundary is a command that changes what is stored, or a request to the vendor. Left out are: commands that only read
(killing a worker beside one is killing it beside the write before it), and what an idle worker does as well (signs of
life, the clock's turn, events for Flower, Celery's own housekeeping). The questions "is anything due?" (claim, admit,
candidates) count when something is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from redis import Redis

from motionq.contract.scripts import NAMES

_WRITES = frozenset(
    b"SET SETEX PSETEX DEL UNLINK HSET HDEL HINCRBY HINCRBYFLOAT INCR ZADD ZREM LPUSH RPUSH PEXPIRE EXPIRE".split()
)
_MESSAGES = ("start", "upload", "submit", "check", "deliver")
# Renewed while a slow step lives; `waiting` only reads, `may_read` counts looks.
_IDLE = frozenset({"tick", "forget", "waiting", "may_read", "recount", "move renew", "pexpire uploading"})
_IDLE_KEYS = ("_kombu.binding.", "unacked_mutex", "beat", ".reply.celery.pidbox")
# How often these happen depends on how long a worker waits: only the first of each is looked at.
REPEATED = frozenset(
    {"move still_running", "still", "learn"}
    | {f"{what} check" for what in ("claim", "publish", "take", "hold", "strike out")}
    | {f"{what} start" for what in ("take", "hold", "strike out")}
)


def script_texts() -> dict[str, str]:
    """The text of each Lua script as motionq sends it."""
    folder = files("motionq.contract") / "lua"
    shared = (folder / "lib.lua").read_text(encoding="utf-8")
    return {name: f"{shared}\n{(folder / f'{name}.lua').read_text(encoding='utf-8')}" for name in NAMES}


def load_scripts(redis: Redis) -> None:
    """So that no worker has to send a script a second time with its text."""
    for text in script_texts().values():
        redis.script_load(text)


class CommandNames:
    """Names the commands of the workers of one namespace. `server`: a connection of our own, to ask what is due."""

    def __init__(self, server: Redis, namespace: str) -> None:
        self._server = server
        self._namespace = namespace
        texts = script_texts().items()
        self._held: dict[bytes, str] = {}  # Celery's delivery tag -> the step of the message
        self._scripts = {hashlib.sha1(text.encode()).hexdigest(): name for name, text in texts}  # noqa: S324 - as Redis

    def of(self, words: Sequence[bytes]) -> str | None:
        """The name of the boundary that this command is, or None."""
        verb, name = words[0].upper(), None
        if verb == b"EVALSHA":
            name = self._script(words[1].decode(), words[3:])
        elif verb in _WRITES:
            name = self._write(verb, words)
        return None if name in _IDLE else name

    def of_transaction(self, commands: Sequence[Sequence[bytes]]) -> str | None:
        """The name of a MULTI … EXEC."""
        named = [name for name in map(self.of, commands) if name]
        return named[0] if named else None

    def of_taken(self, reply: Any) -> str | None:
        """The name of a message's arrival, from the answer to BRPOP."""
        if not isinstance(reply, list) or len(reply) != 2:
            return None
        return f"take {reply[0].decode().rpartition('.')[2]}"

    def _write(self, verb: bytes, words: Sequence[bytes]) -> str | None:
        key = words[1].decode().removeprefix(f"{self._namespace}:")
        if any(idle in key for idle in _IDLE_KEYS):
            return None
        if verb in (b"LPUSH", b"RPUSH"):
            return f"publish {key.rpartition('.')[2]}"
        if key.startswith("unacked"):
            return self._kombu(verb, words)
        return f"{verb.decode().lower()} {key.partition(':')[0]}"

    def _kombu(self, verb: bytes, words: Sequence[bytes]) -> str | None:
        """Kombu writes down which messages a worker holds, and strikes them out."""
        if verb == b"HSET":
            steps = [step for step in _MESSAGES if f"{self._namespace}.{step}".encode() in words[3]]
            self._held[words[2]] = steps[0] if steps else "other"
            return f"hold {self._held[words[2]]}"
        return f"strike out {self._held.get(words[2], 'other')}" if verb == b"HDEL" else None

    def _script(self, sha: str, arguments: Sequence[bytes]) -> str | None:
        name = self._scripts.get(sha)
        if name is None or name in _IDLE:
            return None
        said = json.loads(arguments[1])
        if name == "move":
            return f"move {said['move']['name']}"
        if name == "checks":
            name, said = "claim", {"step": "check"}
        if name in ("claim", "admit", "candidates") and not self._due(name, said, json.loads(arguments[0])["keys"]):
            return None
        return f"claim {said['step']}" if name == "claim" else name

    def _due(self, name: str, said: dict[str, Any], keys: dict[str, Any]) -> bool:
        if name == "admit":
            return bool(self._server.exists(keys["tenants"]))
        seconds, micros = self._server.time()
        place = keys["candidates"] if name == "candidates" else keys["due"][said["step"]]
        return bool(self._server.zcount(place, "-inf", seconds * 1000 + micros // 1000))


def name_of_request(method: str, target: str) -> str:
    """The name of a request to the vendor."""
    path = urlsplit(target).path
    for call in ("createTask", "recordInfo", "file-stream-upload", "credit"):
        if path.endswith(call):
            return f"{method} {call}"
    return f"{method} file"
