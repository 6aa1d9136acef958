"""Records made for tests of pure decisions."""

from __future__ import annotations

from typing import Any

from motionq.contract.job import JobSpec, StagedSource
from motionq.contract.record import PurchaseLine, Record
from motionq.contract.states import Purchase, State
from motionq_worker.decisions import Rules
from motionq_worker.kie.messages import Phase, Reading

NOW = 1_800_000_000_000
NONCE = "a" * 40
SPEC = JobSpec(
    image=StagedSource(sha256="1" * 64, size=1, media_type="image/png", name="hero.png"),
    video=StagedSource(sha256="2" * 64, size=1, media_type="video/mp4", name="dance.mp4"),
    prompt="dance",
)
RULES = Rules(unknown_window=2700.0, run_limit=86_400.0, generation_attempts=2, callbacks=True)


def line(**given: Any) -> PurchaseLine:
    """An open purchase that was sent a minute ago."""
    usual = {
        "nonce": NONCE,
        "status": Purchase.OPEN,
        "armed_at": NOW - 63_000,
        "sent_at": NOW - 60_000,
        "task_id": "T1",
    }
    return PurchaseLine(**(usual | given))


def record(**given: Any) -> Record:
    """A running job that waits for task T1 since a minute."""
    usual: dict[str, Any] = {
        "id": "job1",
        "state": State.RUNNING,
        "tenant": "default",
        "priority": "normal",
        "labels": {},
        "spec": SPEC,
        "created_at": NOW - 100_000,
        "updated_at": NOW - 60_000,
        "since": NOW - 60_000,
        "image_url": "https://vendor/1.png",
        "video_url": "https://vendor/2.mp4",
        "video_seconds": 6.0,
        "nonce": NONCE,
        "task_id": "T1",
        "running_since": NOW - 60_000,
        "purchases": (line(),),
    }
    return Record(**(usual | given))


def reading(phase: Phase = Phase.RUNNING, **given: Any) -> Reading:
    """What recordInfo says of task T1, echoing the request of `record`."""
    usual: dict[str, Any] = {
        "task_id": "T1",
        "state": phase.value,
        "phase": phase,
        "model": SPEC.model,
        "prompt": "dance",
        "image_urls": ("https://vendor/1.png",),
        "video_urls": ("https://vendor/2.mp4",),
        "created_ms": NOW - 60_000,
    }
    return Reading(**(usual | given))
