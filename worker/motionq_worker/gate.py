"""The gate: who may buy next (`admit`), and who may send now (`send`). What it decides, one Lua call each."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from redis.exceptions import ResponseError

from motionq.contract import states
from motionq.contract.errors import QueueUnavailable
from motionq.contract.record import Record
from motionq.contract.settings import Settings
from motionq.contract.states import State
from motionq.contract.store import JobStore, reachable
from motionq_worker.decisions import failed
from motionq_worker.settings import submit_lease

# With appendfsync everysec a write may be lost for 1 s, and for 2 s when the disk is slow; by then Redis stops writing.
SETTLE = 2.1
_LOOK_AT_DISK = 2.0


@dataclass(frozen=True)
class Sending:
    """`verdict`: mine | wait (look again in `seconds`) | refused | other_server | fenced."""

    verdict: str
    seconds: float


class Gate:
    """The gate of one account."""

    def __init__(self, store: JobStore, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._settle: float | None = None

    def admit(self, worker: str) -> int:
        """Arms as many jobs as there are free places; returns how many. Safe to call from everywhere at once."""
        argument = {
            "salt": secrets.token_hex(16),
            "in_flight": self._settings.max_in_flight,
            "waiting": self._settings.submit_rate[0],
            "settle": int(self._settle_seconds() * 1000),
            "upload_ttl": int(self._settings.upload_ttl * 1000),
            "event": {"step": "gate", "worker": worker},
            "refresh_event": {"step": "gate", "note": "its uploads are too old: uploading again"},
            "expire_event": {"step": "gate", "note": "its deadline passed"},
            "expire_failure": failed("deadline", "the caller's deadline passed before it was bought")["failure"],
        }
        with reachable():
            armed, _why = self._store.scripts.run("admit", argument)
        return int(armed)

    def send(self, record: Record, *, token: str, worker: str) -> Sending:
        """Asks for the right to send this purchase's createTask; only one execution ever gets it."""
        argument = {
            "id": record.id,
            "nonce": record.nonce,
            "token": token,
            "rate": self._settings.submit_rate[0],
            "lease": int(submit_lease(self._settings) * 1000),
            "upload_ttl": int(self._settings.upload_ttl * 1000),
            "retry": int(_LOOK_AT_DISK * 1000),
            "event": {"step": "submit", "worker": worker},
        }
        with reachable():
            verdict, milliseconds = self._store.scripts.run("send", argument)
        return Sending(verdict, milliseconds / 1000)

    def _settle_seconds(self) -> float:
        """How old an arming must be before it survives a power loss, by the server's own configuration."""
        if self._settle is None:
            self._settle = durable_after(self._store)
        return self._settle


def durable_after(store: JobStore) -> float:
    """Seconds until a write of this server is on its disk; 0 where it keeps none (nothing to wait for)."""
    with reachable():
        if not int(store.redis.info("persistence").get("aof_enabled", 0)):
            return 0.0
        try:
            policy = store.redis.config_get("appendfsync").get("appendfsync")
        except ResponseError:  # not allowed to ask: take the slower one
            policy = None
    return 0.0 if policy == "always" else SETTLE


def close_for_restart(store: JobStore) -> int:
    """Before a planned stop of the server: armed jobs go back to their line, since nothing was sent for them.

    Under the next server every job still armed would count as possibly sent. Returns how many went back.
    """
    back = 0
    try:
        for record in list(store.newest((State.ARMED,))):
            moved = store.move(
                states.UNCONNECTED, record.id, nonce=record.nonce, event={"step": "gate", "note": "planned stop"}
            )
            back += moved.ok
    except QueueUnavailable:
        pass
    return back
