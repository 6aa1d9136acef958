"""Brings task IDs that this machine has in its journal back onto the record, and erases what is there for good."""

from __future__ import annotations

import logging

from motionq.contract import states
from motionq.contract.durability import disk_rests, replicas_have_it, server_identity
from motionq.contract.record import Record
from motionq.contract.store import reachable
from motionq_worker.journal import Entry
from motionq_worker.schedule import next_look
from motionq_worker.services import Services

_log = logging.getLogger(__name__)


def replay_journal(s: Services) -> None:
    """Called about once a second; costs a look into a folder when there is nothing. Raises QueueUnavailable."""
    entries = list(s.journal.entries())
    if not entries:
        return
    with reachable():
        server, rests = server_identity(s.store.redis), disk_rests(s.store.redis)
    recorded = s.store.tasks({entry.job_id for entry in entries})
    settled = []
    for entry in entries:
        if (entry.nonce, entry.task_id) not in recorded.get(entry.job_id, ()):
            s.journal.lacks(entry)
            _record(s, entry, next(iter(s.store.get_many([entry.job_id])), None))
        elif s.journal.held(entry, server, rests=rests, settled_after=s.gate.settle_seconds()):
            settled.append(entry)
    with reachable():
        durable = bool(settled) and replicas_have_it(s.store.redis, s.store.keys)
    for entry in settled if durable else ():
        s.journal.erase(entry)


def _record(s: Services, entry: Entry, job: Record | None) -> None:
    event = {"step": "recovery", "note": f"task {entry.task_id}, from the journal of a worker"}
    outcome = s.store.move(
        states.RECORD_TASK,
        entry.job_id,
        nonce=entry.nonce,
        task=entry.task_id,
        set={"running_since": s.store.now()},
        unset=["failure"],
        alarm_in=int(next_look(0) * 1000),
        event=event,
    )
    if outcome.outcome == "bound":  # it is on record already, as another purchase's
        _log.error("kie.ai named task %s for job %s, but it belongs to another purchase", entry.task_id, entry.job_id)
        s.journal.erase(entry)
    if outcome.outcome in ("missing", "fenced") and s.journal.first_time(entry):
        why = (
            "which the server does not know"
            if outcome.outcome == "missing"
            else "whose purchase has another task by now"
        )
        _log.error("task %s was bought for job %s, %s", entry.task_id, entry.job_id, why)
