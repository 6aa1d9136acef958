"""The gate as people see it: whether jobs are bought now, why not, since and until when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from motionq.contract.connection import reachable
from motionq.contract.durability import BUYS_BELOW, memory_used
from motionq.contract.job import iso
from motionq.contract.states import State
from motionq.contract.store import JobStore

_DAY = 86_400_000  # ms
NOT_LOOKED_AT = (
    "the gate is closed as `restored`: the server's records are older than what workers have seen, and a purchase that "
    "is missing may be made again. Look for those first (runbook, Restore), then: motionq gate resume --restored"
)


@dataclass(frozen=True, kw_only=True)
class GateStatus:
    """The gate at one moment. `in_flight`: purchases under way; `waiting`: jobs that could be bought.

    `until` None: until somebody resumes, or the reason is gone. `half_open`: its time is over, one job tries now, and
    kie.ai's answer to it decides.
    """

    open: bool
    reason: str | None = None
    message: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    half_open: bool = False
    in_flight: int
    waiting: int

    def to_json(self) -> dict[str, Any]:
        """The object of `motionq gate status --json`: every key is always there, absent values are null."""
        return {k: iso(v) if isinstance(v, datetime) else v for k, v in asdict(self).items()}


def gate_status(store: JobStore, budget: float | None) -> GateStatus:
    """The gate now; `budget` in credits a day (MOTIONQ_MAX_CREDITS_PER_DAY). Raises QueueUnavailable."""
    now = store.now()
    with reachable():
        pipe = store.redis.pipeline(transaction=False)
        pipe.zcard(store.keys.slots)
        pipe.zcard(store.keys.state(State.READY))
        pipe.hget(store.keys.spent, str(now // _DAY))
        in_flight, waiting, spent = pipe.execute()
        memory = memory_used(store.redis)
    holds = Holds.found(budget=budget, spent=float(spent or 0), memory=memory)
    return described(store.paused(), now, in_flight=in_flight, waiting=waiting, holds=holds)


@dataclass(frozen=True, kw_only=True)
class Holds:
    """What holds purchases back beside the gate's record: a `budget` of credits that is used up, a full `memory`."""

    budget: float | None = None
    memory: float | None = None

    @classmethod
    def found(cls, *, budget: float | None, spent: float, memory: float) -> Holds:
        """What holds at these figures: credits that may be spent a day, those that are, the share of memory in use."""
        over = budget is not None and spent >= budget
        return cls(budget=budget if over else None, memory=memory if memory > BUYS_BELOW else None)

    @property
    def reason(self) -> str | None:
        """The one that people are told."""
        return "budget" if self.budget is not None else "memory" if self.memory is not None else None


def described(
    paused: Mapping[str, str] | None, now: int, *, in_flight: int, waiting: int, holds: Holds = Holds()
) -> GateStatus:
    """What the gate's record says at `now` (ms), and what else holds purchases back."""
    if paused is None:
        return _unpaused(now, holds, in_flight, waiting)
    until = int(paused["until"])
    return GateStatus(
        open=False,
        reason=paused["reason"],
        message=paused["message"] or None,
        since=_time(int(paused["since"])),
        until=_time(until) if until else None,
        half_open=0 < until <= now,
        in_flight=in_flight,
        waiting=waiting,
    )


def _unpaused(now: int, holds: Holds, in_flight: int, waiting: int) -> GateStatus:
    if holds.budget is not None:
        words = f"the day's budget of {holds.budget:g} credits (MOTIONQ_MAX_CREDITS_PER_DAY) is used up"
        tomorrow = _time((now // _DAY + 1) * _DAY)
        return GateStatus(
            open=False, reason="budget", message=words, until=tomorrow, in_flight=in_flight, waiting=waiting
        )
    if holds.memory is not None:
        words = f"Redis has used {holds.memory:.0%} of its maxmemory: nothing is bought above {BUYS_BELOW:.0%}"
        return GateStatus(open=False, reason="memory", message=words, in_flight=in_flight, waiting=waiting)
    return GateStatus(open=True, in_flight=in_flight, waiting=waiting)


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
