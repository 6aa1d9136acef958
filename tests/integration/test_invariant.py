"""Whatever is called, in whatever order, by whomever: the record, its sets, its books and its slots agree.

Hypothesis plays workers, zombies (old claims, old nonces, old calls), a clock, a person and a server that restarts,
against the real store, the real gate and the real Lua on a real server. After every call all of the rules of
`support.invariants` are read from the server, and beside them what only history can tell: a nonce is given the right to
send once, and a paid purchase stays paid.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis import Redis

from motionq.contract import scripts
from motionq.contract.keys import STEPS, Keys
from motionq.contract.record import Record
from motionq.contract.settings import Settings
from motionq.contract.states import MOVES, Fence, Purchase, State
from support.invariants import violations
from support.life import CANCEL_BOUGHT, Life

JOBS = ("j0", "j1", "j2")
TENANTS = ("a", "b", "c")
CAP, RATE = 1, 3
# ADMIT, REFRESH, EXPIRE and SEND are the table of admit.lua and send.lua, never calls of their own.
CALLED = {m.name: m for m in (*MOVES.values(), CANCEL_BOUGHT) if m.name not in ("admit", "refresh", "expire", "send")}
UPLOADS = sorted(m.name for m in CALLED.values() if m.fence in (Fence.CLAIM, Fence.CLAIM_TASK))
BOUGHT = sorted(m.name for m in CALLED.values() if m.fence in (Fence.NONCE, Fence.TASK))
# The honest way on from each state, so that every state is met often.
WAY_ON: dict[State, tuple[str, ...]] = {
    State.QUEUED: ("begin_upload",),
    State.UPLOADING: ("uploaded",),
    State.READY: ("admit",),
    State.ARMED: ("send",),
    State.SUBMITTING: (
        "record_task",
        "record_task",
        "record_task",
        "unknown",
        "refused_later",
        "not_sent",
        "cancel_bought",
    ),
    State.SUBMIT_UNKNOWN: ("record_task", "give_up_unknown", "free_slot"),
    State.RUNNING: ("paid", "paid", "paid", "refunded", "refunded_again", "give_up_silent", "cancel_bought"),
    State.CANCELLING: ("paid", "give_up_unknown", "give_up_silent", "record_task"),
    State.DELIVERING: ("delivered", "book_failure"),
    State.SUCCEEDED: ("record_task",),
    State.FAILED: ("record_task",),
    State.CANCELLED: ("record_task", "paid"),
}
_SEED = st.integers(0, 2**32)
Call = dict[str, Any]


class QueueMachine(RuleBasedStateMachine):
    """Any caller may do anything at any time. `url` and `reached` are set by the test."""

    url: str
    reached: set[State]

    def __init__(self) -> None:
        super().__init__()
        self.redis: Any = Redis.from_url(self.url, decode_responses=True)
        chosen = Settings(max_in_flight=CAP, submit_rate=(RATE, 10.0))
        self.life = Life(self.redis, Keys(f"t{uuid.uuid4().hex[:12]}"), chosen)
        self.claims: list[tuple[str, str]] = [("j0", "upload.1")]  # every claim ever given: (job, claim)
        self.nonces: list[tuple[str, str]] = [("j0", "none")]  # every nonce ever seen: (job, nonce)
        self.calls: list[tuple[str, Call]] = []  # every call ever made
        self.mine: dict[str, str] = {}  # nonce -> the token that was told `mine`
        self.paid: set[str] = set()
        self.number = 0

    def teardown(self) -> None:
        self.life.clean()
        self.redis.close()

    # -- producers --------------------------------------------------------------------------------------------------
    @rule(
        job=st.sampled_from(JOBS),
        tenant=st.sampled_from(TENANTS),
        priority=st.sampled_from(["low", "normal", "high"]),
        key=st.sampled_from([None, "k1", "k2"]),
    )
    def create(self, job: str, tenant: str, priority: str, key: str | None) -> None:
        self.life.create(job, tenant=tenant, priority=priority, idempotency_key=key)

    # -- the clock --------------------------------------------------------------------------------------------------
    @rule(step=st.sampled_from(STEPS), room=st.integers(0, 3), lease=st.sampled_from([0, 20]))
    def claim(self, step: str, room: int, lease: float) -> None:
        rate = RATE if step == "submit" else None
        transfers = 2 if step in ("upload", "deliver") else None
        claims = self.life.store.claim(step, room=room, lease=lease, transfers=transfers, rate=rate)
        self.claims += [(c.job_id, f"{c.step}.{c.n}") for c in claims if c.n]
        assert len(claims) <= room

    @rule()
    def admit(self) -> None:
        assert self.life.gate.admit("w") <= CAP

    @rule()
    def time_passes(self) -> None:
        self.life.time_passes()

    @rule()
    def forget(self) -> None:
        self.life.store.scripts.run("forget", {"limit": 10})

    @rule(seconds=st.sampled_from([0.001, 60.0, None]))
    def pause(self, seconds: float | None) -> None:
        self.life.store.pause("some", "reason", seconds=seconds)

    @rule()
    def resume(self) -> None:
        self.life.store.resume()

    # -- workers, and zombies that hold what is long over -----------------------------------------------------------
    @rule(data=st.data(), name=st.sampled_from(UPLOADS), fresh=st.booleans())
    def move_by_claim(self, data: st.DataObject, name: str, fresh: bool) -> None:
        job, claim = data.draw(st.sampled_from(self.claims))
        record = self._record(job)
        fields = {"uploaded_at": self.life.store.now() if fresh else 1} if name == "uploaded" else {}
        self._call(name, job, claim=claim, task=record.task_id if record else None, set=fields)

    @rule(data=st.data(), names=st.lists(st.sampled_from(BOUGHT), min_size=1, max_size=5))
    def moves_by_nonce(self, data: st.DataObject, names: list[str]) -> None:
        job, nonce = data.draw(st.sampled_from(self.nonces))
        for name in names:
            owner = data.draw(st.sampled_from(self.nonces))[1] if name == "record_task" else nonce
            self._call(name, job, nonce=nonce, task=f"T{owner[:8]}")

    @rule(data=st.data(), token=st.sampled_from(["t1", "t2"]))
    def send(self, data: st.DataObject, token: str) -> None:
        job, nonce = data.draw(st.sampled_from(self.nonces))
        self._send(job, nonce, token)

    @rule(job=st.sampled_from(JOBS))
    def cancel(self, job: str) -> None:
        self._call("cancel_unbought", job)

    @rule(data=st.data())
    @precondition(lambda self: self.calls)
    def repeat_a_call(self, data: st.DataObject) -> None:
        """An old message of a zombie, or a call that redis-py repeats because its answer was lost."""
        name, argument = data.draw(st.sampled_from(self.calls))
        self.life.store.scripts.run(name, argument)

    @initialize(seed=_SEED, steps=st.integers(5, 40))
    def begin(self, seed: int, steps: int) -> None:
        """Histories start anywhere, so that what is rare is met early."""
        self._honest_work(JOBS, seed, steps)

    @rule(job=st.sampled_from(JOBS), seed=_SEED, steps=st.integers(2, 12))
    def honest_work(self, job: str, seed: int, steps: int) -> None:
        self._honest_work([job], seed, steps)

    def _honest_work(self, jobs: Sequence[str], seed: int, steps: int) -> None:
        """What honest workers do next, with every fence right; the seed decides which of several ways.

        One step of five is out of turn: an execution of this very purchase or claim that says the wrong thing now.
        """
        chance = Random(f"{seed} {self.number}")
        for _ in range(steps):
            job = chance.choice(jobs)
            record = self._record(job)
            if record is None:
                self.create(job, chance.choice(TENANTS), "normal", None)
                continue
            if chance.random() < 0.2:
                self._say(chance.choice(sorted(CALLED)), job)
            else:
                self._one_step(job, record, chance.choice(WAY_ON[record.state]))
            self.history_is_kept()
            self.everything_agrees()

    def _one_step(self, job: str, record: Record, name: str) -> None:
        if name in ("begin_upload", "delivered", "book_failure"):
            step = "upload" if name == "begin_upload" else "deliver"
            self.life.time_passes()
            self.claims += [(c.job_id, f"{c.step}.{c.n}") for c in self.life.store.claim(step, room=9, lease=20)]
        if name in ("admit", "send"):
            self.life.store.resume()
            self.life.time_passes()
        if name == "admit":
            self.life.gate.admit("w")
        elif name == "send":
            self._send(job, record.nonce, "honest")
        else:
            self._say(name, job)

    def _say(self, name: str, job: str) -> None:
        record = self.life.store.get(job)
        fields = {"uploaded_at": self.life.store.now()} if name == "uploaded" else {}
        task = record.task_id or f"T{record.nonce[:8]}"
        self._call(name, job, claim=record.claim, nonce=record.nonce, task=task, set=fields)

    # -- a server that is another one ---------------------------------------------------------------------------------
    @rule(job=st.sampled_from(JOBS))
    def other_server(self, job: str) -> None:
        record = self._record(job)
        if record and record.state is State.ARMED:
            self.life.arm_elsewhere(job)

    # -- what must hold ---------------------------------------------------------------------------------------------
    @invariant()
    def everything_agrees(self) -> None:
        found = violations(self.redis, self.life.keys, jobs=JOBS, tenants=TENANTS, cap=CAP, rate=RATE)
        assert list(found) == []

    @invariant()
    def history_is_kept(self) -> None:
        for record in self.life.store.get_many(JOBS):
            self.reached.add(record.state)
            for p in record.purchases:
                if (record.id, p.nonce) not in self.nonces:
                    self.nonces.append((record.id, p.nonce))
                assert p.nonce not in self.paid or p.status is Purchase.PAID, "a paid purchase became something else"
                if p.status is Purchase.PAID:
                    self.paid.add(p.nonce)

    # -- help -------------------------------------------------------------------------------------------------------
    def _record(self, job: str) -> Record | None:
        return next(iter(self.life.store.get_many([job])), None)

    def _call(self, name: str, job: str, **values: Any) -> None:
        """One call, and at once its repetition: success changes nothing the second time."""
        self.number += 1
        argument: Call = {"id": job, "call": f"c{self.number}", "move": CALLED[name].for_lua()}
        argument |= {"event": {"step": "s"}} | {k: v for k, v in values.items() if v}
        run = self.life.store.scripts.run
        outcome, _ = run("move", argument)
        assert outcome in ("ok", "booked", "fenced", "missing", "bound")
        before = self._seen(job)
        assert run("move", argument)[0] == ("ok" if outcome in ("ok", "booked") else outcome)
        assert self._seen(job) == before, "a repeated call changed something"
        self.calls.append(("move", argument))

    def _seen(self, job: str) -> tuple[dict[str, str], int]:
        fields = {k: v for k, v in self.life.record_fields(job).items() if k != "updated_at"}
        return fields, int(self.redis.llen(self.life.keys.events(job)))

    def _send(self, job: str, nonce: str, token: str) -> None:
        record = self._record(job)
        if record is None:
            return
        asked = Record(**(vars(record) | {"nonce": nonce}))
        verdict = self.life.gate.send(asked, token=token, worker="w").verdict
        if verdict == "mine":
            second = self.life.gate.send(asked, token=f"not {token}", worker="w").verdict
            only = self.mine.setdefault(nonce, token) == token and second == "fenced"
            assert only, "two executions may send one purchase"
            after = self.life.store.get(job)
            assert (after.state, after.nonce) == (State.SUBMITTING, nonce)


_FAST: dict[str, Any] = {
    "deadline": None,
    "database": None,
    "derandomize": True,
    "suppress_health_check": list(HealthCheck),
}


def _machine(url: str) -> type[QueueMachine]:
    return type("Machine", (QueueMachine,), {"url": url, "reached": set()})


def test_no_order_of_calls_breaks_the_rules(redis_url: str) -> None:
    """After every step of 25 long histories every rule holds; together they met every state a job can be in."""
    machine = _machine(redis_url)

    run_state_machine_as_test(machine, settings=settings(max_examples=25, stateful_step_count=30, **_FAST))

    assert machine.reached == set(State)


def _without(line: str) -> Callable[[str], str]:
    def changed(text: str) -> str:
        assert text.count(line) == 1, line
        return text.replace(line, "")

    return changed


def _instead(line: str, other: str) -> Callable[[str], str]:
    def changed(text: str) -> str:
        assert text.count(line) == 1, line
        return text.replace(line, other)

    return changed


BROKEN: dict[str, tuple[str, Callable[[str], str], str]] = {
    "a job stays in the set it left": (
        "lib",
        _without("redis.call('ZREM', K.due[home], job.id)"),
        r"job is in \[.*\], must be in",
    ),
    "a job stays in the index it left": (
        "lib",
        _without("  redis.call('ZREM', K.state .. job.state, job.id)\n"),
        "job is in the indexes",
    ),
    "a healed job still expires": ("lib", _without("redis.call('PERSIST', name)"), "these expire"),
    "an empty line keeps its tenant": (
        "lib",
        _without("    if redis.call('EXISTS', line) == 0 then redis.call('ZREM', K.tenants, job.tenant) end\n"),
        "the gate knows",
    ),
    "slots are not counted": ("admit", _instead("a.in_flight - redis.call('ZCARD', K.slots)", "9"), "slots are taken"),
    "no slot comes back": ("move", _instead("if m.frees_slot and", "if false and"), "a slot is held for no open"),
    "mine by nonce, not by token": (
        "send",
        _without(" and job.sender == a.token"),
        "two executions may send one purchase",
    ),
    "a task belongs to whoever names it last": (
        "move",
        _instead(
            "if not redis.call('SET', K.task .. a.task, owner, 'NX') and",
            "redis.call('SET', K.task .. a.task, owner)\n  if",
        ),
        "is indexed for|these expire",
    ),
    "a call is not recognised again": (
        "move",
        _without("if job.last_call == a.call then return {'ok', job.state} end"),
        "assert '(fenced|ok|booked)' ==|a repeated call changed something",
    ),
    "who could not connect closes what another execution sent": (
        "move",
        _instead("if not target and not m.books_late then", "if not target and not p then"),
        "submitting job holds no slot",
    ),
    "a settled purchase may be booked again": (
        "move",
        _instead("status = p and m.books[p.status]", "status = p and (m.books[p.status] or m.books.open)"),
        "a paid purchase became something else|a nonce was armed twice|two open purchases|holds no slot",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_is_found(redis_url: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rules are not vacuous: without one line of the Lua the same machine finds it within a few histories."""
    script, change, sentence = BROKEN[name]
    folder = tmp_path / "contract"
    shutil.copytree(Path(scripts.__file__).parent / "lua", folder / "lua")
    path = folder / "lua" / f"{script}.lua"
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    monkeypatch.setattr(scripts, "files", lambda _: folder)
    quick = settings(
        max_examples=25, stateful_step_count=30, phases=[Phase.generate], report_multiple_bugs=False, **_FAST
    )

    with pytest.raises(AssertionError, match=sentence):
        run_state_machine_as_test(_machine(redis_url), settings=quick)
