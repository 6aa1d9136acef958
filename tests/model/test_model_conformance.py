"""The model's scripts and the real ones do the same: random walks, each call made to both and compared.

What the searches of `test_protocol_model.py` prove holds for the Lua that runs only as far as the two agree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from model import scripts
from model.rules import Rules
from model.scripts import with_job
from model.world import Job, Line, Server, new_job
from motionq.contract.keys import STEPS
from motionq.contract.record import PurchaseLine, from_hash
from motionq.contract.states import MOVES, Move, Purchase, State
from support.life import Life, life

JOBS = ("job0", "job1")
CAP = 1
SEEDS = range(36)
STEPS_OF_A_WALK = 120
RULES = Rules()
# `admit` and `send` are the tables of admit.lua and send.lua, never calls of move.lua.
CALLED = tuple(move for name, move in MOVES.items() if name not in ("admit", "send"))
CLAIMED = ("upload", "deliver")


_SETS = {step: f"due:{step}" for step in STEPS} | {"line": "line:default"}
_ENDS = ("cancel", "expire", "refresh", "fail", "retry", "delivered")  # they lead away from where walks are to come


class Walk:
    """Two jobs on the real server, and the model's two jobs beside them."""

    def __init__(self, lived: Life, seed: int, seen: Counter[tuple[str, str]]) -> None:
        self._lived = lived
        self._random = Random(seed)
        self.model = Server(jobs=(new_job(), new_job()), identity="here")
        self.seen = seen  # (what was called, its outcome)
        self._calls = ["call0"]
        self._claims = ["upload.9"]
        for job in JOBS:
            lived.create(job)

    def step(self) -> None:
        """One call to both. Often it is one that leads a job on, so that walks come far."""
        onwards = self._random.random() < 0.6
        self._random.choice(self._ways_on() if onwards else self._anything())()
        assert self.real() == self.model

    def _ways_on(self) -> list[Callable[[], None]]:
        job = self._random.choice(self.model.jobs)
        elsewhere = job.state is State.ARMED and job.armed_under != self.model.identity
        return {
            State.QUEUED: [self._upload],
            State.UPLOADING: [self._upload, self._move],
            State.READY: [self._admit],
            State.ARMED: [self._send, self._follow, *[self._move, self._other_server] * (not elsewhere)],
            State.SUBMITTING: [self._move, self._move, self._send],
            State.DELIVERING: [self._claim, self._move, self._move],
            State.FAILED: [self._replay, self._name, self._move],
            State.CANCELLED: [self._replay, self._name, self._move],
        }.get(job.state, [self._move])

    def _anything(self) -> list[Callable[[], None]]:
        calls = [self._claim, self._admit, self._send, self._name, self._replay, self._follow, self._other_server]
        return [self._move] * 8 + calls

    # -- the calls --------------------------------------------------------------------------------------------------
    def _compare(self, what: str, real: str, model: str, server: Server) -> None:
        self.seen[what, real] += 1
        # Of a task ID that is on record already, `ok` and `booked` say the same.
        same = {real, model} <= {"ok", "booked"} and what == "record_task"
        assert real == model or same, what
        self.model = server

    def _move(self) -> None:
        j = self._random.randrange(2)
        possible = [move for move in CALLED if self.model.jobs[j].state in move.to]
        honest = possible and self._random.random() < 0.7
        move = self._of_these(possible) if honest else self._random.choice(CALLED)
        fences = self._right(j, move) if honest else self._any_fences(j)
        if honest and self._random.random() < 0.2:
            one = self._random.choice(["claim", "nonce", "task"])
            fences[one] = self._any_fences(j)[one]
        again = self._random.random() < 0.1
        self._call(j, move, fences, self._random.choice(self._calls) if again else None)

    def _upload(self) -> None:
        """Every job that waits for it comes into its line."""
        self._claim("upload")
        for j, job in enumerate(self.model.jobs):
            for name in ("begin_upload", "uploaded") if "upload" in job.sets else ():
                self._call(j, MOVES[name], self._right(j, MOVES[name]))

    def _call(self, j: int, move: Move, fences: dict[str, Any], again: str | None = None) -> None:
        """`again`: an earlier call, as if it were repeated."""
        generations = self._random.randrange(3)
        call = again or f"call{len(self._calls)}"
        self._calls.append(call)
        real = self._lived.move(
            move,
            JOBS[j],
            call=call,
            alarm_in=60_000,
            **fences,
            set={"generations": generations, "uploaded_at": self._lived.store.now()},
            purchase={"suspect_at": 1},
        )
        model, server = scripts.apply_move(
            RULES,
            self.model,
            move,
            j,
            call=call,
            changes={"generations": generations},
            line_changes={"suspect": True},
            **fences,
        )
        self._compare(move.name, real.outcome, model, server)
        assert real.state == server.jobs[j].state

    def _of_these(self, possible: list[Move]) -> Move:
        """One that was rarely led, or one that leads the job far."""
        if self._random.random() < 0.3:
            return min(possible, key=lambda move: self.seen[move.name, "ok"])
        return self._random.choice([move for move in possible if not move.name.startswith(_ENDS)] or possible)

    def _right(self, j: int, move: Move) -> dict[str, Any]:
        job = self.model.jobs[j]
        task = job.task or (f"T{job.nonce}" if move.name == "record_task" else "")
        return {"claim": job.claim, "nonce": job.nonce, "task": task}

    def _any_fences(self, j: int) -> dict[str, Any]:
        nonces = [line.nonce for job in self.model.jobs for line in job.book] or ["none"]
        nonce = self._random.choice(nonces)
        tasks = [f"T{nonce}", f"T{self._random.choice(nonces)}", self.model.jobs[j].task or "T", "T"]
        claims = [self.model.jobs[j].claim or "upload.9", *self._claims[-3:]]
        return {
            "claim": self._random.choice(claims),
            "nonce": nonce,
            "task": self._random.choice(tasks),
        }

    def _claim(self, step: str | None = None) -> None:
        self._lived.time_passes()
        step = step or self._random.choice(CLAIMED)
        claims = self._lived.store.claim(step, room=10, lease=20)
        due = {JOBS[j] for j, job in enumerate(self.model.jobs) if step in job.sets}
        assert {claim.job_id for claim in claims} == due
        for claim in claims:
            self.model = scripts.claim(self.model, JOBS.index(claim.job_id), step)
            self._claims.append(f"{claim.step}.{claim.n}")

    def _admit(self) -> None:
        armed = self._lived.arm()
        for j, job in enumerate(JOBS):
            nonce = self._lived.store.get(job).nonce
            if nonce != self.model.jobs[j].nonce:
                armed -= 1
                assert scripts.may_arm(RULES, self.model, j, CAP)
                self.model = scripts.armed(RULES, self.model, j, nonce)
        assert armed == 0
        assert not any(scripts.may_arm(RULES, self.model, j, CAP) for j in range(2))

    def _send(self) -> None:
        self._lived.time_passes()
        near = [j for j, job in enumerate(self.model.jobs) if job.state in (State.ARMED, State.SUBMITTING)]
        j = self._random.choice(near or [0, 1])
        newest = self.model.jobs[j].nonce
        nonce = self._random.choice([newest, newest, self._any_fences(j)["nonce"]])
        token = self._random.choice(["a", "b"])
        real = self._lived.send(JOBS[j], token=token, nonce=nonce)
        self._compare("send", real, *scripts.send(RULES, self.model, j, nonce=nonce, token=token, durable=True))

    def _name(self) -> None:
        j = self._random.randrange(2)
        fences = self._any_fences(j)
        nonce, task = fences["nonce"], fences["task"]
        real = self._lived.store.name_task(JOBS[j], nonce, task)
        self._compare("name_task", real, *scripts.name_task(RULES, self.model, j, nonce=nonce, task=task))

    def _replay(self) -> None:
        j = self._random.randrange(2)
        consent = self._random.choice(
            ["", self._any_fences(j)["nonce"], self.model.jobs[j].nonce, self.model.jobs[j].nonce]
        )
        call = self._random.choice(self._calls[-3:] + [f"replay{len(self._calls)}"] * 3)
        self._calls.append(call)
        real = self._lived.store.replay(JOBS[j], call=call, consent=[consent] if consent else None)
        self._compare("replay", real[0], *scripts.replay(RULES, self.model, j, call=call, consent=consent))

    def _follow(self) -> None:
        armed = [j for j in range(2) if self.model.jobs[j].state is State.ARMED]
        j = self._random.choice(armed or [0, 1])
        refunded = [line.nonce for line in self.model.jobs[j].book if line.status is Purchase.REFUNDED]
        old = self._random.choice([self._any_fences(j)["nonce"], *refunded * 3])
        newest = self.model.jobs[j].nonce
        nonce = self._random.choice([newest, newest, self._any_fences(j)["nonce"]])
        event = {"step": "submit"}
        real, _ = self._lived.store.follow(JOBS[j], nonce=nonce, old=old, event=event)
        self._compare("follow", real, *scripts.follow(RULES, self.model, j, nonce=nonce, old=old))

    def _other_server(self) -> None:
        """As after a restart: the record says that another server armed it."""
        for j, job in enumerate(self.model.jobs):
            if job.state is State.ARMED:
                self._lived.arm_elsewhere(JOBS[j])
                self.model = with_job(self.model, j, job._replace(armed_under="other"))

    # -- the real server as the model would have it ------------------------------------------------------------------
    def real(self) -> Server:
        """What the server holds, all its keys read in one call."""
        everything = {name.split(":", 1)[1]: value for name, (value, _) in self._lived.everything().items()}
        jobs = [self._job(everything, job, self.model.jobs[j]) for j, job in enumerate(JOBS)]
        lines = [line for job in jobs for line in job.book if line.task]
        return self.model._replace(
            jobs=tuple(jobs),
            slots=frozenset(_owner(member) for member in everything.get("slots", [])[::2]),
            tasks=frozenset((p.task, JOBS.index(everything[f"task:{p.task}"]), p.nonce) for p in lines),
            candidates=frozenset(_owner(member) for member in everything.get("candidates", [])[::2]),
        )

    def _job(self, everything: dict[str, Any], job: str, model: Job) -> Job:
        """The model's job, with everything that the real record says instead."""
        flat = everything[f"job:{job}"]
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        record = from_hash(job, fields)
        sets = {name: everything.get(key, []) for name, key in _SETS.items()}
        return model._replace(
            state=record.state,
            sets=frozenset(name for name, members in sets.items() if job in members[::2]),
            claim=record.claim,
            n_upload=int(fields.get("n_upload", 0)),
            n_deliver=int(fields.get("n_deliver", 0)),
            nonce=record.nonce,
            task=record.task_id,
            n_purchases=int(fields.get("n_purchases", 0)),
            last_call=fields.get("last_call", ""),
            generations=record.generations,
            book=tuple(_line(purchase) for purchase in record.purchases),
        )


