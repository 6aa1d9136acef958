"""JobStore: the only code that touches job keys. Every write is one Lua call that validates first and then writes."""

from __future__ import annotations

import json
import logging
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis import Redis
from redis.client import Pipeline

from motionq.contract.connection import FULL, reachable
from motionq.contract.errors import JobNotFound, QueueUnavailable
from motionq.contract.job import DEFAULT_PRIORITY, SCHEMA_VERSION, JobSpec
from motionq.contract.keys import Keys
from motionq.contract.record import Record, Unreadable, from_hash, left_alone
from motionq.contract.scripts import Scripts
from motionq.contract.states import STILL_RUNNING, Move, State

_log = logging.getLogger(__name__)

ORPHANS_KEPT = 1000
_PER_CALL = 100  # jobs made by one call: the server does nothing else meanwhile, for 3 ms
_TOLD = 10_000  # jobs of which it is remembered that something was said of them
_PAGE = 500  # records in one round trip
_SHA256 = re.compile(r"[0-9a-f]{64}")
SUBMITTED = {"step": "submitted"}  # a job's first event
PACE = 25  # ms between two new jobs of one tenant: 40 a second, twenty times what the vendor takes


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """What `create` puts on record. `deadline`: ms since the epoch."""

    id: str
    spec: JobSpec
    tenant: str = "default"
    labels: dict[str, str]
    priority: str = DEFAULT_PRIORITY
    deadline: int | None = None
    idempotency_key: str | None = None

    def as_record(self, at: int) -> Record:
        """The record as `create` writes it at this moment (ms)."""
        return Record(
            id=self.id,
            state=State.QUEUED,
            tenant=self.tenant,
            priority=self.priority,
            labels=self.labels,
            spec=self.spec,
            created_at=at,
            updated_at=at,
            since=at,
            deadline=self.deadline or 0,
            history=json.dumps([at, State.QUEUED, SUBMITTED["step"]]),
        )


@dataclass(frozen=True)
class Created:
    """`outcome`: created | exists (the same request under the same ID or key) | conflict (another request's key).

    `at`: when, in ms.
    """

    outcome: str
    job_id: str
    at: int = field(default=0, compare=False)


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
    """A due alarm that this caller may publish.

    `parent`: the step before, `upload.1` of the same job or the batch `check.<ulid>`; empty for the first.
    """

    job_id: str
    step: str
    n: int
    parent: str
    turns: int

    @property
    def message_id(self) -> str:
        """The Celery task ID of the step."""
        return f"{self.job_id}.{self.step}.{self.n}"

    @property
    def parent_id(self) -> str | None:
        """The Celery task ID of the step before."""
        if not self.parent:
            return None
        return self.parent if self.parent.startswith("check.") else f"{self.job_id}.{self.parent}"


@dataclass(frozen=True)
class Waiting:
    """What a look at a job's task must know of the job. Times are ms, 0 where absent; `updated_at`: the last look.

    `named`: somebody named a task for one of its purchases. Of a job without a task ID `task_id` is empty.
    """

    id: str
    state: str
    nonce: str = field(repr=False)
    task_id: str
    running_since: int
    updated_at: int
    model: str
    mode: str
    video_seconds: float
    named: bool


@dataclass(frozen=True)
class DueChecks:
    """Claimed jobs, and how many more are due."""

    job_ids: tuple[str, ...]
    left: int


