"""The story of a job: upload → submit → check ↻ → deliver.

Each step is a Celery task; each link is published when the one before is recorded, so a lost message cannot break the
chain: the record knows the next step, and the clock publishes it. A step reads the record, does its work, and writes
what happened in one fenced call. Whatever it does not write is done again by its next execution.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from motionq.contract import states
from motionq.contract.errors import JobFailed, QueueUnavailable
from motionq.contract.job import Failure, Result
from motionq.contract.models import find_model
from motionq.contract.record import Record
from motionq.contract.states import State
from motionq.contract.store import moved
from motionq_worker import decisions
from motionq_worker.decisions import Decision
from motionq_worker.execution import Execution, Later, Superseded, begin, end, fail, move_job, write
from motionq_worker.faults import DELIVERY_FAULTS, UPLOAD_FAULTS, delivery_fault, upload_fault
from motionq_worker.kie.connection import PurchaseConnection
from motionq_worker.kie.errors import KieFault, NotSent, Refused, Unknown
from motionq_worker.kie.messages import Reading, create_task_body
from motionq_worker.leases import ClaimLost, Lease
from motionq_worker.schedule import next_look
from motionq_worker.services import Services
from motionq_worker.uploads import Uploaded, Wanted, passed_through

STALE_SEND = 3.0  # seconds between taking the right to send and sending, after which it is too late
_TRIES_TO_RECORD = 600  # seconds for which a task ID in hand is written again and again


# -- upload -----------------------------------------------------------------------------------------------------------


def upload(run: Execution, s: Services) -> str:
    """Check the files, bring them to the vendor (each content once), and put the job into its tenant's line."""
    record = begin(run, s, states.BEGIN_UPLOAD)
    began = time.monotonic()
    with s.leases.hold(run.job_id, run.claim) as lease:
        try:
            image, video = _files(record, s, lease)
        except ClaimLost as lost:
            raise Superseded(str(lost)) from None
        except QueueUnavailable:
            raise
        except UPLOAD_FAULTS as error:
            return end(run, s, record, upload_fault(error, record, s.settings.step_attempts))
    note = f"uploaded image {_moved_bytes(image)}, video {_moved_bytes(video)} in {time.monotonic() - began:.1f} s"
    write(
        run,
        s,
        states.UPLOADED,
        claim=run.claim,
        set={
            "image_url": image.url,
            "video_url": video.url,
            "uploaded_at": min(image.at, video.at),
            "video_seconds": str(getattr(video.facts, "seconds", 0.0)),
            "turns": 0,
            "tries": 0,
        },
        event=run.event(note),
    )
    return note


def _files(record: Record, s: Services, lease: Lease) -> tuple[Uploaded, Uploaded]:
    spec = record.spec
    if spec.pass_url:
        now = s.store.now()
        return _as_is(passed_through(spec.image), now), _as_is(passed_through(spec.video), now)
    model = find_model(spec.model)
    image = Wanted(kind="image", source=spec.image, model=model, orientation=spec.orientation)
    video = Wanted(kind="video", source=spec.video, model=model, orientation=spec.orientation)
    return s.uploads.bring(image, lease), s.uploads.bring(video, lease)


def _as_is(url: str, now: int) -> Uploaded:
    return Uploaded(url=url, at=now, facts=None)


def _moved_bytes(file: Uploaded) -> str:
    if file.facts is None:
        return "(passed as an address)"
    return f"{file.sent / 1e6:.1f} MB" if file.sent else "(cached)"


# -- submit -----------------------------------------------------------------------------------------------------------


def submit(run: Execution, s: Services) -> str:
    """Buy: connect, take the right to send, send createTask once, record what came back."""
    record = s.store.get(run.job_id)
    if record.state is not State.ARMED:
        return _look_at_the_time(run, s, record)
    try:
        connection = s.kie.open_purchase_connection()
    except NotSent as fault:
        return end(run, s, record, decisions.not_connected(fault))
    with connection:
        return _send(run, s, record, connection)


