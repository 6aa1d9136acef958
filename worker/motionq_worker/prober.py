"""Looks at a closed gate, once per interval for the whole account: has its reason gone?"""

from __future__ import annotations

import logging
import threading

from motionq.contract.errors import QueueUnavailable
from motionq.contract.store import JobStore
from motionq_worker.kie.client import KieClient
from motionq_worker.kie.errors import KieFault
from motionq_worker.pauses import POLICIES, Policy, may_probe

_log = logging.getLogger(__name__)


class Prober:
    """Called at each tick by the worker whose turn it is; asks the vendor in a thread of its own."""

    def __init__(self, store: JobStore, client: KieClient, key: str) -> None:
        self._store = store
        self._client = client
        self._key = key
        self._asking: threading.Thread | None = None

    def look(self) -> None:
        """Opens what another key opens, and asks where asking helps. Raises QueueUnavailable."""
        gate = self._store.paused()
        if gate is None:
            return
        if gate.get("key") and gate["key"] != self._key:
            self._store.amend(gate)
            return
        policy = POLICIES.get(gate["reason"], Policy())
        now = self._store.now()
        if policy.asks is None or gate["until"] != "0" or now - int(gate.get("asked", 0)) < policy.asks * 1000:
            return
        if not self._store.amend(gate, asked=now):
            return
        self._asking = threading.Thread(target=self._ask, args=(gate,), name="motionq-prober", daemon=True)
        self._asking.start()

    def close(self) -> None:
        """Waits for a question under way."""
        if self._asking:
            self._asking.join(timeout=5)

    def _ask(self, gate: dict[str, str]) -> None:
        try:
            balance = self._client.credits()
            self._weigh(gate, balance)
        except KieFault as fault:
            _log.info("the gate stays closed (%s): %s", gate["reason"], fault)
        except QueueUnavailable:
            _log.info("the gate could not be looked at: the queue's server is away")

    def _weigh(self, gate: dict[str, str], balance: float) -> None:
        seen = float(gate["balance"]) if "balance" in gate else None
        if may_probe(gate["reason"], balance, seen, float(gate.get("need") or 0)):
            self._store.amend(gate, until=self._store.now())
        elif seen is None:
            self._store.amend(gate, balance=str(balance))
