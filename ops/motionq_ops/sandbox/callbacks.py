"""Callbacks: POSTs to the caller's address, signed, repeated, and spoilt where a fault says so."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from motionq_ops.sandbox import records
from motionq_ops.sandbox.answers import to_json
from motionq_ops.sandbox.clock import Agenda, Clock, wall_ms
from motionq_ops.sandbox.faults import Rule
from motionq_ops.sandbox.ledger import Entry, Ledger
from motionq_ops.sandbox.settings import Settings

_TIMEOUT = aiohttp.ClientTimeout(total=15.0)


@dataclass(frozen=True, slots=True)
class Call:
    """One callback: where to, about which task, and how it is spoilt."""

    url: str
    account: str
    data: Mapping[str, Any]
    faults: Mapping[str, Rule]

    @property
    def body(self) -> dict[str, Any]:
        """Return the JSON body."""
        alternate = "callback_alternate" in self.faults
        return (records.alternate_callback_body if alternate else records.callback_body)(dict(self.data))

    def headers(self, key: str | None) -> dict[str, str]:
        """Return the signature headers; none without a key, unless they are to be forged."""
        if "callback_forged" in self.faults:
            key = secrets.token_hex(16)
        if key is None or "callback_unsigned" in self.faults:
            return {}
        return records.signature_headers(key, str(self.data["taskId"]), int(time.time()))


class Courier:
    """Sends callbacks and writes each attempt into the ledger."""

    def __init__(
        self, session: aiohttp.ClientSession, ledger: Ledger, clock: Clock, agenda: Agenda, hmac_key: str | None
    ) -> None:
        self._session = session
        self._ledger = ledger
        self._clock = clock
        self._agenda = agenda
        self._key = hmac_key

    async def send(self, call: Call, settings: Settings, again: Callable[[Call, int], None], attempt: int = 0) -> None:
        """POST once; unless the answer is HTTP 200, ``again`` is planned, at most ``callback_retries`` times."""
        status = await self._post(call)
        if status != 200 and attempt < settings.callback_retries:
            moment = self._clock.now() + settings.callback_retry_seconds
            self._agenda.at(moment, lambda: again(call, attempt + 1))

    async def _post(self, call: Call) -> int | None:
        arrival, at_ms, status = time.monotonic(), wall_ms(), None
        # On a connection of its own: one that is kept may be closed by the receiver at this very moment.
        headers = call.headers(self._key) | {"Content-Type": "application/json", "Connection": "close"}
        try:
            async with self._session.post(
                call.url, data=to_json(call.body), headers=headers, timeout=_TIMEOUT, allow_redirects=False
            ) as answer:
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, ValueError, OSError):
            status = None
        fault = "+".join(sorted(call.faults)) or None
        facts = {"callBackUrl": call.url, "state": call.data["state"]}
        self._ledger.add(
            Entry("callback", arrival, call.account, None, None, status, call.data["taskId"], fault, facts, at_ms)
        )
        return status
