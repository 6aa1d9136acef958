"""The doctor's probe at the receiver, called without a server: who proves himself, and what it tells others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from motionq.contract.errors import QueueUnavailable
from motionq_worker.probe import Probe
from motionq_worker.receiver import Receiver
from motionq_worker.waker import Waker

PROBE = Probe(token="ab" * 20, secret="cd" * 32)
PATH = PROBE.path


def call(known: dict[str, str], path: str = PATH, method: str = "POST", fault: Exception | None = None) -> Any:
    """(status, the answer's words) of a receiver that knows these tokens' proofs."""

    def prove(tokens: Sequence[str]) -> list[str]:
        if fault:
            raise fault
        return [known.get(token, "") for token in tokens]

    said: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        said.append(message)

    async def one() -> None:
        waker = Waker(lambda: None)
        receiver = Receiver(lambda named: pytest.fail("nothing is stored"), None, waker, prove)
        raw = path.encode()
        scope = {"type": "http", "method": method, "path": path, "raw_path": raw, "headers": []}
        await receiver(scope, receive, send)
        waker.close()

    asyncio.run(one())
    return said[0]["status"], json.loads(said[1]["body"])["msg"]


def test_a_known_token_is_answered_with_its_proof() -> None:
    """The answer is the word that only a reader of the same server can give, and nothing is put on record."""
    assert call({PROBE.token: PROBE.proof}) == (200, PROBE.proof)


def test_any_other_token_is_like_any_other_path() -> None:
    """Who guesses learns nothing: the answer is that of a path which does not exist."""
    assert call({}) == (404, "not found") == call({}, path="/callbacks/kie/probe/short")


def test_other_methods_and_a_server_that_is_away_are_told_apart() -> None:
    """A proxy that lets only GET through is not taken for a working one; without a server the answer is 503."""
    assert call({PROBE.token: PROBE.proof}, method="GET") == (405, "method not allowed")
    assert call({}, fault=QueueUnavailable("away")) == (503, "try again")


def test_the_proof_depends_on_token_and_secret_and_shows_neither() -> None:
    """Another secret, or another token, gives another proof; the secret is in no text that is shown or sent."""
    others = [Probe(token="ab" * 20, secret="ce" * 32), Probe(token="ac" * 20, secret="cd" * 32)]
    assert PROBE.proof not in [other.proof for other in others]
    assert PROBE.secret not in f"{PROBE!r} {PROBE.path} {PROBE.proof}"
    assert PROBE.path == f"/callbacks/kie/probe/{PROBE.token}"
