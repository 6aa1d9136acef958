"""Failed jobs that were charged, or may have been: nobody but a person can say what becomes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from motionq.contract.connection import reachable
from motionq.contract.store import JobStore
from motionq_ops.doctor.findings import Finding, error, ok
from motionq_worker.decisions import RESULTS_KEPT

_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class UnsettledFacts:
    """`count`: how many failed while the vendor still has what it made for them; `first`: the oldest, with reasons."""

    count: int
    first: Sequence[tuple[str, str]]


def look_at_unsettled(store: JobStore) -> UnsettledFacts:
    """Raises QueueUnavailable."""
    name, recent = store.keys.unsettled, store.now() - RESULTS_KEPT
    with reachable():
        count = int(store.redis.zcount(name, recent, "+inf"))
        ids = store.redis.zrangebyscore(name, recent, "+inf", start=0, num=_SHOWN)
    records = store.get_many(map(str, ids))
    return UnsettledFacts(count=count, first=[(r.id, r.failure.reason if r.failure else "failed") for r in records])


def judge_unsettled(facts: UnsettledFacts) -> Finding:
    """None, or the first few by name."""
    if not facts.count:
        return ok("charged jobs", "no failed job waits for a person", value=0, limit=0)
    shown = ", ".join(f"{job_id} {reason}" for job_id, reason in facts.first)
    more = ", …" if facts.count > len(facts.first) else ""
    return error(
        "charged jobs",
        f"failed jobs that were charged, or may have been: {facts.count} ({shown}{more})",
        value=facts.count,
        limit=0,
        why="nothing more happens to them by itself, and kie.ai deletes what it made after 14 days",
        mend="motionq status JOB, then as the runbook says under `alert: MotionqPersonNeeded`: motionq attach JOB "
        "TASK_ID, or motionq replay JOB",
    )
