"""A job's whole life on real parts: worker processes, a Valkey server, and the vendor's stand-in over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from motionq_worker.inspection import check_playable, inspect_video
from support import DANCE, VIDEO, Stack, picture


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("jobs"), workers=2, sandbox={"render": "real"}) as running:
        yield running


def test_a_job_comes_back_as_a_video_as_long_as_its_driver(stack: Stack) -> None:
    """A real image and a real video go in; a playable video of the driver's duration comes back, bought once."""
    job = stack.finished(stack.submit(prompt="one", video=VIDEO))

    assert job.raise_for_failure().result is not None
    assert job.result is not None
    assert job.result.file is not None
    played = check_playable(Path(job.result.file))
    assert abs(played.seconds - inspect_video(VIDEO).seconds) < 0.2
    assert min(played.width, played.height) == 720
    bought = stack.bought(job)
    assert [line["taskId"] for line in bought] == [job.task_id]
    assert stack.redis.hget(stack.keys.job(job.id), "task_id") == job.task_id
    assert job.attempts == 1
    assert [event.state for event in job.events] == [
        "queued",
        "uploading",
        "ready",
        "armed",
        "submitting",
        "running",
        "delivering",
        "delivering",
        "succeeded",
    ]


def test_fifty_jobs_at_once_are_each_bought_once_and_the_files_are_uploaded_once(stack: Stack) -> None:
    """Fifty jobs, two workers: each task ID in Redis is one purchase at the vendor, and two files cross the wire."""
    before, image = len(stack.vendor.ledger("upload")), picture(colour=(50, 50, 50))
    jobs = stack.queue.submit_many([{"image": image, "video": DANCE, "prompt": f"fifty {n}"} for n in range(50)])
    done = [stack.finished(job, timeout=120) for job in jobs]

    assert {job.state for job in done} == {"succeeded"}
    for job in done:
        assert [line["taskId"] for line in stack.bought(job)] == [job.task_id]
    assert len({job.task_id for job in done}) == 50
    assert len(stack.vendor.ledger("upload")) - before == 2
    assert stack.vendor.summary()["max_creates_in_window"] <= 20
