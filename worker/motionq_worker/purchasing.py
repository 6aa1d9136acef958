"""The one place where money is spent: from the right to send to the task ID on record."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from typing import TypeVar

from redis.exceptions import RedisError

from motionq.contract import states
from motionq.contract.errors import JobFailed, QueueUnavailable
from motionq.contract.record import PurchaseLine, Record
from motionq.contract.states import Purchase
from motionq.contract.store import Moved
from motionq_worker import decisions
from motionq_worker.decisions import Decision
from motionq_worker.execution import Execution, Later, Superseded, end, move_job
from motionq_worker.journal import Entry
from motionq_worker.kie.connection import PurchaseConnection
from motionq_worker.kie.errors import KieFault, Meaning, NotSent, Refused, Unknown
from motionq_worker.kie.messages import Phase, create_task_body
from motionq_worker.observability import about_task
from motionq_worker.reading import read_status
from motionq_worker.services import Services

_READ_AGAIN = 60.0  # seconds until an earlier task that could not be read is read again
STALE_SEND = 3.0  # seconds between taking the right to send and sending, after which it is too late
_TRIES_TO_DOUBT = 20.0  # seconds for a mere count; a full server refuses it
_TRIES_TO_RECORD = 600.0  # seconds for which a task ID in hand is written again and again; then its journal line waits

T = TypeVar("T")
_log = logging.getLogger(__name__)


def earlier_failure(record: Record) -> PurchaseLine | None:
    """The job's last refunded purchase: its task is looked at once more before another one is bought."""
    return next((p for p in reversed(record.purchases) if p.status is Purchase.REFUNDED and p.task_id), None)


def follow_if_alive(run: Execution, s: Services, record: Record, earlier: PurchaseLine) -> None:
    """Raises Later, and goes on with the earlier task, if that is no failure any more (a failure can turn around).

    Where it can't be read nothing is bought; the job makes room for others and comes back.
    """
    try:
        reading = read_status(s, str(earlier.task_id))
    except KieFault as fault:
        note = f"the earlier task must be read before another is bought: {fault}"
        end(run, s, record, Decision(move=states.UNSEEN, note=note, alarm_in=_READ_AGAIN))
    if reading.phase in (Phase.FAIL, Phase.NOT_VISIBLE):
        return
    event = run.event("the earlier task is alive: following it, nothing is bought")
    outcome, state = s.store.follow(record.id, nonce=record.nonce, old=earlier.nonce, event=event)
    if outcome != "ok":
        # Armed under another server it can't be followed from here, nor sent: then it counts as possibly sent.
        note = f"the earlier task is alive and can't be followed ({state})"
        end(run, s, record, Decision(move=states.OTHER_SERVER, note=note))
    raise Later("the earlier task is alive: following it")


def take_the_right_to_send(run: Execution, s: Services, record: Record) -> None:
    """Returns only if this execution, and no other ever, may send this purchase now."""
    began = _boot_seconds()
    sending = s.gate.send(record, token=run.token, worker=run.worker)
    if sending.verdict == "wait":
        raise Later(f"waiting for its turn to be sent: again in {sending.seconds:.1f} s")
    if sending.verdict == "refused":
        end(run, s, record, Decision(move=states.UNCONNECTED, note="the gate is closed for it now: back in line"))
    if sending.verdict == "other_server":
        note = "the server was restarted since it was armed: it may have been sent"
        end(run, s, record, Decision(move=states.OTHER_SERVER, note=note))
    if sending.verdict != "mine":
        raise Superseded(f"{run.job_id}: another execution submits it")
    if _boot_seconds() - began > STALE_SEND:
        end(run, s, record, decisions.not_sent(NotSent("this worker stood still for too long")))


