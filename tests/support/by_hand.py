"""A caller's jobs driven by hand to where the command line is to show them: no worker runs in these tests."""

from __future__ import annotations

import json

from motionq import MotionQueue, Settings
from support.life import Life

_EVENT = {"step": "upload", "worker": "w1@host"}


def _life(queue: MotionQueue) -> Life:
    return Life(queue.store.redis, queue.store.keys, Settings())


def _begin(life: Life, job_id: str) -> None:
    life.claim("upload", job_id)
    assert life.move("begin_upload", job_id, event=_EVENT, alarm_in=60_000).ok


def fail(queue: MotionQueue, job_id: str) -> None:
    """The worker finds the driving video too short."""
    life = _life(queue)
    _begin(life, job_id)
    failure = json.dumps({"reason": "invalid_media", "message": "2 s video", "charged": "no"})
    assert life.move("fail_upload", job_id, set={"failure": failure}, event=_EVENT | {"note": "2 s video"}).ok


def buy(queue: MotionQueue, job_id: str) -> None:
    """The job is bought; its task is named `task-<job>`."""
    life = _life(queue)
    _begin(life, job_id)
    assert life.move("uploaded", job_id, event=_EVENT).state == "ready"
    assert life.arm() == 1
    assert life.send(job_id) == "mine"
    running = {"running_since": life.store.now()}
    assert life.move("record_task", job_id, task=f"task-{job_id}", set=running, alarm_in=60_000).ok


def lose(queue: MotionQueue, job_id: str) -> None:
    """The job's purchase was sent, its answer was lost, and nobody named its task in time."""
    life = _life(queue)
    _begin(life, job_id)
    assert life.move("uploaded", job_id, event=_EVENT).state == "ready"
    assert life.arm() == 1
    assert life.send(job_id) == "mine"
    assert life.move("unknown", job_id).ok
    failure = json.dumps({"reason": "submit_unknown", "message": "no answer", "charged": "unknown"})
    assert life.move("give_up_unknown", job_id, set={"failure": failure}).ok


def refund(queue: MotionQueue, job_id: str) -> None:
    """The vendor's verdict on a bought job is bad, and is booked."""
    life = _life(queue)
    assert life.move("refunded", job_id).state == "delivering"
    life.claim("deliver", job_id)
    failure = json.dumps({"reason": "generation_failed", "message": "no person found", "charged": "no"})
    assert life.move("book_refund", job_id, set={"failure": failure}).ok


def succeed(queue: MotionQueue, job_id: str) -> None:
    """The job is bought, generated, and delivered to `/results/<job>.mp4`."""
    life = _life(queue)
    buy(queue, job_id)
    assert life.move("paid", job_id).state == "delivering"
    life.claim("deliver", job_id)
    file = f"/results/{job_id}.mp4"
    result = json.dumps({"file": file, "files": [file], "vendor_urls": [], "credits": 66.0})
    assert life.move("delivered", job_id, set={"result": result}).ok
