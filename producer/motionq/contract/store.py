"""JobStore: the only code that touches job keys. Every write is one Lua call that validates first and then writes."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.client import Pipeline

from motionq.contract.connection import reachable
from motionq.contract.errors import JobNotFound, MotionQueueError
from motionq.contract.job import SCHEMA_VERSION, Event, JobSpec
from motionq.contract.keys import Keys
from motionq.contract.record import Record, Unreadable, event_from, from_hash
from motionq.contract.scripts import Scripts
from motionq.contract.states import Move, State

_log = logging.getLogger(__name__)

ORPHANS_KEPT = 1000
PACE = 25  # ms between two new jobs of one tenant: 40 a second, twenty times what the vendor takes


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """What `create` puts on record. `deadline`: ms since the epoch."""

    id: str
    spec: JobSpec
    tenant: str = "default"
    labels: dict[str, str]
    priority: str = "normal"
    deadline: int | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True)
class Created:
    """`outcome`: created | exists (the same request under the same ID or key) | conflict (another request's key)."""

    outcome: str
    job_id: str


@dataclass(frozen=True)
class Moved:
    """`outcome`: ok | booked (the purchase only) | fenced | missing | bound (another purchase owns the task ID)."""

    outcome: str
    state: str

    @property
    def ok(self) -> bool:
        """Whether the job moved (now, or by an earlier repetition of this very call)."""
        return self.outcome == "ok"


@dataclass(frozen=True)
class Claim:
    """A due alarm that this caller may publish."""

    job_id: str
    step: str
    n: int
    parent: str
    turns: int

    @property
    def message_id(self) -> str:
        """The Celery task ID of the step."""
        return f"{self.job_id}.{self.step}.{self.n}"


# What a server answers while its disk fails (MISCONF), too few replicas follow it, or a script keeps it busy.


class JobStore:
    """The records, their sets and their moves on one server, under one namespace."""

    def __init__(self, redis: Redis, keys: Keys, *, job_ttl: float = 2592000.0, rate_window: float = 10.0) -> None:
        self.redis = redis
        self.keys = keys
        self.scripts = Scripts(redis, keys, job_ttl=job_ttl, rate_window=rate_window)

    # -- reading ------------------------------------------------------------------------------------------------
    def get(self, job_id: str) -> Record:
        """The record. Raises JobNotFound, QueueUnavailable."""
        with reachable():
            raw: Any = self.redis.hgetall(self.keys.job(job_id))
        if "state" not in raw:
            raise JobNotFound(job_id)
        try:
            return from_hash(job_id, raw)
        except Unreadable as error:
            raise MotionQueueError(str(error)) from None

    def get_many(self, job_ids: Iterable[str]) -> list[Record]:
        """The records of those jobs that exist, in this order, in one round trip.

        One that this version can't read is left out (and logged): it must not stop the others.
        """
        ids = list(job_ids)
        pipe = self.redis.pipeline(transaction=False)
        for job_id in ids:
            pipe.hgetall(self.keys.job(job_id))
        with reachable():
            answers = pipe.execute() if ids else []
        # An alarm's claim number may outlive its record for an instant: a hash without a state is no record.
        found = (_readable(job_id, raw) for job_id, raw in zip(ids, answers, strict=True) if "state" in raw)
        return [record for record in found if record is not None]

    def events(self, job_id: str) -> tuple[Event, ...]:
        """The job's last 50 events, oldest first."""
        with reachable():
            return tuple(event_from(str(raw)) for raw in self.redis.lrange(self.keys.events(job_id), 0, -1))

    def histories(self, job_ids: Sequence[str]) -> dict[str, tuple[Event, ...]]:
        """The events of many jobs in one round trip."""
        pipe = self.redis.pipeline(transaction=False)
        for job_id in job_ids:
            pipe.lrange(self.keys.events(job_id), 0, -1)
        with reachable():
            answers = pipe.execute() if job_ids else []
        return {i: tuple(event_from(str(raw)) for raw in rows) for i, rows in zip(job_ids, answers, strict=True)}

    def newest(self, states: Sequence[State] = tuple(State), *, batch: int = 200) -> Iterator[Record]:
        """Records, newest first, in the given states."""
        seen: set[str] = set()
        offset = 0
        while True:
            page = self._page(states, offset, batch)
            fresh = [job_id for job_id in page if job_id not in seen]
            seen.update(fresh)
            yield from (r for r in self.get_many(fresh) if r.state in states)
            if len(page) < batch:
                return
            offset += batch

    def _page(self, states: Sequence[State], offset: int, count: int) -> list[str]:
        pipe = self.redis.pipeline(transaction=False)
        for state in states:
            pipe.zrange(self.keys.state(state), 0, offset + count - 1, desc=True, withscores=True)
        with reachable():
            rows = [row for answer in pipe.execute() for row in answer]
        rows.sort(key=lambda row: (row[1], row[0]), reverse=True)  # as the server orders jobs of the same millisecond
        return [job_id for job_id, _ in rows[offset : offset + count]]

    def by_task(self, task_id: str) -> str | None:
        """The job that a vendor's task ID belongs to."""
        with reachable():
            owner = self.redis.get(self.keys.task(task_id))
        return str(owner).partition(":")[0] if owner else None

    def counts(self) -> dict[State, int]:
        """How many jobs are in each state."""
        pipe = self.redis.pipeline(transaction=False)
        for state in State:
            pipe.zcard(self.keys.state(state))
        with reachable():
            return dict(zip(State, pipe.execute(), strict=True))

    # -- writing ------------------------------------------------------------------------------------------------
    def create(self, jobs: Sequence[NewJob]) -> list[Created]:
        """Puts jobs on record in one round trip, each if absent; a repeated call changes nothing.

        Raises QueueUnavailable; then every job may be created again with the same ID.
        """
        pipe = self.redis.pipeline(transaction=False)
        for job in jobs:
            self.scripts.run("create", self._new(job), pipe)
        with reachable():
            return [Created(*answer) for answer in pipe.execute()]

    def owners(self, jobs: Sequence[NewJob]) -> list[Created]:
        """What `create` would say of each job's idempotency key; writes nothing."""
        pipe = self.redis.pipeline(transaction=False)
        for job in jobs:
            pipe.get(self.keys.idempotency(job.tenant, job.idempotency_key or ""))
        with reachable():
            answers = pipe.execute()
        return [_owner(job, str(answer or "")) for job, answer in zip(jobs, answers, strict=True)]

    def _new(self, job: NewJob) -> dict[str, Any]:
        fields = {
            "schema_version": str(SCHEMA_VERSION),
            "tenant": job.tenant,
            "labels": json.dumps(job.labels) if job.labels else None,
            "priority": job.priority,
            "spec": job.spec.model_dump_json(exclude_none=True),
            "deadline": str(job.deadline) if job.deadline else None,
        }
        key = job.idempotency_key
        return {
            "id": job.id,
            "fields": {name: value for name, value in fields.items() if value is not None},
            "digest": job.spec.digest(),
            "pace": PACE,
            "idempotency": self.keys.idempotency(job.tenant, key) if key is not None else None,
            "event": {"step": "submitted"},
        }

    def move(self, move: Move, job_id: str, *, pipeline: Pipeline | None = None, **values: Any) -> Moved:
        """Moves a job. `values`: claim, nonce, task, set, add, unset, purchase, alarm_at | alarm_in (ms), event.

        Writes compare state and fence on the server; see contract/lua/move.lua. With a pipeline the answer is read
        by `moved` after it was executed.
        """
        argument = {"id": job_id, "call": secrets.token_hex(8), "move": move.for_lua(), **values}
        if pipeline is not None:
            self.scripts.run("move", argument, pipeline)
            return Moved("pipelined", "")
        with reachable():
            return Moved(*self.scripts.run("move", argument))

    def claim(
        self, step: str, *, room: int, lease: float, transfers: int | None = None, rate: int | None = None
    ) -> list[Claim]:
        """Claims up to `room` due alarms of a step for `lease` seconds; see contract/lua/claim.lua."""
        argument = {
            "step": step,
            "room": room,
            "lease": int(lease * 1000),
            "transfers": transfers,
            "rate": rate,
            "parked": State.ARMED,
        }
        with reachable():
            return [
                Claim(job_id, step, n, parent, turns)
                for job_id, n, parent, turns in self.scripts.run("claim", argument)
            ]

    def hurry(self, step: str, job_ids: Sequence[str]) -> None:
        """Alarms of these jobs ring now, those of them that wait for this step."""
        if job_ids:
            with reachable():
                self.redis.zadd(self.keys.due(step), dict.fromkeys(job_ids, self.now()), xx=True, lt=True)

    # -- callbacks and people -------------------------------------------------------------------------------------
    def name_task(self, job_id: str, nonce: str, task_id: str) -> str:
        """Remembers that somebody names this task for a purchase: stored | known | orphan."""
        argument = {"id": job_id, "nonce": nonce, "task": task_id, "orphans": ORPHANS_KEPT}
        with reachable():
            return str(self.scripts.run("candidate", argument))

    def replay(self, job_id: str, *, call: str, consent: Sequence[str] | None = None) -> list[str]:
        """Takes a finished job up again; see contract/lua/replay.lua. `call`: the same for a repetition."""
        argument = {"id": job_id, "call": call, "consent": list(consent) if consent else None}
        with reachable():
            return [str(word) for word in self.scripts.run("replay", argument | {"event": {"step": "replay"}})]

    def follow(self, job_id: str, *, nonce: str, old: str, event: dict[str, str]) -> tuple[str, str]:
        """Goes on with an earlier purchase instead of the armed one; see contract/lua/follow.lua."""
        with reachable():
            outcome, state = self.scripts.run("follow", {"id": job_id, "nonce": nonce, "old": old, "event": event})
        return str(outcome), str(state)

    def due_candidates(self, *, room: int, lease: float) -> list[str]:
        """Jobs with a named task to be looked at; see contract/lua/candidates.lua."""
        with reachable():
            found = self.scripts.run("candidates", {"room": room, "lease": int(lease * 1000)})
        return [str(job_id) for job_id in found]

    # -- the pauses of the gate -----------------------------------------------------------------------------------
    def pause(
        self,
        reason: str,
        message: str,
        *,
        seconds: float | None = None,
        longest: float | None = None,
        key: str = "",
        need: float = 0.0,
    ) -> None:
        """Pauses submission for the whole account; without `seconds` until somebody resumes.

        A pause that ends later, or never by itself, stays as it is. When its time is over one job is let through, and
        the vendor's answer to it opens the gate, or pauses it for twice as long, up to `longest` seconds.
        """
        argument = {
            "reason": reason,
            "message": message[:300],
            "lasts": int(seconds * 1000) if seconds else None,
            "longest": int(longest * 1000) if longest else None,
            "key": key,
            "need": need,
        }
        with reachable():
            self.scripts.run("pause", argument)

    def resume(self) -> None:
        """Opens the gate."""
        with reachable():
            self.redis.delete(self.keys.gate, self.keys.unclear)

    def paused(self) -> dict[str, str] | None:
        """Why the gate is paused: reason, since, until (ms, 0 = until resumed), message; None when it is open.

        With `until` in the past the next job tries, and the vendor's answer decides.
        """
        with reachable():
            gate = self.redis.hgetall(self.keys.gate)
        return {str(name): str(value) for name, value in gate.items()} or None

    def now(self) -> int:
        """The server's clock, ms since the epoch."""
        with reachable():
            whole, micro = self.redis.time()
        return int(whole) * 1000 + int(micro) // 1000


def _readable(job_id: str, raw: dict[str, str]) -> Record | None:
    try:
        return from_hash(job_id, raw)
    except Unreadable as error:
        _log.error("%s", error)
        return None


def _owner(job: NewJob, answer: str) -> Created:
    job_id, _, digest = answer.partition(":")
    if job.idempotency_key is None or not job_id:
        return Created("created", job.id)
    return Created("exists" if digest == job.spec.digest() else "conflict", job_id)


def moved(answers: Iterable[Any]) -> list[Moved]:
    """What a pipeline of moves answered."""
    return [Moved(*answer) if isinstance(answer, list) else Moved("error", str(answer)) for answer in answers]


__all__ = ["Claim", "Created", "JobStore", "Moved", "NewJob", "moved", "reachable"]