def _line(purchase: PurchaseLine) -> Line:
    return Line(
        nonce=purchase.nonce,
        status=purchase.status,
        task=purchase.task_id or "",
        candidate=purchase.candidate or "",
        suspect=purchase.suspect_at is not None,
    )


def _owner(member: str) -> tuple[int, str]:
    job, _, nonce = member.partition(":")
    return JOBS.index(job), nonce


@pytest.fixture
def lived(redis_url: str, namespace: str) -> Iterator[Life]:
    """Jobs in a namespace of their own, with one slot for two of them."""
    with life(redis_url, namespace, max_in_flight=CAP) as jobs:
        yield jobs


def test_the_model_and_the_server_agree(lived: Life) -> None:
    """The same calls, right and wrong, lead both to the same outcomes, records, sets, slots and indexes.

    Together the walks make every move lead somewhere, and every fence stop somebody.
    """
    seen: Counter[tuple[str, str]] = Counter()
    for seed in SEEDS:
        walk = Walk(lived, seed, seen)
        for _ in range(STEPS_OF_A_WALK):
            walk.step()
        lived.clean()
    every = {move.name for move in CALLED} | {"send", "name_task", "replay", "follow"}
    assert {what for what, outcome in seen if outcome in ("ok", "booked", "mine", "stored")} == every
    assert {what for what, outcome in seen if outcome in ("fenced", "refused", "orphan")} == every
