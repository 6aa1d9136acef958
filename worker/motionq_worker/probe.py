"""How `motionq doctor` knows our receiver from any other server that answers at MOTIONQ_PUBLIC_BASE_URL.

The doctor puts a random secret on the queue's server under a random token, and calls the address with the token. Only
a receiver of this namespace on this very server finds the secret; it answers with an HMAC of the token made with it.
The token in the address tells nobody anything, and a minute later it is worth nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from motionq.contract.connection import reachable
from motionq.contract.store import JobStore

LIVES = 60  # seconds


@dataclass(frozen=True)
class Probe:
    """One question: `token` (40 hex digits) goes into the address, `secret` lies on the queue's server."""

    token: str
    secret: str = field(repr=False)

    @property
    def path(self) -> str:
        """What is added to MOTIONQ_PUBLIC_BASE_URL."""
        return f"/callbacks/kie/probe/{self.token}"

    @property
    def proof(self) -> str:
        """What only our receiver can answer."""
        return _proof(self.token, self.secret)


def put(store: JobStore) -> Probe:
    """A new question, its secret on the server for a minute. Raises QueueUnavailable."""
    probe = Probe(token=secrets.token_hex(20), secret=secrets.token_hex(32))
    with reachable():
        store.redis.set(store.keys.probe(probe.token), probe.secret, ex=LIVES)
    return probe


def take_back(store: JobStore, probe: Probe) -> None:
    """The question is answered, or never will be. Raises QueueUnavailable."""
    with reachable():
        store.redis.delete(store.keys.probe(probe.token))


def proofs(store: JobStore, tokens: Sequence[str]) -> list[str]:
    """The answer to each token in one round trip; empty where no secret lies under it. Raises QueueUnavailable."""
    pipe = store.redis.pipeline(transaction=False)
    for token in tokens:
        pipe.get(store.keys.probe(token))
    with reachable():
        found = pipe.execute()
    return [_proof(token, str(secret)) if secret else "" for token, secret in zip(tokens, found, strict=True)]


def _proof(token: str, secret: str) -> str:
    return hmac.new(secret.encode(), token.encode(), hashlib.sha256).hexdigest()
