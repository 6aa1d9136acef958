"""`motionq status` and `motionq list`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from motionq import words
from motionq.client import MotionQueue
from motionq.contract.job import Job
from motionq.contract.states import State
from motionq.output import Code, note, say, say_json, worst
from motionq.tables import detail, list_of, screen_width
from motionq.verbs.shared import each, opened_queue, read, show
from motionq.waits import Waits, held_by_the_gate


def status(*, jobs: Sequence[str], as_json: bool) -> int:
    """Shows each job; returns the exit code."""
    codes: list[Code] = []
    with opened_queue() as queue:
        for at, job in enumerate(each(queue.get, jobs, codes, as_json)):
            if as_json:
                say_json(job.to_json())
            else:
                say(("\n" if at else "") + _page(queue, job))
    return worst(codes)


def _page(queue: MotionQueue, job: Job) -> str:
    purchases = [p for record in queue.store.get_many([job.id]) for p in record.purchases]
    reason = Waits(queue).of(job)
    return detail(_honest(job, reason), purchases, reason)


def _honest(job: Job, reason: str) -> Job:
    """Nobody knows how long a job will take while the gate is closed."""
    return job.model_copy(update={"eta_seconds": None}) if held_by_the_gate(reason) else job


def list_jobs(
    *,
    state: Sequence[str],
    label: Sequence[str],
    tenant: str | None,
    task: str | None,
    since: str | None,
    limit: int,
    as_json: bool,
) -> int:
    """Shows the jobs that match everything given; returns the exit code."""
    wanted = [read("state", _state, text, limit=list(State)) for text in state]
    pairs = read("label", words.labels, label)
    after = read("since", words.moment, since) if since is not None else None
    with opened_queue() as queue:
        found = queue.list(states=wanted, labels=pairs, tenant=tenant, task_id=task, since=after, limit=limit)
        reasons = {} if as_json else _held(queue, found)
    _show([_honest(job, reasons.get(job.id, "")) for job in found], as_json)
    for reason in dict.fromkeys(reasons.values()):
        note(reason)
    if len(found) == limit:
        note(f"the newest {limit} are shown; --limit N shows more")
    if not found:
        note("no job matches")
    return Code.DONE


def _held(queue: MotionQueue, found: Sequence[Job]) -> dict[str, str]:
    """What holds those of the jobs that the gate holds."""
    waits = Waits(queue)
    said = {job.id: waits.of(job) for job in found if job.state is State.READY}
    return {job_id: reason for job_id, reason in said.items() if held_by_the_gate(reason)}


def _show(found: Sequence[Job], as_json: bool) -> None:
    if as_json:
        for job in found:
            show(job, as_json, "")
    elif found:
        table, left_out = list_of(found, datetime.now(UTC), screen_width())
        say(table)
        if left_out:
            note(f"left out for want of room: {', '.join(left_out)} (a wider terminal, `status` or --json shows them)")


def _state(text: str) -> State:
    if text not in tuple(State):
        raise ValueError(f"{text!r} is not one of {', '.join(State)}")
    return State(text)