def _send(run: Execution, s: Services, record: Record, connection: PurchaseConnection) -> str:
    taken = _boot_seconds()
    sending = s.gate.send(record, token=run.token, worker=run.worker)
    if sending.verdict == "wait":
        raise Later(f"waiting for its turn to be sent: again in {sending.seconds:.1f} s")
    if sending.verdict == "refused":
        note = "the gate is closed for it now: back in line"
        return end(run, s, record, Decision(move=states.UNCONNECTED, note=note))
    if sending.verdict == "other_server":
        note = "the server was restarted since it was armed: it may have been sent"
        return end(run, s, record, Decision(move=states.OTHER_SERVER, note=note))
    if sending.verdict != "mine":
        raise Superseded(f"{run.job_id}: another execution submits it")
    if _boot_seconds() - taken > STALE_SEND:
        return end(run, s, record, decisions.not_sent(NotSent("this worker stood still for too long")))
    return _buy(run, s, record, connection)


def _buy(run: Execution, s: Services, record: Record, connection: PurchaseConnection) -> str:
    """The POST. From here on only an answer of the vendor's tells whether money was spent."""
    try:
        task_id = connection.create_task(_body(record, s))
    except NotSent as fault:
        decision = decisions.not_sent(fault)
    except Refused as fault:
        decision = decisions.refused(fault, record)
    except Unknown as fault:
        decision = decisions.unknown(fault, s.rules)
    else:
        return _bought(run, s, record, task_id)
    return end(run, s, record, decision)


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
    """A task ID in hand is never dropped: the write is repeated until the server takes it."""
    ends = time.monotonic() + _TRIES_TO_RECORD
    while True:
        try:
            outcome = move_job(
                run,
                s,
                states.RECORD_TASK,
                nonce=record.nonce,
                task=task_id,
                set={"running_since": s.store.now(), "parent": run.message_id},
                alarm_in=int(next_look(0) * 1000),
                event=run.event(f"task {task_id}"),
            )
        except QueueUnavailable:
            if time.monotonic() > ends:
                raise
            time.sleep(0.5)
        else:
            if outcome.outcome == "bound":
                raise JobFailed(f"{run.job_id}: kie.ai named task {task_id}, which belongs to another purchase")
            return f"task {task_id}"


def _look_at_the_time(run: Execution, s: Services, record: Record) -> str:
    """An alarm of a purchase that was sent: has its lease or our patience ended?"""
    if record.state not in (State.SUBMITTING, State.SUBMIT_UNKNOWN):
        raise Superseded(f"{run.job_id} is {record.state}")
    decision = decisions.overdue(record, s.store.now(), s.rules)
    if decision is None:
        raise Later("its answer is still awaited")
    return end(run, s, record, decision)


def _boot_seconds() -> float:
    """A clock that goes on while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


# -- check ------------------------------------------------------------------------------------------------------------


def check(job_ids: Sequence[str], message_id: str, worker: str, s: Services) -> dict[str, Any]:
    """Read many tasks at once, and write what each reading means; never fails a job, but hands it to deliver."""
    waiting = [r for r in s.store.get_many(job_ids) if r.state in (State.RUNNING, State.CANCELLING) and r.task_id]
    started = s.store.now()
    looks = s.poller.read_many([r.task_id for r in waiting], timeout=s.settings.check_lease * 0.7)
    now = s.store.now()
    pipe = s.store.redis.pipeline(transaction=False)
    said = [(record, _means(record, looks.get(record.task_id), started, now, s)) for record in waiting]
    for record, decision in said:
        _queue_decision(s, record, decision, message_id, worker, pipe)
    outcomes = moved(pipe.execute(raise_on_error=False)) if said else []
    done = [r.id for (r, d), o in zip(said, outcomes, strict=True) if d.settled and o.ok]
    for record, decision in said:
        _learn(record, decision, now, s)
    return {"done": done, "looked": len(said), "still": len(said) - len(done)}


def _means(record: Record, look: Reading | KieFault | None, started: int, now: int, s: Services) -> Decision:
    if isinstance(look, Reading):
        return decisions.look(record, look, started=started, now=now, rules=s.rules)
    return decisions.unread(record, now, s.rules)


def _queue_decision(s: Services, record: Record, decision: Decision, message_id: str, worker: str, pipe: Any) -> None:
    event = {"step": "check", "worker": worker, "note": decision.note} if decision.note else None
    extra = {"parent": message_id} if decision.settled else {}
    s.store.move(
        decision.move,
        record.id,
        pipeline=pipe,
        nonce=record.nonce,
        task=record.task_id,
        set=decision.set | extra,
        add=decision.add or None,
        unset=decision.unset or None,
        purchase=decision.purchase or None,
        alarm_in=int(decision.alarm_in * 1000),
        event=event,
    )


def _learn(record: Record, decision: Decision, now: int, s: Services) -> None:
    """What a verdict teaches: how long such jobs take, and which uploads the vendor can't read."""
    if decision.move is states.PAID:
        s.estimates.learn(record, (now - record.running_since) / 1000)
    if decision.new_upload:
        s.uploads.forget(record.spec.image)
        s.uploads.forget(record.spec.video)


