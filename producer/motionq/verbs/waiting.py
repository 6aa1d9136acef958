"""`motionq wait`: until jobs have ended, and how they did."""

from __future__ import annotations

from collections.abc import Sequence

from motionq import words
from motionq.client import MotionQueue
from motionq.contract.errors import WaitTimeout
from motionq.contract.states import UNFINISHED
from motionq.live import follow, resume_with
from motionq.output import Code, WrongUsage, note, report, worst
from motionq.tables import ended_line, span
from motionq.verbs.shared import code, each, opened_queue, read, show


def wait(*, jobs: Sequence[str], everything: bool, timeout: str | None, as_json: bool) -> int:
    """Waits for the named jobs, or for everything that is unfinished now; returns the exit code."""
    if bool(jobs) == everything:
        raise WrongUsage("name the jobs to wait for, or give --all (one of the two)", field="job")
    patience = read("timeout", words.duration, timeout).total_seconds() if timeout is not None else None
    codes: list[Code] = []
    with opened_queue() as queue:
        ids = _unfinished(queue) if everything else [job.id for job in each(queue.get, jobs, codes, as_json)]
        waiting = dict.fromkeys(ids)
        for job in follow(queue, list(waiting), patience):
            waiting.pop(job.id)
            codes.append(code(job))
            show(job, as_json, ended_line(job))
    return worst(codes + _late(list(waiting), patience or 0.0, as_json))


def _unfinished(queue: MotionQueue) -> list[str]:
    found = [job.id for job in queue.list(states=UNFINISHED, limit=None)]
    if not found:
        note("no job is unfinished")
    return found


def _late(job_ids: Sequence[str], patience: float, as_json: bool) -> list[Code]:
    """Says which jobs go on: to programs each of them, to people how many."""
    if as_json or len(job_ids) < 2:
        return [report(_NotDone(job_id, patience), as_json=as_json) for job_id in job_ids]
    note(f"{len(job_ids)} jobs are not done after {span(patience)}; they go on: {resume_with(job_ids)}")
    return [Code.TIMEOUT]


class _NotDone(WaitTimeout):
    """One of the jobs that were waited for; `limit` in seconds."""

    def __init__(self, job_id: str, limit: float) -> None:
        super().__init__(f"job {job_id} is not done after {span(limit)}; it goes on")
        self.field, self.value, self.limit = "job", job_id, limit
