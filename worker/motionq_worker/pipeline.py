"""The story of a job: upload → submit → check ↻ → deliver.

Each step is a Celery task; each link is published when the one before is recorded, so a lost message cannot break the
chain: the record knows the next step, and the clock publishes it. A step reads the record, does its work, and writes
what happened in one fenced call. Whatever it does not write is done again by its next execution.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from motionq.contract import states
from motionq.contract.job import Failure, Result
from motionq.contract.models import find_model
from motionq.contract.record import Record, Unreadable, staged_contents
from motionq.contract.states import State
from motionq_worker import decisions
from motionq_worker.checking import Batch
from motionq_worker.decisions import Decision
from motionq_worker.execution import Execution, Later, Superseded, begin, disarm_unread, end, fail, moving_files, write
from motionq_worker.faults import delivery_fault, upload_fault
from motionq_worker.kie.errors import KieFault, NotSent
from motionq_worker.leases import Lease
from motionq_worker.purchasing import buy, earlier_failure, follow_if_alive, take_the_right_to_send
from motionq_worker.reading import read_status
from motionq_worker.services import Services
from motionq_worker.uploads import Uploaded, Wanted, passed_through

# -- upload -----------------------------------------------------------------------------------------------------------


def upload(run: Execution, s: Services) -> str:
    """Check the files, bring them to the vendor (each content once), and put the job into its tenant's line."""
    record = begin(run, s, states.BEGIN_UPLOAD)
    began = time.monotonic()
    image, video = moving_files(
        run,
        s,
        record,
        lambda lease: _files(record, s, lease),
        lambda error: upload_fault(error, record, s.settings.step_attempts),
    )
    note = f"uploaded image {_moved_bytes(image)}, video {_moved_bytes(video)} in {time.monotonic() - began:.1f} s"
    seconds = getattr(video.facts, "seconds", 0.0)
    spec = record.spec
    write(
        run,
        s,
        states.UPLOADED,
        claim=run.claim,
        set={
            "image_url": image.url,
            "video_url": video.url,
            **_contents(record, image, video),
            "uploaded_at": min(image.at, video.at),
            "video_seconds": str(seconds),
            "estimate": str(find_model(spec.model).estimate(spec.mode, spec.orientation, seconds)),
        },
        unset=["turns", "tries"],
        event=run.event(note),
    )
    return note


def _contents(record: Record, image: Uploaded, video: Uploaded) -> dict[str, str]:
    """What was uploaded, unless the record's own spec says so: a hundred thousand jobs wait in memory."""
    contents = tuple(file.content for file in (image, video) if file.content)
    return {} if contents == staged_contents(record.spec) else {"contents": " ".join(contents)}


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


# -- submit ----------------------------------------------------------------------------------------------------------


def submit(run: Execution, s: Services) -> str:
    """Buy: connect, take the right to send, send createTask once, record what came back."""
    try:
        record = s.store.get(run.job_id)
    except Unreadable as unreadable:
        disarm_unread(run, s, unreadable)
    if record.state is not State.ARMED:
        return _look_at_the_time(run, s, record)
    if not s.gate.durable_everywhere():
        raise Later("a replica lags behind: the purchase must survive a fail-over before it is sent")
    if (earlier := earlier_failure(record)) is not None:
        follow_if_alive(run, s, record, earlier)
    try:
        connection = s.kie.open_purchase_connection()
    except NotSent as fault:
        return end(run, s, record, decisions.not_connected(fault))
    with connection:
        take_the_right_to_send(run, s, record)
        return buy(run, s, record, connection)


def _look_at_the_time(run: Execution, s: Services, record: Record) -> str:
    """An alarm of a purchase that was sent: has its lease or our patience ended?"""
    if record.state not in (State.SUBMITTING, State.SUBMIT_UNKNOWN):
        raise Superseded(f"{run.job_id} is {record.state}")
    decision = decisions.overdue(record, s.store.now(), s.rules)
    if decision is None:
        raise Later("its answer is still awaited")
    return end(run, s, record, decision)


# -- check -----------------------------------------------------------------------------------------------------------


def check(job_ids: Sequence[str], message_id: str, worker: str, s: Services) -> dict[str, Any]:
    """Read many tasks at once, and write what each reading means; never fails a job, but hands it to deliver."""
    batch = Batch(s, message_id, worker)
    done = []
    for looks in batch.read(batch.wanted(job_ids)):
        done += batch.write_verdicts(looks)
    batch.write_overdue()
    batch.write_candidates()
    return {"done": done, "looked": len(batch.looks), "still": len(batch.waiting) - len(done)}


# -- deliver ----------------------------------------------------------------------------------------------------------


def deliver(run: Execution, s: Services) -> str:
    """Book the vendor's verdict: bring the video home, or write down why there is none."""
    record = begin(run, s, states.BEGIN_DELIVER)
    if "failure" in record.verdict:
        failure = Failure.model_validate(record.verdict["failure"])
        return fail(run, s, record, Decision(move=states.BOOK_REFUND, set={"failure": failure.model_dump_json()}))
    result, note = moving_files(
        run,
        s,
        record,
        lambda lease: _result(record, s, lease),
        lambda error: delivery_fault(error, record, s.settings.step_attempts, s.store.now()),
    )
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


def _named(record: Record, s: Services) -> dict[str, Any]:
    """The vendor's verdict; where it names no video, or the one it names can't be fetched, with what it names now."""
    verdict = record.verdict
    if verdict.get("urls") and not record.tries:
        return verdict
    with contextlib.suppress(KieFault):
        reading = read_status(s, record.task_id)
        if reading.result_urls and decisions.belongs(reading, record, record.nonce):
            return verdict | {"urls": list(reading.result_urls)}
    return verdict


def _result(record: Record, s: Services, lease: Lease) -> tuple[Result, str]:
    verdict, began = _named(record, s), time.monotonic()
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
