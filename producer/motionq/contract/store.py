"""JobStore: the only code that touches job keys. Every write is one Lua call that validates first and then writes."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from redis import Redis
from redis.client import Pipeline

from motionq.contract.connection import FULL, reachable
from motionq.contract.errors import QueueUnavailable
from motionq.contract.job import DEFAULT_PRIORITY, SCHEMA_VERSION, JobSpec
from motionq.contract.keys import Keys
from motionq.contract.record import left_alone
from motionq.contract.records import Records
from motionq.contract.scripts import Scripts
from motionq.contract.states import STILL_RUNNING, Move, State
from motionq.contract.store_values import SUBMITTED, Claim, Created, DueChecks, Moved, NewJob, Waiting

_log = logging.getLogger(__name__)

ORPHANS_KEPT = 1000
_PER_CALL = 100  # jobs made by one call: the server does nothing else meanwhile, for 3 ms
_JITTER = 50  # ms by which two reads may arrive closer together at kie.ai than they were sent
_TOLD = 10_000  # jobs of which it is remembered that something was said of them
PACE = 25  # ms between two new jobs of one tenant: 40 a second, twenty times what the vendor takes


class JobStore(Records):
    """The records, their sets and their moves on one server, under one namespace."""

    def __init__(self, redis: Redis, keys: Keys, *, job_ttl: float = 2592000.0, rate_window: float = 10.0) -> None:
        super().__init__(redis, keys)
        self.scripts = Scripts(redis, keys, job_ttl=job_ttl, rate_window=rate_window)
        self._told: set[str] = set()  # jobs whose newer schema was said

    # -- writing ------------------------------------------------------------------------------------------------
    def create(self, jobs: Sequence[NewJob]) -> list[Created]:
        """Puts jobs on record, each if absent; a repeated call changes nothing.

        Whether the server has room for them is asked once, for all. Raises QueueUnavailable, which names the jobs if
        some of them may be on record; each may be created again with the same ID.
        """
        made: list[Created] = []
        try:
            made += self._create(jobs[:_PER_CALL], go_on=None)
            if any(one.outcome == "full" for one in made):
                raise QueueUnavailable(FULL)
            made += self._create(jobs[_PER_CALL:], go_on=True)
        except QueueUnavailable as error:
            none = str(error) == FULL and all(one.outcome == "full" for one in made)
            raise error if none else error.about([job.id for job in jobs]) from None
        return made

    def _create(self, jobs: Sequence[NewJob], go_on: bool | None) -> list[Created]:
        pipe = self.redis.pipeline(transaction=False)
        for at in range(0, len(jobs), _PER_CALL):
            some = [self._new(job) for job in jobs[at : at + _PER_CALL]]
            self.scripts.run("create", {"jobs": some, "pace": PACE, "event": SUBMITTED, "go_on": go_on}, pipe)
        with reachable():
            answers = [json.loads(answer) for answer in pipe.execute()] if jobs else []
        return [Created(outcome, i, int(answer["at"])) for answer in answers for outcome, i in answer["made"]]

    def owners(self, jobs: Sequence[NewJob]) -> list[Created]:
        """What `create` would say of each job's idempotency key; writes nothing.

        Raises QueueUnavailable: a server that can't be reached is noticed before anything is sent to it.
        """
        keyed = [job for job in jobs if job.idempotency_key is not None]
        pipe = self.redis.pipeline(transaction=False)
        pipe.ping()
        for job in keyed:
            pipe.get(self.keys.idempotency(job.tenant, job.idempotency_key or ""))
        with reachable():
            _, *answers = pipe.execute()
        known = dict(zip((job.id for job in keyed), answers, strict=True))
        return [_owner(job, str(known.get(job.id) or "")) for job in jobs]

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
    def claim_checks(self, *, room: int, lease: float, rate: tuple[int, float]) -> DueChecks:
        """Claims up to `room` due looks for `lease` seconds, never more than `rate` (reads, seconds) allows.

        See contract/lua/checks.lua.
        """
        with reachable():
            answer = json.loads(self.scripts.run("checks", _looks(room, lease, rate)))
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

    def may_read(self, wanted: int, rate: tuple[int, float]) -> int:
        """How many of so many statuses may be read right now; they count as read. See contract/lua/may_read.lua."""
        if not wanted:
            return 0
        with reachable():
            return int(self.scripts.run("may_read", {"n": wanted, **_window(rate)}))

    def put_off(self, job_ids: Iterable[str], named: Iterable[tuple[str, str]]) -> None:
        """Looks that were given out and can't be done now are due again; `named`: (job, nonce) of named tasks."""
        now = self.now()
        pipe = self.redis.pipeline(transaction=False)
        members = {f"{job_id}:{nonce}": now for job_id, nonce in named}
        for key, due in ((self.keys.due("check"), dict.fromkeys(job_ids, now)), (self.keys.candidates, members)):
            if due:
                pipe.zadd(key, due, xx=True, lt=True)
        with reachable():
            pipe.execute()

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

    def due_candidates(self, *, room: int, lease: float, rate: tuple[int, float]) -> list[str]:
        """Jobs with a named task to be looked at, under the same rate; see contract/lua/candidates.lua."""
        with reachable():
            found = self.scripts.run("candidates", _looks(room, lease, rate))
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

    def resume(self, *, restored: bool = False) -> bool:
        """Opens the gate; one that is closed as `restored` only for those who have looked at what is missing."""
        with reachable():
            return bool(self.scripts.run("resume", {"restored": restored or None}))

    def amend(self, pause: Mapping[str, str], **found: object) -> bool:
        """Writes what was found out about this pause (of `paused`), or, with nothing, opens the gate.

        False when another pause, or none, is on record by now.
        """
        with reachable():
            return bool(
                self.scripts.run("amend", {"since": pause["since"], "reason": pause["reason"], "set": found or None})
            )

    def paused(self) -> dict[str, str] | None:
        """Why the gate is paused: reason, since, until (ms, 0 = until resumed), message; None when it is open.

        With `until` in the past the next job tries, and the vendor's answer decides.
        """
        with reachable():
            gate = self.redis.hgetall(self.keys.gate)
        return {str(name): str(value) for name, value in gate.items()} if "reason" in gate else None


