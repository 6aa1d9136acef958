"""Credits run out for longer than the vendor keeps files: jobs wait, and are bought with fresh uploads afterwards.

The sandbox's clock runs 3,600 times as fast: an hour of the vendor's is a second here, and an upload that
`MOTIONQ_UPLOAD_TTL` trusts for 20 hours is trusted for 20 s.
"""

from __future__ import annotations

from pathlib import Path

from support import Stack, eventually, picture

HOURS = 25


def test_twenty_five_hours_without_credits_cost_nothing_and_then_all_succeed(tmp_path: Path) -> None:
    """One refused call closes the gate; a day later each job is bought once, with files that were uploaded again."""
    vendor = {"speed": 3600.0, "rate_limit": "off", "render": "none"}
    with Stack(tmp_path, sandbox=vendor, MOTIONQ_UPLOAD_TTL="20s", MOTIONQ_RESULTS_URL="none") as stack:
        stack.vendor.set_credits(0)
        images = [picture(colour=(n, 20, 30)) for n in range(3)]
        jobs = [stack.submit(prompt=f"waits {n}", image=images[n % 3]) for n in range(6)]
        eventually(lambda: (stack.store.paused() or {}).get("reason") == "no_credits", 30)
        began = stack.store.now()
        for job in jobs:
            stack.in_state(job, "ready")
        refused = len(stack.vendor.ledger("createTask"))
        assert len(stack.vendor.ledger("upload")) == 4

        eventually(lambda: stack.store.now() > began + HOURS * 1000, timeout=60)
        assert len(stack.vendor.ledger("createTask")) == refused <= len(jobs)
        assert {stack.store.get(job.id).state for job in jobs} == {"ready"}

        stack.vendor.set_credits(10_000)
        stack.redis.hset(stack.keys.gate, "asked", 0)  # the minute between two looks at the balance is over
        done = [stack.finished(job) for job in jobs]

        assert {job.state for job in done} == {"succeeded"}
        for job in done:
            assert [line["taskId"] for line in stack.bought(job) if line.get("taskId")] == [job.task_id]
        assert len(stack.vendor.ledger("upload")) == 8
        assert len(stack.vendor.ledger("createTask")) == refused + len(jobs)
