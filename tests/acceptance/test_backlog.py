"""A backlog waits in Redis' sets, not in Celery's lists: whatever its size, only what can start soon is published."""

from __future__ import annotations

from pathlib import Path

import pytest

from motionq.contract.job import JobSpec
from motionq.contract.store import NewJob
from support import Stack, eventually

JOBS = 20_000
ENOUGH = 250  # jobs that have left the upload step when the test has seen enough
CAP = 16  # messages per Celery list and live worker: MOTIONQ_CONCURRENCY


@pytest.mark.timeout(400)
def test_twenty_thousand_jobs_leave_every_celery_list_short_and_publish_each_step_once(tmp_path: Path) -> None:
    """20,000 queued, one worker: no list above its cap, and each step is published at most 1.1 times per job."""
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
            return counts["succeeded"] >= ENOUGH

        eventually(enough, timeout=300)
        published = _published(stack)

    assert all(length <= CAP for length in longest.values()), longest
    for step, times in published.items():
        assert len(times) >= ENOUGH
        assert sum(times) / len(times) <= 1.1, step


def _published(stack: Stack) -> dict[str, list[int]]:
    """Per step: how often it was published for each job for which it was published at all."""
    pipe = stack.redis.pipeline(transaction=False)
    ids = [f"backlog{n:05}" for n in range(JOBS)]
    for job_id in ids:
        pipe.hmget(stack.keys.job(job_id), "n_upload", "n_submit", "n_deliver")
    rows = pipe.execute()
    return {step: [int(row[i]) for row in rows if row[i]] for i, step in enumerate(("upload", "submit", "deliver"))}
