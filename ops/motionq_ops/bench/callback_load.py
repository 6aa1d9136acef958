"""The load of `motionq bench callbacks`: prepared requests over many kept-alive connections."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

import aiohttp

from motionq_ops.sandbox.records import callback_body, signature_headers

_GIVE_UP = aiohttp.ClientTimeout(total=15.0)  # the vendor's patience, as documented for its other APIs


@dataclass(frozen=True)
class Callback:
    """One prepared request."""

    url: str
    body: bytes
    headers: dict[str, str]


@dataclass
class Outcome:
    """`latencies`: seconds of every callback that was answered with HTTP 200; `seconds`: of the whole run."""

    seconds: float = 0.0
    errors: int = 0
    latencies: list[float] = field(default_factory=list)


def prepared(base_url: str, purchases: Sequence[tuple[str, str]], key: str) -> list[Callback]:
    """A signed callback for each (job, nonce), of the vendor's shape and size, naming a task of its own."""
    found = []
    for number, (job_id, nonce) in enumerate(purchases):
        task_id, url = f"{number:032x}", f"{base_url}/callbacks/kie/{job_id}/{nonce}"
        headers = {"Content-Type": "application/json"} | signature_headers(key, task_id, int(time.time()))
        found.append(Callback(url, json.dumps(callback_body(_record(task_id, url))).encode(), headers))
    return found


def _record(task_id: str, url: str) -> dict[str, object]:
    media = {"input_urls": [f"https://host/{'a' * 64}.png"], "video_urls": [f"https://host/{'b' * 64}.mp4"]}
    asked = media | {"prompt": "a dance " * 12, "character_orientation": "video", "mode": "720p"}
    model, result = "kling-2.6/motion-control", {"resultUrls": [f"https://host/k/{task_id}_0.mp4"]}
    return {
        "taskId": task_id,
        "model": model,
        "state": "success",
        "param": json.dumps({"input": json.dumps(asked), "callBackUrl": url, "model": model}),
        "resultJson": json.dumps(result),
        "failCode": None,
        "failMsg": None,
        "costTime": 135,
        "completeTime": 1_790_000_135_000,
        "createTime": 1_790_000_000_000,
        "creditsConsumed": 66.0,
    }


def send(callbacks: Sequence[Callback], *, rate: float | None, seconds: float, connections: int) -> Outcome:
    """Send them, round and round, for so long: `rate` a second, or as fast as the answers come (None).

    With a rate the moments are fixed beforehand, and latency counts from the moment at which a callback was due: a
    receiver that falls behind can't slow the clock down.
    """
    return asyncio.run(_send(callbacks, rate, seconds, connections))


async def _send(callbacks: Sequence[Callback], rate: float | None, seconds: float, connections: int) -> Outcome:
    outcome, numbers = Outcome(), count()
    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(connector=connector, timeout=_GIVE_UP, trust_env=False) as session:
        began = time.perf_counter()

        async def line() -> None:
            for number in numbers:
                due = began + number / rate if rate else time.perf_counter()
                if due >= began + seconds:
                    return
                await asyncio.sleep(due - time.perf_counter())
                await _one(session, callbacks[number % len(callbacks)], due, outcome)

        await asyncio.gather(*(line() for _ in range(connections)))
        outcome.seconds = time.perf_counter() - began
    return outcome


async def _one(session: aiohttp.ClientSession, callback: Callback, due: float, outcome: Outcome) -> None:
    try:
        async with session.post(callback.url, data=callback.body, headers=callback.headers) as answer:
            await answer.read()
            good = answer.status == 200
    except (aiohttp.ClientError, TimeoutError, OSError):
        good = False
    if good:
        outcome.latencies.append(time.perf_counter() - due)
    else:
        outcome.errors += 1
