"""The real parts of a benchmark: a queue server, the sandbox as the vendor, one worker process, and a client."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from motionq import Job, MotionQueue, Settings
from motionq.contract.errors import MotionQueueError
from motionq.contract.states import State
from motionq_ops.plan import Plan, without_settings, worker_command
from motionq_ops.processes import Child, last_words
from motionq_ops.queue_server import QueueServer
from motionq_ops.redis_server import ServerError
from motionq_ops.sandbox.process import SandboxFailed, SandboxProcess
from motionq_ops.supervisor import CannotStart

SPEED = 60.0  # simulated seconds per second
_NEVER = 1e9  # simulated seconds
_PATIENCE = 600.0  # seconds for one step of a benchmark
_LOOK = 0.02
_BEFORE_READY = (State.QUEUED, State.UPLOADING)


class BenchFailed(MotionQueueError):
    """A job of the benchmark failed, or took too long."""

    kind = "bench_failed"


class Parts:
    """One worker, and what it works with."""

    def __init__(self, queue: MotionQueue, vendor: SandboxProcess, worker: Child) -> None:
        self.queue = queue
        self.vendor = vendor
        self._worker = worker

    @property
    def worker_pid(self) -> int:
        """The worker's process ID. Raises BenchFailed when it has ended."""
        if self._worker.pid is None or self._worker.ended() is not None:
            raise BenchFailed(f"the worker ended: {last_words(self._worker.log)}")
        return self._worker.pid

    def warm_up(self, image: Path, video: Path) -> None:
        """One job from end to end, so that everything is loaded; from now on no generation ends."""
        job = self.queue.submit(image=image, video=video)
        self._until_left([job], (*_BEFORE_READY, *State) if False else tuple(s for s in State if s is not _DONE))
        self.vendor.settings(duration=_NEVER, timeout_seconds=_NEVER)

    def until_uploaded(self, jobs: Sequence[Job]) -> list[Job]:
        """Waits until the files of all jobs are at the vendor, and returns the jobs with their events."""
        return self._until_left(jobs, _BEFORE_READY)
