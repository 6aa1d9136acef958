"""A sandbox that was started anew knows nothing of earlier jobs; the records are brought in line with that."""

from __future__ import annotations

import pytest

from motionq.contract.errors import InvalidSettings
from motionq_ops import amnesia
from support.life import life


def test_jobs_of_a_sandbox_that_has_forgotten_them_end_or_upload_again(redis_url: str, namespace: str) -> None:
    """Running jobs end with a sentence, ready ones are uploaded again before they are bought, finished ones stay."""
    with life(redis_url, namespace) as lived:
        lived.reach("running", "running")
        lived.reach("submit_unknown", "unknown")
        lived.reach("succeeded", "done")
        lived.reach("ready", "ready")
        lived.redis.hset(lived.keys.upload("a" * 64), "url", "http://gone")

        assert amnesia.forget(lived.store) == 2
        for job_id in ("running", "unknown"):
            record = lived.store.get(job_id)
            assert record.state == "failed"
            assert record.failure is not None
            assert "sandbox was restarted" in record.failure.message
        assert lived.store.get("done").state == "succeeded"
        assert not lived.redis.exists(lived.keys.upload("a" * 64))
        assert lived.gate.admit("worker") == 0
        assert lived.store.get("ready").state == "queued"


def test_a_sandbox_never_answers_for_jobs_that_were_not_made_for_it(redis_url: str, namespace: str) -> None:
    """Jobs of a real queue are refused with one sentence; its own, and an empty server, are taken."""
    with life(redis_url, namespace) as lived:
        lived.create("job1")
        with pytest.raises(InvalidSettings, match="not made for the sandbox"):
            amnesia.mark(lived.store)
        lived.clean()
        amnesia.mark(lived.store)
        lived.create("job2")
        amnesia.mark(lived.store)
