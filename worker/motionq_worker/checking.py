"""One batch of readings: which tasks are wanted, what each reading means, and the writes, pipelined."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from motionq.contract import states
from motionq.contract.record import PurchaseLine, Record
from motionq.contract.states import State
from motionq.contract.store import moved
from motionq_worker import decisions
from motionq_worker.decisions import Decision
from motionq_worker.gate import estimate
from motionq_worker.kie.errors import KieFault
from motionq_worker.kie.messages import Phase, Reading
from motionq_worker.schedule import next_look
from motionq_worker.services import Services
from motionq_worker.settings import submit_lease

_log = logging.getLogger(__name__)

_SHARE_OF_LEASE = 0.7  # reading ends well before the claims of its jobs do
_PATIENCE = 600_000  # ms for which a task that somebody named may stay invisible at the vendor


class Batch:
    """The jobs of one check message."""

    def __init__(self, s: Services, message_id: str, worker: str) -> None:
        self._s = s
        self._message_id = message_id
        self._worker = worker
        self._started = 0
        self._now = 0
        self.waiting: list[Record] = []
        self.candidates: list[tuple[Record, PurchaseLine, str]] = []
        self.looks: dict[str, Reading | KieFault] = {}

    def wanted(self, job_ids: Sequence[str]) -> list[str]:
        """The tasks to read: of the jobs that wait for one, and those that somebody named for a purchase."""
        for record in self._s.store.get_many(dict.fromkeys(job_ids)):
            if record.state in (State.RUNNING, State.CANCELLING):
                self.waiting.append(record)
            self.candidates += [(record, p, p.candidate) for p in record.purchases if p.candidate]
        return [r.task_id for r in self.waiting if r.task_id] + [task for _, _, task in self.candidates]

    def read(self, task_ids: Sequence[str]) -> None:
        """All readings of the batch, concurrently."""
        self._started = self._s.store.now()
        if task_ids:
            self.looks = self._s.poller.read_many(task_ids, timeout=self._s.settings.check_lease * _SHARE_OF_LEASE)
        self._now = self._s.store.now()

    def write_verdicts(self) -> list[str]:
        """What each reading of a waiting job's task means; returns the jobs that have the vendor's verdict now."""
        said = [(record, decision) for record in self.waiting if (decision := self._means(record)) is not None]
        pipe = self._s.store.redis.pipeline(transaction=False)
        for record, decision in said:
            self._learn(record, decision)
            self._queue(pipe, record, decision)
        outcomes = moved(pipe.execute(raise_on_error=False)) if said else []
        for (record, _), outcome in zip(said, outcomes, strict=True):
            if outcome.outcome == "error":
                _log.error("the reading of job %s could not be written: %s", record.id, outcome.state)
        return [r.id for (r, d), o in zip(said, outcomes, strict=True) if d.settled and o.ok]

    def write_candidates(self) -> None:
        """A named task that is the purchase's own is recorded; another's is dropped; an invisible one waits a while."""
        for record, line, task_id in self.candidates:
            look = self.looks.get(task_id)
            if not isinstance(look, Reading) or (look.phase is Phase.NOT_VISIBLE and self._young(line)):
                continue
            window = submit_lease(self._s.settings)
            genuine = decisions.confirms(look, record, line, window)
            if genuine:
                self._record(record, line, task_id)
            if not genuine or line.task_id == task_id:  # where the task was known, recording it may change nothing
                self._s.store.move(states.DROP_CANDIDATE, record.id, nonce=line.nonce, task=task_id)

    def _means(self, record: Record) -> Decision | None:
        rules = self._s.rules
        if not record.task_id:
            return decisions.overdue(record, self._now, rules)
        look = self.looks.get(record.task_id)
        if isinstance(look, Reading):
            return decisions.look(record, look, started=self._started, now=self._now, rules=rules)
        return decisions.unread(record, look, self._now, rules)

    def _queue(self, pipe: Any, record: Record, decision: Decision) -> None:
        extra = {"parent": self._message_id} if decision.settled else {}
        self._s.store.move(
            decision.move,
            record.id,
            pipeline=pipe,
            nonce=record.nonce,
            task=record.task_id or None,
            set=decision.set | extra,
            add=decision.add or None,
            unset=list(decision.unset) or None,
            purchase=decision.purchase or None,
            spent=decision.spent or None,
            alarm_in=int(decision.alarm_in * 1000),
            event=self._event(decision.note) if decision.note else None,
        )

    def _record(self, record: Record, line: PurchaseLine, task_id: str) -> None:
        """A task ID that was lost is found again; its verdict is read at once."""
        newest = line.nonce == record.nonce
        fresh = {"running_since": self._now, "parent": self._message_id} if newest and not record.task_id else {}
        outcome = self._s.store.move(
            states.RECORD_TASK,
            record.id,
            nonce=line.nonce,
            task=task_id,
            set=fresh,
            unset=["failure"],
            purchase=None if line.task_id else {"estimate": estimate(record)},
            spent=None if line.task_id else estimate(record),
            alarm_in=0 if newest else int(next_look(0) * 1000),
            event=self._event(f"task {task_id}, named by a callback or a person"),
        )
        if outcome.outcome == "bound":  # it has become another purchase's since it was named
            self._s.store.move(states.DROP_CANDIDATE, record.id, nonce=line.nonce, task=task_id)

    def _young(self, line: PurchaseLine) -> bool:
        return self._now - (line.sent_at or line.armed_at) < _PATIENCE

    def _event(self, note: str) -> dict[str, str]:
        return {"step": "check", "worker": self._worker, "note": note}

    def _learn(self, record: Record, decision: Decision) -> None:
        """What a verdict teaches: how long such jobs take, and which uploads the vendor can't read."""
        if decision.move is states.PAID:
            self._s.estimates.learn(record, (self._now - record.running_since) / 1000)
        if decision.new_upload:
            self._s.uploads.forget(record.contents)
