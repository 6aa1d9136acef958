"""One batch of readings: which tasks are wanted, what each reading means, and the writes, pipelined."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from motionq.contract import states
from motionq.contract.record import PurchaseLine, Record
from motionq.contract.states import State
from motionq.contract.store import Moved, Waiting, moved
from motionq_worker import decisions
from motionq_worker.decisions import Decision
from motionq_worker.kie.errors import KieFault
from motionq_worker.kie.messages import Phase, Reading
from motionq_worker.kie.poller import Looks
from motionq_worker.schedule import next_look
from motionq_worker.services import Services
from motionq_worker.settings import submit_lease

Named = tuple[Record, PurchaseLine, str]  # a job, its purchase, and the task that somebody names for it
_WAITING = (State.RUNNING, State.CANCELLING)
_log = logging.getLogger(__name__)

_SHARE_OF_LEASE = 0.7  # reading ends well before the claims of its jobs do
_LATE = 0.3  # share of the lease that must be left when a look begins
_PATIENCE = 3_600_000  # ms, from its purchase on, for which a task that somebody named may stay invisible at the vendor


class Batch:
    """The jobs of one check message.

    Most looks find nothing new. For those only a few fields of each job are read, and one call sets all their alarms;
    the whole record is read where something has happened.
    """

    def __init__(self, s: Services, message_id: str, worker: str) -> None:
        self._s = s
        self._message_id = message_id
        self._worker = worker
        self._started = 0
        self._now = 0
        self.waiting: list[Waiting] = []
        self.candidates: list[Named] = []
        self.looks: dict[str, Reading | KieFault] = {}

    def wanted(self, job_ids: Sequence[str]) -> list[str]:
        """The tasks to read: of the jobs that wait for one, and those that somebody named for a purchase."""
        jobs = self._s.store.waiting(dict.fromkeys(job_ids))
        self.waiting = [job for job in jobs if job.state in _WAITING and (job.named or job.alarm_in > self._soon)]
        for record in self._s.store.get_many(job.id for job in jobs if job.named):
            self.candidates += [(record, p, p.candidate) for p in record.purchases if p.candidate]
        named = [task for _, _, task in self.candidates]
        return list(dict.fromkeys([*named, *(job.task_id for job in self.waiting if job.task_id)]))

    @property
    def _soon(self) -> float:
        """Ms before its alarm in which a job's look is not begun: the message was late, and another one comes soon."""
        return self._s.settings.check_lease * 1000 * _LATE

    def _patience(self) -> float:
        """Seconds for all readings together: they end well before the first alarm of the batch rings."""
        first = min((job.alarm_in / 1000 for job in self.waiting if job.alarm_in > self._soon), default=math.inf)
        return min(first, self._s.settings.check_lease) * _SHARE_OF_LEASE

    def _permitted(self, task_ids: Sequence[str]) -> Sequence[str]:
        """Those that may be read now; the jobs of the others are due again, so that the clock gives them out anew."""
        may = self._s.store.may_read(len(task_ids), self._s.settings.read_rate)
        late = frozenset(task_ids[may:])
        if late:
            self._s.store.put_off(
                (job.id for job in self.waiting if job.task_id in late),
                ((record.id, line.nonce) for record, line, task in self.candidates if task in late),
            )
        return task_ids[:may]

    def read(self, task_ids: Sequence[str]) -> Iterator[Looks]:
        """All readings of the batch, concurrently; those that are there need not wait for the slow ones."""
        self._started = self._now = self._s.store.now()
        if not task_ids:
            return
        self._s.estimates.refresh()
        named = frozenset(task for _, _, task in self.candidates)
        permitted = self._permitted(task_ids)
        for looks in self._s.poller.arrivals(permitted, timeout=self._patience(), whole=named):
            self._now = self._s.store.now()
            self.looks |= looks
            yield looks

    def write_verdicts(self, looks: Looks) -> list[str]:
        """What these readings mean for the jobs that wait; returns those that have the vendor's verdict now."""
        still: list[tuple[Waiting, float]] = []
        said: list[tuple[Waiting | Record, Decision]] = []
        unclear: list[Waiting] = []
        for job in self.waiting:
            if job.task_id not in looks:
                continue
            wait = self._s.estimates.schedule(job).next_look
            decision = decisions.nothing_new(job.running_since, looks[job.task_id], self._now, self._s.rules, wait)
            if decision is None:
                unclear.append(job)
            elif decision.move is states.STILL_RUNNING and decision.note is None:
                still.append((job, decision.alarm_in))
                self._s.estimates.still(job, looks[job.task_id], self._now)
            else:
                said.append((job, decision))
        done = self._write([*said, *self._meant(unclear, looks)])
        self._s.meter.add("move", states.STILL_RUNNING.name, by=self._s.store.still(still))
        return done

    def write_overdue(self) -> None:
        """Jobs that are being cancelled and have no task: is our patience at its end?"""
        records = self._s.store.get_many(job.id for job in self.waiting if not job.task_id)
        means = [(record, decisions.overdue(record, self._now, self._s.rules)) for record in records]
        self._write([(record, decision) for record, decision in means if decision is not None])

    def write_candidates(self) -> None:
        """A named task that is the purchase's own is recorded; another's is dropped; an invisible one waits a while."""
        seen = [(named, look) for named in self.candidates if (look := self._seen(named)) is not None]
        window = submit_lease(self._s.settings)
        own = [(n, look) for n, look in seen if decisions.confirms(look, n[0], n[1], window)]
        for outcome, by in (("confirmed", len(own)), ("dropped", len(seen) - len(own))):
            self._s.meter.add("candidate", outcome, by=by)
        pipe = self._s.store.redis.pipeline(transaction=False)
        for named, look in own:
            self._take(pipe, named, look)
        outcomes = moved(pipe.execute(raise_on_error=False)) if own else []
        taken = {id(named) for (named, _), moved_ in zip(own, outcomes, strict=True) if self._is_taken(named, moved_)}
        self._drop(named for named, _ in seen if id(named) not in taken)

    def _seen(self, named: Named) -> Reading | None:
        """What kie.ai says of a named task; None: it is too early to tell."""
        _, line, task_id = named
        look = self.looks.get(task_id)
        if not isinstance(look, Reading) or (look.phase is Phase.NOT_VISIBLE and self._young(line)):
            return None
        return look

    def _is_taken(self, named: Named, outcome: Moved) -> bool:
        """Whether that is settled; where the task was known, recording it may change nothing, and the name stays."""
        record, line, task_id = named
        if line.status in states.CLOSED_UNBOUGHT and outcome.outcome in ("ok", "booked") and line.task_id is None:
            self._s.meter.add("stray")
            _log.error("kie.ai made task %s of job %s, whose purchase was %s", task_id, record.id, line.status.value)
        if outcome.outcome == "fenced" and line.task_id not in (None, task_id):
            _log.error("task %s is job %s's by kie.ai's record, and so is %s", task_id, record.id, line.task_id)
        return outcome.outcome in ("ok", "booked", "error") and line.task_id != task_id

    def _drop(self, names: Iterable[Named]) -> None:
        pipe = self._s.store.redis.pipeline(transaction=False)
        for record, line, task_id in names:
            self._s.store.move(states.DROP_CANDIDATE, record.id, pipeline=pipe, nonce=line.nonce, task=task_id)
        pipe.execute(raise_on_error=False)

    def _meant(self, jobs: Sequence[Waiting], looks: Looks) -> list[tuple[Waiting | Record, Decision]]:
        """What readings mean for which the whole record must be known."""
        asked = {job.id: (job.nonce, job.task_id) for job in jobs}
        found: list[tuple[Waiting | Record, Decision]] = []
        for record in self._s.store.get_many(asked):
            look = looks[asked[record.id][1]]
            if asked[record.id] == (record.nonce, record.task_id) and isinstance(look, Reading):
                wait = self._s.estimates.schedule(record).next_look
                times = {"started": self._started, "now": self._now}
                decision = decisions.look(record, look, **times, rules=self._s.rules, wait=wait)
                self._learn(record, look, decision)
                found.append((record, decision))
        return found

    def _write(self, said: Sequence[tuple[Waiting | Record, Decision]]) -> list[str]:
        """The jobs that have the vendor's verdict now."""
        pipe = self._s.store.redis.pipeline(transaction=False)
        for job, decision in said:
            self._queue(pipe, job, decision)
        if said:
            self._s.estimates.teach(pipe)
        outcomes = moved(pipe.execute(raise_on_error=False)[: len(said)]) if said else []
        for (job, decision), outcome in zip(said, outcomes, strict=True):
            self._s.meter.moved(decision.move.name, outcome.outcome, outcome.state, decision.set)
            if outcome.outcome == "error":
                _log.error("the reading of job %s could not be written: %s", job.id, outcome.state)
        return [job.id for (job, d), o in zip(said, outcomes, strict=True) if d.settled and o.ok]

    def _queue(self, pipe: Any, job: Waiting | Record, decision: Decision) -> None:
        extra = {"parent": self._message_id} if decision.settled else {}
        self._s.store.move(
            decision.move,
            job.id,
            pipeline=pipe,
            nonce=job.nonce,
            task=job.task_id or None,
            set=decision.set | extra,
            add=decision.add or None,
            unset=list(decision.unset) or None,
            purchase=decision.purchase or None,
            spent=decision.spent or None,
            alarm_in=int(decision.alarm_in * 1000),
            event=self._event(decision.note) if decision.note else None,
        )

    def _take(self, pipe: Any, named: Named, look: Reading) -> None:
        """A task ID that was lost is found again, and its verdict read at once; or a failure has turned around."""
        record, line, task_id = named
        again = line.task_id == task_id and line.status in states.REVIVED.books and look.phase is Phase.SUCCESS
        newest = line.nonce == record.nonce
        fresh = {"running_since": self._now, "parent": self._message_id} if newest and not record.task_id else {}
        self._s.store.move(
            states.REVIVED if again else states.RECORD_TASK,
            record.id,
            pipeline=pipe,
            nonce=line.nonce,
            task=task_id,
            set=fresh,
            unset=["failure"],
            alarm_in=0 if newest else int(next_look(0) * 1000),
            event=self._event(f"task {task_id}, named by a callback or a person"),
        )

    def _young(self, line: PurchaseLine) -> bool:
        return self._now - (line.sent_at or line.armed_at) < _PATIENCE

    def _event(self, note: str) -> dict[str, str]:
        return {"step": "check", "worker": self._worker, "note": note}

    def _learn(self, record: Record, look: Reading, decision: Decision) -> None:
        """What a verdict teaches: how long such jobs take, and which uploads the vendor can't read."""
        if decision.move is states.PAID:
            self._s.estimates.ended(record, look, self._now)
        else:
            self._s.estimates.still(record, look, self._now)
        if decision.new_upload:
            self._s.uploads.forget(record.contents)
