"""Jobs of a release as its server held them, kept for ever (tests/data): later releases must go on with them.

`support/record_jobs.py` writes such a recording.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from redis import Redis

from motionq.contract.job import iso

PUBLIC = "http://127.0.0.1:9"  # nobody answers there: callbacks are lost
_AGE = 10_000  # ms: what was about to become durable then has become so
_MOMENT = re.compile(r"(?<![0-9A-Za-z])1[0-9]{12}(?![0-9A-Za-z])")  # ms since the epoch
_DATE = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z")


def load(recording: Mapping[str, Any], redis: Redis, names: Mapping[str, str]) -> int:
    """Puts the keys and messages on this server, as if they had been written ten seconds ago.

    `names` says what stands for each name of the recording in capitals (VENDOR, IMAGE_URL, TASK_…). Returns the
    server's clock in ms.
    """
    seconds, _ = redis.time()  # type: ignore[misc]
    now = int(seconds) * 1000
    text = json.dumps(recording)
    for name, value in sorted(names.items(), reverse=True):  # TASK_A1 before TASK_A
        text = text.replace(f"<{name}>", value)
    later = now - _AGE - int(recording["at"])
    text = _MOMENT.sub(lambda match: str(int(match[0]) + later), text)
    moved = json.loads(_DATE.sub(lambda match: _moved(match[0], later), text))
    for key in moved["keys"]:
        _write(redis, key["name"], key["type"], key["value"])
        if key["ends"] > 0:
            redis.pexpireat(key["name"], key["ends"])
    for queue, message in moved["messages"].items():
        redis.lpush(f"motionq:motionq.{queue}", message)
    return now


def _moved(date: str, later: int) -> str:
    return iso(datetime.fromisoformat(date) + timedelta(milliseconds=later))


def _write(redis: Redis, name: str, kind: str, value: list[str]) -> None:
    if kind == "hash":
        redis.hset(name, mapping=_pairs(value))
    elif kind == "zset":
        redis.zadd(name, {member: float(score) for member, score in _pairs(value).items()})
    elif kind == "list":
        redis.rpush(name, *value)
    else:
        redis.set(name, value[0])


def _pairs(flat: list[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
