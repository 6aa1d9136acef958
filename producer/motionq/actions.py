"""What a person may do to a job: cancel it, take it up again, name its task. All of it looks at purchases.

The choices are pure functions over a record; the functions below them write, and are fenced like any worker's write.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Sequence

from motionq.contract.errors import ActionRefused, InvalidJob, JobNotFound
from motionq.contract.record import PurchaseLine, Record
from motionq.contract.states import (
    CANCEL_ARMED,
    CANCEL_BOUGHT,
    CANCEL_UNBOUGHT,
    RECORD_TASK,
    Fence,
    Move,
    Purchase,
    State,
)
from motionq.contract.store import JobStore
from motionq.purchases import open_of, told

_TRIES = 20  # a job moves on a few times in its life: this is more than it can do while somebody cancels it
_LOOK = 0.2  # seconds between two looks for a worker's finding
_TASK_ID = re.compile(r"[\x21-\x7e]{1,200}")

_IN_VAIN = (Purchase.REFUSED, Purchase.WRITTEN_OFF)  # kie.ai may have made a task all the same

# -- choices ----------------------------------------------------------------------------------------------------------
_NOT_CANCELLED = {
    State.DELIVERING: "has kie.ai's verdict and is being delivered: it can't be cancelled any more",
    State.SUCCEEDED: "has succeeded: there is nothing to cancel",
    State.FAILED: "has failed: there is nothing to cancel",
}


def cancel_move(record: Record) -> Move | None:
    """How the job is cancelled now; None when it is cancelled, or being so. Raises ActionRefused."""
    if record.state in (State.CANCELLING, State.CANCELLED):
        return None
    for move in (CANCEL_UNBOUGHT, CANCEL_ARMED, CANCEL_BOUGHT):
        if record.state in move.to:
            return move
    raise ActionRefused(f"job {record.id} {_NOT_CANCELLED[record.state]}")


def may_be_paid_twice(record: Record) -> str:
    """Why a job is not bought again without consent, and what to do."""
    known = "; ".join(told(p) for p in open_of(record))
    return (
        f"job {record.id} may have been charged already ({known}): look for its task at https://kie.ai/logs and name it"
        f" with `motionq attach {record.id} TASK_ID`, or consent to pay twice with `motionq replay {record.id}"
        " --may-pay-twice`"
    )


def attach_to(record: Record, task_id: str) -> PurchaseLine:
    """The purchase that the task is for: the one that has it, else the open one, else the last that was sent in vain.

    Raises ActionRefused.
    """
    for purchase in record.purchases:
        if purchase.task_id == task_id:
            return purchase
    found = open_of(record) or tuple(p for p in record.purchases if p.status in _IN_VAIN and p.sent_at)
    if not found:
        raise ActionRefused(f"job {record.id} has no purchase that could have a task")
    last = found[-1]
    if last.task_id and not last.unchecked:
        raise ActionRefused(f"job {record.id} has task {last.task_id} already")
    if record.state is State.ARMED:
        raise ActionRefused(f"job {record.id} has not been sent yet: no task can be its own")
    return last


def is_attached(record: Record, nonce: str, task_id: str) -> bool:
    """Whether a worker has found the named task to be the purchase's own; False: not looked at yet.

    Raises ActionRefused when it is not.
    """
    purchase = next((p for p in record.purchases if p.nonce == nonce), None)
    if purchase is not None and purchase.task_id == task_id:
        return True
    if purchase is None or (purchase.task_id and not purchase.unchecked):
        raise ActionRefused(f"job {record.id} has another task by now: {task_id} was not attached")
    if purchase.candidate is None:
        raise ActionRefused(
            f"kie.ai does not say that task {task_id} is job {record.id}'s: it was not attached"
            f" (`motionq attach {record.id} {task_id} --unchecked` takes your word for it)"
        )
    if purchase.candidate != task_id:
        raise ActionRefused(f"another task was named for job {record.id} in the meantime: ask again")
    return False


# -- writes -----------------------------------------------------------------------------------------------------------
def cancel(store: JobStore, job_id: str) -> Record:
    """The job, cancelled or cancelling; not durable yet. Raises JobNotFound, ActionRefused."""
    for _ in range(_TRIES):
        record = store.get(job_id)
        move = cancel_move(record)
        if move is None:
            return record
        nonce = record.nonce if move.fence is Fence.NONCE else None
        store.move(move, job_id, nonce=nonce, alarm_in=0, event={"step": "cancel"})
    raise ActionRefused(f"job {job_id} moves on faster than it can be cancelled: try again")


def replay(store: JobStore, job_id: str, consent: Sequence[PurchaseLine] = ()) -> Record:
    """The finished job, taken up again; `consent`: open purchases that a person was shown and may pay twice for.

    Not durable yet. Raises JobNotFound, ActionRefused.
    """
    outcome, *rest = store.replay(job_id, call=secrets.token_hex(8), consent=[p.nonce for p in consent])
    if outcome == "missing":
        raise JobNotFound(job_id)
    if outcome == "refused":
        raise ActionRefused(f"job {job_id} is {rest[0]}: only a failed or cancelled job can be replayed")
    record = store.get(job_id)
    if outcome == "open" and consent:
        raise ActionRefused(f"job {job_id} has another open purchase than those shown: look at it and ask again")
    if outcome == "open":
        raise ActionRefused(may_be_paid_twice(record))
    return record


def attach(store: JobStore, job_id: str, task_id: str) -> str | None:
    """Names the task for the job's purchase, for a worker to verify; the purchase's nonce, None if it has the task.

    Raises JobNotFound, ActionRefused, InvalidJob.
    """
    purchase = _target(store, job_id, task_id)
    if purchase.task_id == task_id:
        return None
    if purchase.candidate not in (None, task_id):
        raise ActionRefused(
            f"task {purchase.candidate} was named for job {job_id}, and a worker is about to look at it:"
            " ask again in a minute"
        )
    if store.name_task(job_id, purchase.nonce, task_id) == "orphan":
        raise JobNotFound(job_id)
    return purchase.nonce


def await_attached(store: JobStore, job_id: str, nonce: str, task_id: str, timeout: float) -> None:
    """Until a worker has verified the named task; `timeout` in seconds. Raises ActionRefused, JobNotFound."""
    ends = time.monotonic() + timeout
    while not is_attached(store.get(job_id), nonce, task_id):
        if time.monotonic() > ends:
            raise ActionRefused(
                f"no worker has found task {task_id} at kie.ai within {timeout:g} s: it stays named for job {job_id},"
                " and is attached when one does"
            )
        time.sleep(_LOOK)


def attach_unchecked(store: JobStore, job_id: str, task_id: str) -> None:
    """Records the task on a person's word, also one that is known already; not durable yet. Raises as `attach` does."""
    purchase = _target(store, job_id, task_id)
    known = purchase.task_id == task_id
    outcome = store.move(
        RECORD_TASK,
        job_id,
        nonce=purchase.nonce,
        task=task_id,
        set={} if known else {"running_since": store.now()},
        unset=["failure"],
        purchase={"unchecked": True},
        alarm_in=0,
        event={"step": "attach", "note": f"task {task_id}, on a person's word"},
    ).outcome
    if outcome == "bound":
        raise ActionRefused(f"task {task_id} belongs to another purchase")
    if outcome not in ("ok", "booked"):
        raise ActionRefused(f"job {job_id} has another task by now: {task_id} was not attached")
    store.hurry("check", [job_id])


def _target(store: JobStore, job_id: str, task_id: str) -> PurchaseLine:
    if not _TASK_ID.fullmatch(task_id):
        raise InvalidJob(f"task: {task_id!r} is not a task ID of kie.ai", field="task", value=task_id)
    record = store.get(job_id)
    owner = store.by_task(task_id)
    if owner not in (None, job_id):
        raise ActionRefused(f"task {task_id} belongs to job {owner}")
    return attach_to(record, task_id)
