"""Everybody who calls the store, in any order: a state machine for Hypothesis over the real Lua on a real server.

Workers, zombies (old claims, old nonces, old calls), a clock, callbacks, people and a server that restarts. After every
call all of the rules of `support.invariants` are read from the server, and beside them what only history can tell: a
nonce is given the right to send once, a settled purchase stays settled, and nothing is written off unseen.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from random import Random
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from redis import Redis

from motionq.contract.keys import STEPS, Keys
from motionq.contract.record import PurchaseLine, Record
from motionq.contract.settings import Settings
from motionq.contract.states import MOVES, Fence, Purchase, State
from support.invariants import violations
from support.life import Life

JOBS = ("j0", "j1", "j2")
TENANTS = ("a", "b", "c")
CAP, RATE = 2, 4
# ADMIT, REFRESH, EXPIRE and SEND are the table of admit.lua and send.lua, never calls of their own.
CALLED = {m.name: m for m in MOVES.values() if m.name not in ("admit", "refresh", "expire", "send")}
UPLOADS = sorted(m.name for m in CALLED.values() if m.fence in (Fence.CLAIM, Fence.CLAIM_TASK))
BOUGHT = sorted(m.name for m in CALLED.values() if m.fence in (Fence.NONCE, Fence.TASK))
# The honest ways on from each state, late reports among them.
WAY_ON: dict[State, tuple[str, ...]] = {
    State.QUEUED: ("begin_upload",),
    State.UPLOADING: ("uploaded",),
    State.READY: ("admit",),
    State.ARMED: ("send", "send", "send", "follow", "cancel_armed"),
    State.SUBMITTING: (
        *("record_task", "record_task", "record_task", "unknown"),
        *("refused_later", "not_sent", "unconnected", "cancel_bought"),
    ),
    State.SUBMIT_UNKNOWN: ("record_task", "give_up_unknown", "free_slot", "name_task", "look_at_named_tasks"),
    State.RUNNING: ("paid", "paid", "refunded", "refunded_again", "give_up_silent", "cancel_bought"),
    State.CANCELLING: ("paid", "give_up_unknown", "give_up_silent", "record_task"),
    State.DELIVERING: ("delivered", "book_failure", "book_refund"),
    State.SUCCEEDED: ("record_task",),
    State.FAILED: ("record_task", "name_task", "revived", "replay"),
    State.CANCELLED: ("record_task", "paid", "replay"),
}
# What a history is about: where one of these ways is open, it is taken more often than not.
THEMES: tuple[tuple[str, ...], ...] = (
    (),
    ("record_task", "paid", "book_failure", "replay"),
    ("record_task", "refunded_again", "follow"),
    ("refused_later", "not_sent", "follow"),
    ("unknown", "give_up_unknown", "replay"),
    ("cancel_bought", "give_up_silent", "paid", "replay"),
    ("unconnected",),
    ("refused_later", "name_task", "look_at_named_tasks"),
    ("unknown", "name_task", "look_at_named_tasks"),
)
UNBOUGHT = (State.QUEUED, State.UPLOADING, State.READY)
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
        self.settled: dict[str, tuple[Purchase, bool]] = {}  # nonce -> how it was closed, and whether it had a task
        self.followed: set[str] = set()  # nonces of closed purchases that somebody wanted to follow
        self.revived: set[str] = set()  # nonces whose task somebody saw alive
        self.shown: set[str] = set()  # nonces that a person was shown and consented to
        self.number = 0
        self.theme: tuple[str, ...] = ()

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
        self.redis.delete(self.life.keys.pace(tenant))  # else it would depend on the clock who is due
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
        allowed = self._may_pass()
        armed = self.life.gate.admit("w")
        assert armed <= allowed, f"the gate let {armed} through, where {allowed} may pass"

    def _may_pass(self) -> int:
        """How many jobs the gate may arm now: all that find a slot, one probe, or none."""
        gate, now = self.life.store.paused(), self.life.store.now()
        if gate is None:
            return CAP
        over = 0 < int(gate["until"]) <= now
        return 1 if over and int(gate.get("probe_until", 0)) <= now else 0

    @rule()
    def time_passes(self) -> None:
        self.life.time_passes()

    @rule()
    def forget(self) -> None:
        self.life.store.scripts.run("forget", {"limit": 10})

    # -- the gate's pauses ------------------------------------------------------------------------------------------
    @rule(reason=st.sampled_from(["rate", "no_credits"]), seconds=st.sampled_from([60.0, None]))
    def pause(self, reason: str, seconds: float | None) -> None:
        before = self.life.store.paused()
        self.life.store.pause(reason, "found by a worker", seconds=seconds, longest=600.0, key="key")
        persons = before is not None and before["reason"] == "operator"
        assert not persons or self.life.store.paused() == before, "a worker ended a person's pause"

    @rule(late=st.booleans())
    def close_by_hand(self, late: bool) -> None:
        self.life.store.pause("operator", "")
        assert (self.life.store.paused() or {})["reason"] == "operator"
        if late:  # an answer to what was sent before
            self.pause("no_credits", None)

    @rule(probe_dies=st.booleans())
    def a_pause_ends(self, probe_dies: bool) -> None:
        gate = self.life.store.paused()
        if gate and gate["until"] != "0":
            self.redis.hset(self.life.keys.gate, "until", self.life.store.now() - 1)
            if probe_dies:
                self.redis.hset(self.life.keys.gate, "probe_until", 1)

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

    @rule(data=st.data())
    def follow(self, data: st.DataObject) -> None:
        job, nonce = data.draw(st.sampled_from(self.nonces))
        self._follow(job, nonce, data.draw(st.sampled_from(self.nonces))[1])

    # -- callbacks, and people ----------------------------------------------------------------------------------------
    @rule(data=st.data())
    def name_task(self, data: st.DataObject) -> None:
        job, nonce = data.draw(st.sampled_from(self.nonces))
        self._name(job, nonce, f"T{data.draw(st.sampled_from(self.nonces))[1][:8]}")

    @rule(room=st.integers(1, 3), lease=st.sampled_from([0, 15]), genuine=st.booleans())
    def look_at_named_tasks(self, room: int, lease: float, genuine: bool) -> None:
        for job in self.life.named(room=room, lease=lease):
            for p in self.life.store.get(job).purchases:
                if p.candidate:
                    self._call("record_task" if genuine else "drop_candidate", job, nonce=p.nonce, task=p.candidate)

    @rule(job=st.sampled_from(JOBS), name=st.sampled_from(["cancel_unbought", "cancel_armed", "cancel_bought"]))
    def cancel(self, job: str, name: str) -> None:
        record = self._record(job)
        self._call(name, job, nonce=record.nonce if record else None)

    @rule(data=st.data(), job=st.sampled_from(JOBS), consents=st.booleans())
    def replay(self, data: st.DataObject, job: str, consents: bool) -> None:
        self._replay(job, [data.draw(st.sampled_from(self.nonces))[1]] if consents else [])

    @rule(data=st.data())
    @precondition(lambda self: self.calls)
    def repeat_a_call(self, data: st.DataObject) -> None:
        """An old message of a zombie, or a call that redis-py repeats because its answer was lost."""
        name, argument = data.draw(st.sampled_from(self.calls))
        self.life.store.scripts.run(name, argument)  # what it may do, it was once allowed to

    @initialize(seed=_SEED, steps=st.integers(20, 60), theme=st.sampled_from(THEMES))
    def begin(self, seed: int, steps: int, theme: tuple[str, ...]) -> None:
        """Histories start anywhere, so that what is rare is met early."""
        self.theme = theme
        self._honest_work(JOBS, seed, steps)

    @rule(job=st.sampled_from(JOBS), seed=_SEED, steps=st.integers(2, 12))
    def honest_work(self, job: str, seed: int, steps: int) -> None:
        self._honest_work([job], seed, steps)

    def _honest_work(self, jobs: Sequence[str], seed: int, steps: int) -> None:
        """What honest workers do next, with every fence right; the seed decides which of several ways.

        One step of seven is out of turn: an execution of this very purchase or claim that says the wrong thing now.
        """
        chance = Random(f"{seed} {self.number}")
        for _ in range(steps):
            job = chance.choice(jobs)
            record = self._record(job)
            if record is None:
                self.create(job, chance.choice(TENANTS), "normal", None)
            elif chance.random() < 0.15:
                self._say(chance.choice(sorted(CALLED)), job)
            else:
                ways = WAY_ON[record.state]
                themes = [way for way in ways if way in self.theme and chance.random() < 0.7]
                self._one_step(job, record, chance.choice(themes or ways), chance)
            self.everything_holds()

    def _one_step(self, job: str, record: Record, name: str, chance: Random) -> None:
        if name in ("begin_upload", "delivered", "book_failure", "book_refund"):
            step = "upload" if name == "begin_upload" else "deliver"
            self.life.time_passes()
            self.claims += [(c.job_id, f"{c.step}.{c.n}") for c in self.life.store.claim(step, room=9, lease=20)]
        if name in ("admit", "send"):
            self.life.time_passes()
            self._open_the_gate(chance.choice(["open", "open", "half", "as it is"]))
        if name == "admit":
            self.admit()
        elif name == "send":
            self._send(job, record.nonce, "honest")
        elif name == "follow":
            earlier = [p.nonce for p in record.purchases if p.nonce != record.nonce]
            self._follow(job, record.nonce, (earlier or ["none"])[-1])
        elif name == "look_at_named_tasks":
            self.look_at_named_tasks(3, 0, chance.random() < 0.5)
        elif name == "name_task":
            self._name(job, record.nonce or "none", f"T{record.nonce[:8]}")
        elif name == "replay":
            self._replay(job, chance.choice([[], [record.nonce], ["another"]]))
        else:
            self._say(name, job)

    def _open_the_gate(self, how: str) -> None:
        if how != "as it is":
            self.life.store.resume()
        if how == "half":
            self.pause("rate", 60.0)
            self.a_pause_ends(probe_dies=False)

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
    def everything_holds(self) -> None:
        found = list(violations(self.redis, self.life.keys, jobs=JOBS, tenants=TENANTS, cap=CAP, rate=RATE))
        assert not found, found
        looked_at = set(self.redis.zrange(self.life.keys.candidates, 0, -1))
        for record in self.life.store.get_many(JOBS):
            self.reached.add(record.state)
            for p in record.purchases:
                if (record.id, p.nonce) not in self.nonces:
                    self.nonces.append((record.id, p.nonce))
                self._is_kept(p)
                assert p.status is not Purchase.OPEN or record.state not in UNBOUGHT, "to be bought beside an open one"
                named = f"{record.id}:{p.nonce}" in looked_at
                assert named is (p.candidate is not None), "a named task is forgotten, or looked at for ever"

    def _is_kept(self, p: PurchaseLine) -> None:
        was, had_task = self.settled.get(p.nonce, (p.status, False))
        named_late = p.task_id is not None and not had_task and was is not Purchase.PAID
        alive = named_late or was is Purchase.STRAY
        alive |= p.nonce in self.followed and was is Purchase.REFUNDED
        alive |= p.nonce in self.revived and was in MOVES["revived"].books
        followed = alive and p.status in (Purchase.STRAY, Purchase.OPEN)
        assert p.status is was or followed, f"a {was} purchase became something else"
        assert p.status is not Purchase.WRITTEN_OFF or p.nonce in self.shown, "written off, though nobody was shown it"
        if p.status is Purchase.OPEN:
            self.settled.pop(p.nonce, None)
        else:
            self.settled[p.nonce] = (p.status, p.task_id is not None)

    # -- help -------------------------------------------------------------------------------------------------------
    def _record(self, job: str) -> Record | None:
        return next(iter(self.life.store.get_many([job])), None)

    def _call(self, name: str, job: str, **values: Any) -> None:
        """One call, and at once its repetition: success changes nothing the second time."""
        self.number += 1
        if name == "revived":
            self.revived.add(str(values.get("nonce")))
        argument: Call = {"id": job, "call": f"c{self.number}", "move": CALLED[name].for_lua()}
        argument |= {"event": {"step": "s"}} | {k: v for k, v in values.items() if v}
        run = self.life.store.scripts.run
        outcome, _ = run("move", argument)
        assert outcome in ("ok", "booked", "fenced", "missing", "bound")
        before = self._seen(job)
        assert run("move", argument)[0] == ("ok" if outcome in ("ok", "booked") else outcome)
        assert self._seen(job) == before, "a repeated call changed something"
        self.calls.append(("move", argument))

    def _seen(self, job: str) -> dict[str, str]:
        return {k: v for k, v in self.life.record_fields(job).items() if k != "updated_at"}

    def _once_more(self, name: str, argument: Call) -> Any:
        """One call of a script that may be repeated: the second answer is the first, and changes nothing."""
        self.calls.append((name, argument))
        answer = self.life.store.scripts.run(name, argument)
        before = self._seen(argument["id"])
        assert self.life.store.scripts.run(name, argument) == answer
        assert self._seen(argument["id"]) == before, "a repeated call changed something"
        return answer

    def _follow(self, job: str, nonce: str, old: str) -> None:
        self.followed.add(old)
        outcome, _ = self._once_more("follow", {"id": job, "nonce": nonce, "old": old, "event": {"step": "s"}})
        assert outcome in ("ok", "fenced", "missing")

    def _replay(self, job: str, shown: list[str]) -> None:
        self.number += 1
        self.shown.update(shown)
        paid = any(p.status is Purchase.PAID for r in self.life.store.get_many([job]) for p in r.purchases)
        argument = {"id": job, "call": f"c{self.number}", "event": {"step": "s"}}
        outcome, *rest = self._once_more("replay", argument | ({"consent": shown} if shown else {}))
        assert outcome in ("ok", "open", "refused", "missing")
        assert not paid or outcome != "ok" or rest == ["delivering"], "paid, and bought again"

    def _name(self, job: str, nonce: str, task: str) -> None:
        before = self._unnamed(job)
        assert self.life.store.name_task(job, nonce, task) in ("stored", "known", "orphan")
        assert self._unnamed(job) == before, "naming a task moved something"

    def _unnamed(self, job: str) -> dict[str, Any]:
        """Every key but those that a named task may touch."""
        keys = self.life.keys
        found = {k: v for k, v in self.life.everything().items() if k not in (keys.candidates, keys.orphans)}
        if record := found.pop(keys.job(job), None):
            flat, end = record
            found["end"] = end
            found["fields"] = {k: v for k, v in zip(flat[::2], flat[1::2], strict=True) if k != "purchases"}
        return found

    def _send(self, job: str, nonce: str, token: str) -> None:
        record = self._record(job)
        if record is None:
            return
        asked = Record(**(vars(record) | {"nonce": nonce}))
        gate, now = self.life.store.paused(), self.life.store.now()
        probe = gate is not None and 0 < int(gate["until"]) <= now and gate.get("probe") == f"{job}:{nonce}"
        verdict = self.life.gate.send(asked, token=token, worker="w").verdict
        if verdict == "mine":
            assert gate is None or probe or record.state is State.SUBMITTING, "sent through a closed gate"
            second = self.life.gate.send(asked, token=f"not {token}", worker="w").verdict
            only = self.mine.setdefault(nonce, token) == token and second == "fenced"
            assert only, "two executions may send one purchase"
            after = self.life.store.get(job)
            assert (after.state, after.nonce) == (State.SUBMITTING, nonce)
