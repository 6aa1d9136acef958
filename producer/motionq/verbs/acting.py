"""The verbs that act: `motionq cancel`, `replay`, `attach`, and the gate."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence

from motionq import actions
from motionq.client import MotionQueue
from motionq.contract.job import Job
from motionq.contract.record import Record
from motionq.contract.states import State
from motionq.durable import safely
from motionq.gate import GateStatus
from motionq.output import Code, note, say, say_json, worst
from motionq.purchases import open_of, told
from motionq.tables import ended_line, gate_lines
from motionq.verbs.shared import each, opened_queue, show

_CANCELLING = "the purchase is open: a paid result will be kept"


# -- jobs -------------------------------------------------------------------------------------------------------------
def cancel(*, jobs: Sequence[str], as_json: bool) -> int:
    """Ends jobs; returns the exit code."""
    codes: list[Code] = []
    with opened_queue() as queue:
        with safely(queue.store) as written:
            found = list(each(lambda job_id: actions.cancel(queue.store, job_id), jobs, codes, as_json))
            written.extend(record.since for record in found)
        _show_all(queue, found, codes, as_json)
    return worst(codes)


def replay(*, jobs: Sequence[str], may_pay_twice: bool, as_json: bool) -> int:
    """Takes finished jobs up again; returns the exit code."""
    codes: list[Code] = []
    with opened_queue() as queue:
        with safely(queue.store) as written:
            act = _consenting(queue) if may_pay_twice else lambda job_id: actions.replay(queue.store, job_id)
            found = list(each(act, jobs, codes, as_json))
            written.extend(record.updated_at for record in found if may_pay_twice and record.purchases)
        _show_all(queue, found, codes, as_json)
    return worst(codes)


def _consenting(queue: MotionQueue) -> Callable[[str], Record]:
    """Replays a job with consent to exactly those purchases that were shown."""

    def act(job_id: str) -> Record:
        record = queue.store.get(job_id)
        shown = open_of(record)
        for purchase in shown:
            if sys.stderr.isatty():
                note(f"{job_id}: may be paid twice: {told(purchase)}")
        return actions.replay(queue.store, job_id, shown)

    return act


def attach(*, job: str, task: str, unchecked: bool, as_json: bool) -> int:
    """Names the task of a job; returns the exit code."""
    with opened_queue() as queue:
        found = queue.attach(job, task, unchecked=unchecked)
        show(found, as_json, f"{_line(found)}  task {task}")
    return Code.DONE


def _show_all(queue: MotionQueue, records: Iterable[Record], codes: list[Code], as_json: bool) -> None:
    for job in each(queue.get, (record.id for record in records), codes, as_json):
        show(job, as_json, _line(job))


def _line(job: Job) -> str:
    return f"{ended_line(job)}  {_CANCELLING}" if job.state is State.CANCELLING else ended_line(job)


# -- the gate ---------------------------------------------------------------------------------------------------------
def gate_status(*, as_json: bool) -> int:
    """Shows the gate; returns the exit code."""
    with opened_queue() as queue:
        return _show_gate(queue.gate(), as_json)


def gate_pause(*, message: str, as_json: bool) -> int:
    """Closes the gate; returns the exit code."""
    with opened_queue() as queue:
        return _show_gate(queue.pause(message), as_json)


def gate_resume(*, restored: bool, as_json: bool) -> int:
    """Opens the gate; returns the exit code."""
    with opened_queue() as queue:
        return _show_gate(queue.resume(restored=restored), as_json)


def _show_gate(gate: GateStatus, as_json: bool) -> int:
    if as_json:
        say_json(gate.to_json())
    else:
        say(gate_lines(gate))
    return Code.DONE
