"""Turns claims into Celery messages, with task IDs that one search in Flower finds: `<job>.<step>.<n>`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from motionq.contract.keys import Keys
from motionq.contract.store import Claim

_BATCH = 200


class Publisher:
    """Publishes steps. Messages carry job IDs and nothing else."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._keys: Keys = app.motionq_keys

    def steps(self, claims: Iterable[Claim]) -> None:
        """One message per claim, pipelined."""
        with self._app.producer_or_acquire() as producer, producer.batch(_BATCH):
            for claim in claims:
                self._app.send_task(
                    f"motionq.{claim.step}",
                    args=(claim.job_id,),
                    task_id=claim.message_id,
                    root_id=f"{claim.job_id}.upload.1",
                    parent_id=claim.parent_id,
                    queue=self._keys.queue_name(claim.step),
                    producer=producer,
                    retry=False,
                )

    def checks(self, batches: Iterable[tuple[str, list[str]]]) -> None:
        """One message per batch of jobs whose tasks are to be read."""
        with self._app.producer_or_acquire() as producer, producer.batch(_BATCH):
            for task_id, job_ids in batches:
                self._app.send_task(
                    "motionq.check",
                    args=(job_ids,),
                    task_id=task_id,
                    queue=self._keys.queue_name("check"),
                    producer=producer,
                    retry=False,
                )