def buy(run: Execution, s: Services, record: Record, connection: PurchaseConnection) -> str:
    """The POST. From here on only an answer of the vendor's tells whether money was spent.

    Whatever the answer is, it is written until the server takes it.
    """
    try:
        task_id = connection.create_task(_body(record, s))
    except NotSent as fault:
        decision = decisions.not_sent(fault)
    except Refused as fault:
        believed = fault.meaning is not Meaning.REPEATABLE or not _doubted(s)
        decision = decisions.refused(fault, record) if believed else _unknown(s, record, disbelieved(fault))
    except Unknown as fault:
        decision = _unknown(s, record, fault)
    else:
        return _bought(run, s, record, task_id)
    return _until_written(lambda: end(run, s, record, decision), _TRIES_TO_RECORD)


def _doubted(s: Services) -> bool:
    """Where that can't be asked now, kie.ai is not believed: what is repeated would be paid again."""
    try:
        return s.gate.doubted()
    except (QueueUnavailable, RedisError):
        return True


def disbelieved(fault: Refused) -> Unknown:
    """A generic refusal of a vendor that was found to have made a task all the same."""
    return Unknown(f"{fault}; tasks were made behind such answers lately")


def _unknown(s: Services, record: Record, fault: Unknown) -> Decision:
    """A task may exist. That is counted too, but the decision matters more."""
    with contextlib.suppress(QueueUnavailable, RedisError):
        _doubt(s, record, fault.candidate)
    return decisions.unknown(fault, s.rules)


def _doubt(s: Services, record: Record, candidate: str | None) -> None:
    """Remembers a task ID seen in an answer that can't be trusted (to be verified), and counts the answer, once."""
    if candidate:
        _until_written(lambda: s.store.name_task(record.id, record.nonce, candidate), _TRIES_TO_DOUBT)
    row = _until_written(s.gate.count_unclear, _TRIES_TO_DOUBT)
    _until_written(lambda: s.gate.unclear(record, row), _TRIES_TO_DOUBT)


def _until_written(write: Callable[[], T], seconds: float) -> T:
    """Repeats a write until the server takes it; every write of ours may be repeated."""
    ends = time.monotonic() + seconds
    while True:
        try:
            return write()
        except (QueueUnavailable, RedisError):
            if time.monotonic() > ends:
                raise
            time.sleep(0.5)


def _body(record: Record, s: Services) -> dict[str, object]:
    public = s.settings.public_base_url
    return create_task_body(
        model=record.spec.model,
        image_url=record.image_url,
        video_url=record.video_url,
        prompt=record.spec.prompt,
        mode=record.spec.mode,
        orientation=record.spec.orientation,
        callback_url=f"{public}/callbacks/kie/{record.id}/{record.nonce}" if public else None,
    )


def _bought(run: Execution, s: Services, record: Record, task_id: str) -> str:
    """A task ID in hand is never dropped: it is in the journal, and written until the server takes it."""
    about_task(task_id)
    _write_down(s, Entry(job_id=record.id, nonce=record.nonce, task_id=task_id))
    try:
        outcome = _until_written(lambda: record_task(run, s, record, task_id), _TRIES_TO_RECORD)
    except (QueueUnavailable, RedisError):
        _log.error("task %s of job %s is not on record yet: it is in the journal", task_id, record.id)
        raise
    if outcome.outcome in ("ok", "booked"):
        return f"task {task_id}"
    _log.error("task %s of job %s could not be recorded: %s", task_id, record.id, outcome.outcome)
    raise JobFailed(f"{run.job_id}: task {task_id} was bought and can't be recorded ({outcome.outcome})")


def _write_down(s: Services, entry: Entry) -> None:
    """A disk that refuses must not keep the task ID from Redis."""
    try:
        s.journal.add(entry)
    except OSError as error:
        _log.error("the journal can't be written (%s): the task ID is in Redis only", error.strerror)


def record_task(run: Execution, s: Services, record: Record, task_id: str) -> Moved:
    """The task ID on record, from whatever state the purchase can be in."""
    return move_job(
        run,
        s,
        states.RECORD_TASK,
        nonce=record.nonce,
        task=task_id,
        set={"running_since": s.store.now()},
        unset=["failure"],
        alarm_in=int(s.estimates.schedule(record).next_look(0) * 1000),
        event=run.event(f"task {task_id}"),
    )


def _boot_seconds() -> float:
    """A clock that goes on while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
