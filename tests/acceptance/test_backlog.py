"""A backlog waits in Redis' sets, not in Celery's lists: whatever its size, only what can start soon is published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from motionq.contract.job import JobSpec
from motionq.contract.store import NewJob
from support import Stack, eventually

JOBS = 20_000
ENOUGH = 250  # jobs that have succeeded when the test has seen enough
CAP = 16  # messages per Celery list and live worker: MOTIONQ_CONCURRENCY
STEPS = ("upload", "submit", "deliver")


@pytest.mark.timeout(400)
def test_twenty_thousand_jobs_leave_every_celery_list_short_and_publish_each_step_once(tmp_path: Path) -> None:
    """20,000 queued, one worker, until 250 of them have succeeded.

    Whenever it was looked at (some sixty times a second) no list was above its cap. No step of any of the 20,000 was
    published more than twice, and each step of those that were begun at most 1.1 times per job. Those behind them were
    left alone: nothing was published for a job that still waits, but for what is under way at this moment.
    """
    wide = {
        "MOTIONQ_SUBMIT_RATE": "1000/1s",
        "MOTIONQ_MAX_IN_FLIGHT": "1000",
        "MOTIONQ_READ_RATE": "1000/1s",
        "MOTIONQ_RESULTS_URL": "none",
        "MOTIONQ_STEP_LEASE": "30s",  # as in production: a lease that ends on a busy machine is published again
    }
    vendor = {"rate_limit": "off", "render": "none"}
    with Stack(tmp_path, workers=0, appendfsync="everysec", sandbox=vendor, **wide) as stack:
        spec: JobSpec = stack.submit(prompt="first").spec
        for start in range(0, JOBS, 1000):
            stack.store.create([NewJob(id=f"backlog{start + n:05}", spec=spec, labels={}) for n in range(1000)])
        stack.add_worker()
        longest: dict[str, int] = {}

        def enough() -> bool:
            for step in ("start", "upload", "submit", "check", "deliver"):
                length = int(stack.redis.llen(stack.keys.queue(step)))
                longest[step] = max(longest.get(step, 0), length)
            counts = stack.store.counts()
            return counts["succeeded"] > ENOUGH  # the first job is none of the backlog

        eventually(enough, timeout=300)
        rows = _rows(stack)

    assert all(length <= CAP for length in longest.values()), longest
    for step in STEPS:
        times = [row[step] for row in rows if row[step]]
        assert len(times) >= ENOUGH
        assert max(times) <= 2, step
        assert sum(times) / len(times) <= 1.1, step
    begun = [n for n, row in enumerate(rows) if row["upload"]]
    assert sum(1 for n in begun if rows[n]["state"] in ("queued", "uploading")) <= CAP
    assert begun[-1] < len(begun) + CAP  # the oldest ones, without a gap


def _rows(stack: Stack) -> list[dict[str, Any]]:
    """Each job in the order of submission: its state, and how often each step was published for it."""
    pipe = stack.redis.pipeline(transaction=False)
    for n in range(JOBS):
        pipe.hmget(stack.keys.job(f"backlog{n:05}"), "state", *(f"n_{step}" for step in STEPS))
    return [
        {"state": state} | {step: int(times or 0) for step, times in zip(STEPS, published, strict=True)}
        for state, *published in pipe.execute()
    ]
