"""One search's size, and how the model's time passes: what is durable, and what has become of no importance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from model.rules import Rule, Rules
from model.scripts import Answer, apply_move
from model.world import WORKING, Budget, Execution, Server, World, become, end, line_of, new_job, spend
from motionq.contract.states import State

Step = tuple[str, World, bool]  # what happens, the world after it, and whether the system is bound to do it (fair)
Steps = Iterator[Step]


@dataclass(frozen=True, kw_only=True)
class Model:
    """What one search looks at."""

    budget: Budget = field(default_factory=Budget)
    rules: Rules = field(default_factory=Rules)
    jobs: int = 1
    workers: int = 2  # executions at the same time
    slots: int = 1
    attempts: int = 2  # generations of one job: MOTIONQ_GENERATION_ATTEMPTS
    young: int = 3  # writes that can be lost, at most
    callbacks: bool = True
    from_ready: bool = False  # the search begins with the files at the vendor
    _answers: dict[Any, Answer] = field(default_factory=dict, repr=False, compare=False)

    def start(self) -> World:
        """The first world."""
        job = new_job(State.READY if self.from_ready else State.QUEUED)
        return World(versions=(Server(jobs=(job,) * self.jobs),), on_disk=0, on_replica=0, budget=self.budget)

    def free_worker(self, w: World) -> bool:
        """Whether somebody can take up a message."""
        return sum(e.step in WORKING for e in w.executions) < self.workers

    # -- writing ----------------------------------------------------------------------------------------------------
    def write(self, w: World, server: Server) -> World:
        """The world after a write; the last writes are young, and can be lost."""
        if server == w.server:
            return w
        return w._replace(versions=(*w.versions, server))

    def move(self, server: Server, name: str, j: int, **values: Any) -> Answer:
        """`apply_move` of this model's table, each only once: few servers are met in many worlds."""
        key = (server, name, j, *((k, tuple(v.items()) if isinstance(v, dict) else v) for k, v in values.items()))
        if key not in self._answers:
            self._answers[key] = apply_move(self.rules, server, self.rules.moves[name], j, **values)
        return self._answers[key]

    def moves_met(self) -> set[str]:
        """The moves that have led somewhere, or booked something, in what was searched."""
        return {key[1] for key, (outcome, _) in self._answers.items() if outcome in ("ok", "booked")}

    def call(self, w: World, e: Execution, move: str, what: str, then: str = "", **values: Any) -> Steps:
        """One move by an execution, which goes on at stage `then` if it was led, and ends otherwise."""
        fences = {"claim": e.claim, "nonce": e.nonce, "task": e.task, **values}
        outcome, server = self.move(w.server, move, e.job, call=e.call, **fences)
        goes_on = then and outcome == "ok"
        after = become(w, e, stage=then, call="") if goes_on else end(w, e)
        yield f"{what}: {move} of {name(e)} is {outcome}", self.write(after, server), True
        if w.budget.repeat and not e.call and outcome in ("ok", "booked"):
            call = f"call{w.budget.repeat}"
            _, server = self.move(w.server, move, e.job, call=call, **fences)
            again = become(spend(w, "repeat"), e, call=call)
            yield f"{what}: {move} of {name(e)} is {outcome}, the answer is lost", self.write(again, server), False

    # -- what is durable ----------------------------------------------------------------------------------------------
    def marks(self, w: World) -> list[int]:
        """The versions that survive, one for each kind of loss that may still happen."""
        marks = [(w.budget.power, w.on_disk), (w.budget.failover, w.on_replica)]
        return [mark for left, mark in marks if left]

    def sendable(self, w: World, j: int, nonce: str) -> bool:
        """Whether this arming survives what `submit` waits for."""
        waits = [
            (Rule.WAIT_FOR_DISK, w.budget.power, w.on_disk),
            (Rule.WAIT_FOR_REPLICA, w.budget.failover, w.on_replica),
        ]
        marks = [mark for rule, left, mark in waits if left and self.rules.hold(rule)]
        return all(line_of(w.versions[mark].jobs[j], nonce) for mark in marks)

    def tidy(self, w: World) -> World:
        """Forgets versions that no loss brings back, and journal lines that are durable."""
        if len(w.versions) == 1 and not w.journal and w.old is None:
            return w
        last = len(w.versions) - 1
        disk = max(w.on_disk, last - self.young) if w.budget.power else last
        replica = max(w.on_replica, last - self.young) if w.budget.failover else last
        first = min(disk, replica)
        if first or disk != w.on_disk or replica != w.on_replica:
            w = w._replace(versions=w.versions[first:], on_disk=disk - first, on_replica=replica - first)
        if w.old is not None and not any(e.stage == "connected" for e in w.executions):
            w = w._replace(old=None)
        return w._replace(journal=self._still_needed(w)) if w.journal else w

    def _still_needed(self, w: World) -> frozenset[tuple[int, str, str]]:
        held = [w.server]
        if self.rules.hold(Rule.JOURNAL_UNTIL_DURABLE):
            held += [w.versions[mark] for mark in self.marks(w)]
        return frozenset(
            (j, nonce, task)
            for j, nonce, task in w.journal
            if not all((line := line_of(s.jobs[j], nonce)) and line.task == task for s in held)
        )


def name(e: Execution) -> str:
    """An execution in a trace."""
    return f"job{e.job} {e.claim or e.nonce}"