def _looks(room: int, lease: float, rate: tuple[int, float]) -> dict[str, int]:
    return {"room": room, "lease": int(lease * 1000), **_window(rate)}


def _window(rate: tuple[int, float]) -> dict[str, int]:
    return {"reads": rate[0], "window": int(rate[1] * 1000) + _JITTER}


def _waiting(row: Sequence[Any]) -> Waiting | None:
    job_id, state, nonce, task_id, since, updated, model, mode, video, named, alarm = row
    try:
        times = int(float(since or 0)), int(float(updated or 0))
        model, mode = model or JobSpec.default("model"), mode or JobSpec.default("mode")
        seconds = float(video or 0)
        return Waiting(job_id, state, nonce or "", task_id or "", *times, model, mode, seconds, named, int(alarm))
    except ValueError as error:
        _log.error("the record of job %s can't be read: %s", job_id, type(error).__name__)
        return None


def _owner(job: NewJob, answer: str) -> Created:
    job_id, _, digest = answer.partition(":")
    if job.idempotency_key is None or not job_id:
        return Created("created", job.id)
    return Created("exists" if digest == job.spec.digest() else "conflict", job_id)


def moved(answers: Iterable[Any]) -> list[Moved]:
    """What a pipeline of moves answered."""
    return [Moved(*answer) if isinstance(answer, list) else Moved("error", str(answer)) for answer in answers]


__all__ = ["Claim", "Created", "JobStore", "Moved", "NewJob", "Waiting", "moved", "reachable"]