class JobStore:
    """The records, their sets and their moves on one server, under one namespace."""

    def __init__(self, redis: Redis, keys: Keys, *, job_ttl: float = 2592000.0, rate_window: float = 10.0) -> None:
        self.redis = redis
        self.keys = keys
        self.scripts = Scripts(redis, keys, job_ttl=job_ttl, rate_window=rate_window)
        self._told: set[str] = set()  # jobs whose newer schema was said

    # -- reading ------------------------------------------------------------------------------------------------
    def get(self, job_id: str) -> Record:
        """The record. Raises JobNotFound, Unreadable, QueueUnavailable."""
        with reachable():
            raw: Any = self.redis.hgetall(self.keys.job(job_id))
        if "state" not in raw:
            raise JobNotFound(job_id)
        return from_hash(job_id, raw)

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

    def tasks(self, job_ids: Iterable[str]) -> dict[str, set[tuple[str, str]]]:
        """For each of these jobs that exists (nonce, task ID) of its purchases that have one."""
        ids = list(job_ids)
        pipe = self.redis.pipeline(transaction=False)
        for job_id in ids:
            pipe.hget(self.keys.job(job_id), "purchases")
        with reachable():
            books = pipe.execute() if ids else []
        return {job_id: _tasks(job_id, str(book)) for job_id, book in zip(ids, books, strict=True) if book}

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

    def contents(self, states: Sequence[State]) -> set[str]:
        """SHA-256 of every file that a job in one of these states was given; a job that moves on meanwhile counts."""
        pipe = self.redis.pipeline(transaction=True)  # one moment: between two, a job could change from one to another
        for state in states:
            pipe.zrange(self.keys.state(state), 0, -1)
        with reachable():
            ids = [str(job_id) for answer in pipe.execute() for job_id in answer]
        found: set[str] = set()
        for start in range(0, len(ids), _PAGE):
            pages = self.redis.pipeline(transaction=False)
            for job_id in ids[start : start + _PAGE]:
                pages.hget(self.keys.job(job_id), "spec")
            with reachable():
                for spec in pages.execute():
                    found.update(_SHA256.findall(spec or ""))  # whatever version of motionq wrote it
        return found

    def by_task(self, task_id: str) -> str | None:
        """The job that a vendor's task ID belongs to."""
        with reachable():
            owner = self.redis.get(self.keys.task(task_id))
        return str(owner) if owner else None

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
        for at in range(0, len(jobs), _PER_CALL):
            some = [self._new(job) for job in jobs[at : at + _PER_CALL]]
            self.scripts.run("create", {"jobs": some, "pace": PACE, "event": SUBMITTED}, pipe)
        with reachable():
            answers = [json.loads(answer) for answer in pipe.execute()]
        made = [Created(outcome, i, int(answer["at"])) for answer in answers for outcome, i in answer["made"]]
        if any(one.outcome == "full" for one in made):
            raise QueueUnavailable(FULL)
        return made

    def owners(self, jobs: Sequence[NewJob]) -> list[Created]:
        """What `create` would say of each job's idempotency key; writes nothing."""
        if all(job.idempotency_key is None for job in jobs):
            return [Created("created", job.id) for job in jobs]
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
            "priority": job.priority if job.priority != DEFAULT_PRIORITY else None,
            "spec": job.spec.model_dump_json(exclude_defaults=True),  # a tenth of a waiting job's memory
            "deadline": str(job.deadline) if job.deadline else None,
        }
        key = job.idempotency_key
        new = {"id": job.id, "fields": {name: value for name, value in fields.items() if value is not None}}
        if key is not None:  # null is true in Lua
            new |= {"idempotency": self.keys.idempotency(job.tenant, key), "digest": job.spec.digest()}
        return new

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
            rows = self.scripts.run("claim", argument)
        self._leave_alone({job_id: parent for job_id, n, parent, _ in rows if n < 0})
        return [Claim(job_id, step, n, parent, turns) for job_id, n, parent, turns in rows if n >= 0]

    def _leave_alone(self, versions: Mapping[str, str]) -> None:
        """Says once of each of these jobs that its record is of a newer schema."""
        if len(self._told) > _TOLD:
            self._told.clear()
        for job_id in versions.keys() - self._told:
            _log.error("%s", left_alone(job_id, versions[job_id]))
            self._told.add(job_id)

    # -- many looks at once ---------------------------------------------------------------------------------------
    def claim_checks(self, *, room: int, lease: float, rate: tuple[int, float], named: int = 0) -> DueChecks:
        """Claims up to `room` due looks for `lease` seconds, never more than `rate` (reads, seconds) allows.

        `named`: reads that the caller makes besides. See contract/lua/checks.lua.
        """
        argument = {
            "room": room,
            "lease": int(lease * 1000),
            "reads": rate[0],
            "window": int(rate[1] * 1000),
            "named": named,
        }
        with reachable():
            answer = json.loads(self.scripts.run("checks", argument))
        self._leave_alone(answer["newer"])
        return DueChecks(tuple(answer["ids"]), int(answer["due"]))  # an empty list arrives as {}

    def waiting(self, job_ids: Iterable[str]) -> list[Waiting]:
        """Those of these jobs that exist and can be read, in this order, in one round trip."""
        with reachable():
            answer = json.loads(self.scripts.run("waiting", {"ids": list(job_ids)}))
        return [job for row in answer if (job := _waiting(row)) is not None]

    def still(self, looks: Iterable[tuple[Waiting, float]]) -> int:
        """The tasks of these jobs still run: each alarm rings after so many seconds; see contract/lua/still.lua.

        Returns how many were set; a job that has moved on meanwhile keeps its alarm.
        """
        rows = [(job.id, job.nonce, job.task_id, int(seconds * 1000)) for job, seconds in looks]
        if not rows:
            return 0
        with reachable():
            return int(self.scripts.run("still", {"looks": rows, "states": STILL_RUNNING.for_lua()["to"]}))

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


def _waiting(row: Sequence[Any]) -> Waiting | None:
    job_id, state, nonce, task_id, since, updated, model, mode, video, named = row
    try:
        times = int(float(since or 0)), int(float(updated or 0))
        model, mode = model or JobSpec.default("model"), mode or JobSpec.default("mode")
        return Waiting(job_id, state, nonce or "", task_id or "", *times, model, mode, float(video or 0), named)
    except ValueError as error:
        _log.error("the record of job %s can't be read: %s", job_id, type(error).__name__)
        return None


def _tasks(job_id: str, book: str) -> set[tuple[str, str]]:
    try:
        return {(purchase["nonce"], purchase["task_id"]) for purchase in json.loads(book) if "task_id" in purchase}
    except (ValueError, TypeError, KeyError) as error:
        _log.error("the record of job %s can't be read: %s", job_id, type(error).__name__)
        return set()


def _owner(job: NewJob, answer: str) -> Created:
    job_id, _, digest = answer.partition(":")
    if job.idempotency_key is None or not job_id:
        return Created("created", job.id)
    return Created("exists" if digest == job.spec.digest() else "conflict", job_id)


def moved(answers: Iterable[Any]) -> list[Moved]:
    """What a pipeline of moves answered."""
    return [Moved(*answer) if isinstance(answer, list) else Moved("error", str(answer)) for answer in answers]


__all__ = ["Claim", "Created", "JobStore", "Moved", "NewJob", "moved", "reachable"]
