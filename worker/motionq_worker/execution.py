"""What the steps share: one run of a step, how it takes up its claim, and how it writes what happened."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from redis.exceptions import RedisError

from motionq.contract import states
from motionq.contract.errors import JobFailed, QueueUnavailable
from motionq.contract.job import Failure
from motionq.contract.record import Record, Unreadable
from motionq.contract.redact import without_addresses
from motionq.contract.states import Move, State
from motionq.contract.store import Moved
from motionq_worker import decisions
from motionq_worker.decisions import Decision
from motionq_worker.faults import KNOWN
from motionq_worker.leases import ClaimLost, Lease
from motionq_worker.observability import about_task
from motionq_worker.services import Services

T = TypeVar("T")
_log = logging.getLogger(__name__)

POISON_AFTER = 5  # claims whose worker died each time: the job itself kills workers


@dataclass(frozen=True, kw_only=True)
class Execution:
    """One run of one step: its job, its claim (`<step>.<n>`), its worker, and a random token of its own."""

    job_id: str
    step: str
    n: int
    worker: str
    token: str

    @property
    def claim(self) -> str:
        """The claim that fences its writes."""
        return f"{self.step}.{self.n}"

    @property
    def message_id(self) -> str:
        """The Celery task ID."""
        return f"{self.job_id}.{self.claim}"

    def event(self, note: str | None = None) -> dict[str, str]:
        """A line of the job's history."""
        return {"step": self.step, "worker": self.worker} | ({"note": note} if note else {})


class Later(Exception):
    """The step could not be done now; the alarm will wake it. The message says why and when, and names no address.

    Flower and the worker's log show it; the job's own history has the addresses, without their queries.
    """

    def __init__(self, why: str) -> None:
        super().__init__(without_addresses(why))


class Superseded(Exception):
    """The record has moved on without this execution, which stops."""


def begin(run: Execution, s: Services, move: Move) -> Record:
    """Takes the claim up, counts the turn, and stops a job that has killed too many workers."""
    lease = int(s.settings.step_lease * 1000)
    write(run, s, move, claim=run.claim, add={"turns": 1}, alarm_in=lease, event=run.event())
    try:
        record = s.store.get(run.job_id)
    except Unreadable as unreadable:
        if move is states.BEGIN_UPLOAD:
            _fail_unread(run, s, unreadable)
        raise
    about_task(record.task_id)
    if record.turns > POISON_AFTER and "failure" not in record.verdict:  # a refund only needs to be booked
        fail(run, s, record, decisions.poison(record, run.step))
    return record


def _fail_unread(run: Execution, s: Services, unreadable: Unreadable) -> NoReturn:
    """Before it is bought a job that can't be read fails: else it would wake for ever, or be armed and hold a slot.

    Where the purchases can't be read either, the server refuses this move, and the job is left as it is.
    """
    changes = decisions.failed("unreadable", str(unreadable))
    move_job(run, s, states.FAIL_UPLOAD, claim=run.claim, set=changes, event=run.event(str(unreadable)))
    raise JobFailed(f"{run.job_id}: unreadable: {unreadable}") from None


def disarm_unread(run: Execution, s: Services, unreadable: Unreadable) -> NoReturn:
    """An armed job that can't be read is not sent: its slot comes back, and the gate has it uploaded (and failed) anew.

    Raises Later; for any other state the error itself.
    """
    if unreadable.state != State.ARMED or unreadable.newer:
        raise unreadable
    event = run.event("it can't be read: not sent")
    move_job(run, s, states.UNCONNECTED, nonce=unreadable.nonce, set={"uploaded_at": 0}, event=event)
    raise Later(str(unreadable)) from None


def move_job(run: Execution, s: Services, move: Move, **values: Any) -> Moved:
    """One move of this execution's job; empty values are left out."""
    outcome = s.store.move(move, run.job_id, **{k: v for k, v in values.items() if v})
    s.meter.moved(move.name, outcome.outcome, outcome.state, values.get("set", {}))
    return outcome


def write(run: Execution, s: Services, move: Move, **values: Any) -> None:
    """A move that must succeed for this execution to go on."""
    outcome = move_job(run, s, move, **values)
    if not outcome.ok:
        raise Superseded(f"{run.job_id} is {outcome.state or 'gone'}: another execution has moved it on")


def apply(run: Execution, s: Services, record: Record, decision: Decision) -> Moved:
    """Writes a decision under every fence this execution has."""
    outcome = move_job(
        run,
        s,
        decision.move,
        claim=run.claim,
        nonce=record.nonce,
        task=record.task_id,
        set=decision.set,
        add=decision.add,
        unset=list(decision.unset),
        purchase=decision.purchase,
        spent=decision.spent,
        alarm_in=int(decision.alarm_in * 1000),
        event=None if decision.quiet else run.event(decision.note),
    )
    if decision.pause:
        s.gate.pause(decision.pause, record)
    return outcome


def end(run: Execution, s: Services, record: Record, decision: Decision) -> NoReturn:
    """Writes a decision and says it in Celery's words: a failure, a retry, or a plain end."""
    if "failure" in decision.set:
        fail(run, s, record, decision)
    outcome = apply(run, s, record, decision)
    if outcome.outcome == "fenced":
        raise Superseded(f"{run.job_id} is {outcome.state}")
    wait = f": again in {decision.alarm_in:.0f} s" if decision.alarm_in else ""
    raise Later(f"{decision.note or decision.move.name}{wait}")


def fail(run: Execution, s: Services, record: Record, decision: Decision) -> NoReturn:
    """Writes a failure, then raises JobFailed with it."""
    outcome = apply(run, s, record, decision)
    if outcome.state != State.FAILED:
        raise Superseded(f"{run.job_id} is {outcome.state}")
    failure = Failure.model_validate(json.loads(decision.set["failure"]))
    raise JobFailed(f"{run.job_id}: {without_addresses(str(failure))}")  # for Flower, as above


def moving_files(
    run: Execution, s: Services, record: Record, work: Callable[[Lease], T], fault: Callable[[Exception], Decision]
) -> T:
    """Does the work under a lease that is renewed; what goes wrong is booked as `fault` says."""
    with s.leases.hold(run.job_id, run.claim) as lease:
        try:
            return work(lease)
        except ClaimLost as lost:
            raise Superseded(str(lost)) from None
        except (QueueUnavailable, RedisError):
            raise
        except Exception as error:
            if not isinstance(error, KNOWN):
                _log.exception("%s of job %s failed in an unforeseen way", run.step, run.job_id)
            end(run, s, record, fault(error))
