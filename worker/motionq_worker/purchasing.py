"""The one place where money is spent: from the right to send to the task ID on record."""

from __future__ import annotations

import logging
import time

from motionq.contract import states
from motionq.contract.errors import JobFailed, QueueUnavailable
from motionq.contract.record import PurchaseLine, Record
from motionq.contract.states import Purchase
from motionq.contract.store import Moved
from motionq_worker import decisions
from motionq_worker.decisions import Decision
from motionq_worker.execution import Execution, Later, Superseded, end, move_job
from motionq_worker.gate import estimate
from motionq_worker.journal import Entry
from motionq_worker.kie.connection import PurchaseConnection
from motionq_worker.kie.errors import KieFault, NotSent, Refused, Unknown
from motionq_worker.kie.messages import Phase, create_task_body
from motionq_worker.schedule import next_look
from motionq_worker.services import Services

STALE_SEND = 3.0  # seconds between taking the right to send and sending, after which it is too late
_TRIES_TO_RECORD = 600.0  # seconds for which a task ID in hand is written again and again; then its journal line waits

_log = logging.getLogger(__name__)


def earlier_failure(record: Record) -> PurchaseLine | None:
    """The job's last refunded purchase: its task is looked at once more before another one is bought."""
    return next((p for p in reversed(record.purchases) if p.status is Purchase.REFUNDED and p.task_id), None)


def follow_if_alive(run: Execution, s: Services, record: Record, earlier: PurchaseLine) -> None:
    """Raises Later, and goes on with the earlier task, if that is no failure any more (a failure can turn around)."""
    try:
        reading = s.kie.read(str(earlier.task_id))
    except KieFault as fault:
        raise Later(f"the earlier task must be looked at before another is bought: {fault}") from None
    if reading.phase in (Phase.FAIL, Phase.NOT_VISIBLE):
        return
    event = run.event("the earlier task is alive: following it, nothing is bought")
    outcome, state = s.store.follow(record.id, nonce=record.nonce, old=earlier.nonce, event=event)
    if outcome != "ok":
        raise Superseded(f"{run.job_id} is {state}")
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
    """The POST. From here on only an answer of the vendor's tells whether money was spent."""
    try:
        task_id = connection.create_task(_body(record, s))
    except NotSent as fault:
        return end(run, s, record, decisions.not_sent(fault))
    except Refused as fault:
        return end(run, s, record, decisions.refused(fault, record))
    except Unknown as fault:
        s.gate.unclear(record)
        if fault.candidate:  # seen in a broken answer: believed only when a reading names this purchase
            s.store.name_task(record.id, record.nonce, fault.candidate)
        return end(run, s, record, decisions.unknown(fault, s.rules))
    return _bought(run, s, record, task_id)


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
    _write_down(s, Entry(job_id=record.id, nonce=record.nonce, task_id=task_id))
    ends = time.monotonic() + _TRIES_TO_RECORD
    while True:
        try:
            outcome = record_task(run, s, record, task_id)
        except QueueUnavailable:
            if time.monotonic() > ends:
                raise
            time.sleep(0.5)
        else:
            if outcome.outcome == "bound":
                raise JobFailed(f"{run.job_id}: kie.ai named task {task_id}, which belongs to another purchase")
            return f"task {task_id}"


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
        set={"running_since": s.store.now(), "parent": run.message_id},
        unset=["failure"],
        purchase={"estimate": estimate(record)},
        spent=estimate(record),
        alarm_in=int(next_look(0) * 1000),
        event=run.event(f"task {task_id}"),
    )


def _boot_seconds() -> float:
    """A clock that goes on while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