# -- deliver ----------------------------------------------------------------------------------------------------------


def deliver(run: Execution, s: Services) -> str:
    """Book the vendor's verdict: bring the video home, or write down why there is none."""
    record = begin(run, s, states.BEGIN_DELIVER)
    if "failure" in record.verdict:
        failure = Failure.model_validate(record.verdict["failure"])
        return fail(run, s, record, Decision(move=states.BOOK_FAILURE, set={"failure": failure.model_dump_json()}))
    with s.leases.hold(run.job_id, run.claim) as lease:
        try:
            result, note = _result(record, s, lease)
        except ClaimLost as lost:
            raise Superseded(str(lost)) from None
        except QueueUnavailable:
            raise
        except DELIVERY_FAULTS as error:
            now = s.store.now()
            return end(run, s, record, delivery_fault(error, record, s.settings.step_attempts, now))
    write(
        run,
        s,
        states.DELIVERED,
        claim=run.claim,
        task=record.task_id,
        set={"result": result.model_dump_json()},
        unset=["failure"],
        event=run.event(note),
    )
    return note


def _result(record: Record, s: Services, lease: Lease) -> tuple[Result, str]:
    verdict, began = record.verdict, time.monotonic()
    urls = [str(url) for url in verdict.get("urls", [])]
    delivered = s.delivery.bring(record.id, urls, lease)
    result = Result(
        file=delivered.files[0] if delivered.files else None,
        files=delivered.files,
        vendor_urls=tuple(urls),
        vendor_urls_expire_at=verdict.get("expires_at"),
        credits=verdict.get("credits"),
        generation_seconds=verdict.get("seconds"),
    )
    if not delivered.files:
        return result, "kept at the vendor"
    return result, f"delivered {delivered.size / 1e6:.1f} MB in {time.monotonic() - began:.1f} s"


# -- the whole chain -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step: the function, the states it finds, the state it leads to, and how it is tried again."""

    name: str
    run: Callable[..., Any]
    finds: tuple[State, ...]
    leads_to: State
    retries: str


_UNSENT, _SENT = (State.ARMED,), (State.SUBMITTING, State.SUBMIT_UNKNOWN)

STEPS = (
    Step(
        name="upload",
        run=upload,
        finds=(State.QUEUED, State.UPLOADING),
        leads_to=State.READY,
        retries="2 s doubling to 5 min, MOTIONQ_STEP_ATTEMPTS times",
    ),
    Step(
        name="submit",
        run=submit,
        finds=(*_UNSENT, *_SENT),
        leads_to=State.RUNNING,
        retries="once per purchase; a purchase is repeated only when nothing was bought",
    ),
    Step(
        name="check",
        run=check,
        finds=(State.RUNNING, State.CANCELLING),
        leads_to=State.DELIVERING,
        retries="until the vendor's verdict, thinning to 15 min, for MOTIONQ_RUN_LIMIT",
    ),
    Step(
        name="deliver",
        run=deliver,
        finds=(State.DELIVERING,),
        leads_to=State.SUCCEEDED,
        retries="2 s doubling to 5 min, until the vendor's address expires",
    ),
)
