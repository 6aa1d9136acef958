"""The gate: who may buy next (`admit`), and who may send now (`send`). What it decides, one Lua call each."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from motionq.contract import states
from motionq.contract.durability import BUYS_BELOW, replicas_have_it, settles_after
from motionq.contract.errors import QueueUnavailable
from motionq.contract.record import Record
from motionq.contract.settings import Settings
from motionq.contract.states import State
from motionq.contract.store import JobStore, reachable
from motionq_worker.decisions import Pause, failed
from motionq_worker.pauses import POLICIES, UNCLEAR_IN_A_ROW, Policy, fingerprint
from motionq_worker.settings import submit_lease

_DISK_KNOWN = 10.0  # seconds for which the server's persistence is taken to be as it was
_LOOK_AT_DISK = 2.0
_DISK_BUSY = 0.2  # seconds after which a purchase is looked at again that a syncing disk holds up
_MOMENT = 0.02  # seconds between two looks at a syncing disk
_PROBE_MARGIN = 5000  # ms
_DISK = "disk"  # the scripts' word for a disk that is syncing


@dataclass(frozen=True)
class Sending:
    """`verdict`: mine | wait (look again in `seconds`) | refused | other_server | fenced."""

    verdict: str
    seconds: float


class Gate:
    """The gate of one account. `disk_patience`: seconds for which a server's disk that is syncing is waited for."""

    disk_patience = 0.1

    def __init__(self, store: JobStore, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._key = fingerprint(settings.kie_api_key.get_secret_value()) if settings.kie_api_key else ""
        self._settle = 0.0
        self._asked = float("-inf")

    def admit(self, worker: str) -> int:
        """Arms as many jobs as there are free places; returns how many. Safe to call from everywhere at once."""
        argument = {
            "salt": secrets.token_hex(16),
            "in_flight": self._settings.max_in_flight,
            "waiting": self._settings.submit_rate[0],
            "settle": int(self.settle_seconds() * 1000),
            "upload_ttl": int(self._settings.upload_ttl * 1000),
            "budget": self._settings.max_credits_per_day,
            "memory": BUYS_BELOW,
            "probe_lease": int(submit_lease(self._settings) * 1000) + _PROBE_MARGIN,
            "event": {"step": "gate", "worker": worker},
            "refresh_event": {"step": "gate", "note": "its uploads are too old: uploading again"},
            "expire_event": {"step": "gate", "note": "its deadline passed"},
            "expire_failure": failed("deadline", "the caller's deadline passed before it was bought")["failure"],
        }
        armed, _why = self._when_the_disk_rests("admit", argument)
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
            "busy": int(_DISK_BUSY * 1000),
            "event": {"step": "submit", "worker": worker},
        }
        verdict, milliseconds = self._when_the_disk_rests("send", argument)
        return Sending("wait" if verdict == _DISK else verdict, milliseconds / 1000)

    def _when_the_disk_rests(self, script: str, argument: dict[str, Any]) -> Sequence[Any]:
        """What the script says; most syncs take a few milliseconds, for which nobody need come again."""
        ends = time.monotonic() + self.disk_patience
        with reachable():
            while _DISK in (answer := self._store.scripts.run(script, argument)) and time.monotonic() < ends:
                time.sleep(_MOMENT)
        return cast("Sequence[Any]", answer)

    def pause(self, pause: Pause, record: Record) -> None:
        """Stops submission for the account, as the reason's policy says."""
        policy = POLICIES.get(pause.reason, Policy())
        self._store.pause(
            pause.reason,
            pause.message,
            seconds=policy.first,
            longest=policy.longest,
            key=self._key,
            need=record.purchase.estimate if record.purchase else 0.0,
        )

    def count_unclear(self) -> int:
        """An answer could not be trusted; the how manieth in a row it is."""
        with reachable():
            return int(self._store.redis.incr(self._store.keys.unclear))

    def unclear(self, record: Record, row: int) -> None:
        """Three answers in a row that can't be trusted, or one to the probe of a closed gate, stop submission."""
        if row >= UNCLEAR_IN_A_ROW or self._store.paused() is not None:
            message = f"{row} createTask answers in a row could not be trusted"
            self.pause(Pause(reason="vendor_unclear", message=message), record)

    def doubted(self) -> bool:
        """Whether kie.ai was found, within a day, to have made a task that it had refused."""
        with reachable():
            return bool(self._store.redis.exists(self._store.keys.lied))

    def durable_everywhere(self) -> bool:
        """Whether all replicas have what was written until now."""
        with reachable():
            return replicas_have_it(self._store.redis, self._store.keys)

    def settle_seconds(self) -> float:
        """How old an arming must be before it survives a power loss, by the server's own configuration."""
        if time.monotonic() - self._asked > _DISK_KNOWN:
            with reachable():
                self._settle = settles_after(self._store.redis)
            self._asked = time.monotonic()
        return self._settle


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
