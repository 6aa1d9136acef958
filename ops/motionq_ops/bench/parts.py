"""The real parts of a benchmark: a queue server, the sandbox as the vendor, one worker process, and a client."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from motionq import Job, MotionQueue, Settings
from motionq.contract.errors import InvalidSettings, MotionQueueError
from motionq.contract.record import Record
from motionq.contract.states import State
from motionq_ops.plan import SANDBOX_KEY, Plan, without_settings, worker_command
from motionq_ops.processes import Child, last_words
from motionq_ops.queue_server import QueueServer
from motionq_ops.redis_server import ServerBinaryMissing, ServerError
from motionq_ops.sandbox.process import SandboxFailed, SandboxProcess
from motionq_ops.supervisor import CannotStart

_SPEED, _GENERATION, _NEVER = 60.0, 30.0, 1e9  # simulated seconds per second; simulated seconds
_SANDBOX = {"discard_uploads": True, "render": "none", "duration": _GENERATION}
_PATIENCE, _LOOK = 600.0, 0.02  # seconds
_SERVER_BINARY = "MOTIONQ_SERVER_BINARY"
_BEFORE_READY = frozenset({State.QUEUED, State.UPLOADING})


class BenchFailed(MotionQueueError):
    """A job of the benchmark failed, or took too long, or the worker ended."""

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

    @property
    def vendor_pid(self) -> int:
        """The sandbox's process ID."""
        if self.vendor.pid is None:
            raise BenchFailed("the sandbox ended")
        return self.vendor.pid

    def warm_up(self, image: Path, video: Path) -> None:
        """One job from end to end, so that everything is loaded; from then on no generation ends."""
        job = self.queue.submit(image=image, video=video)
        self.until_none_is([job], frozenset(State) - {State.SUCCEEDED})
        self.vendor.settings(duration=_NEVER, timeout_seconds=_NEVER)

    def until_uploaded(self, jobs: Sequence[Job]) -> list[Job]:
        """The jobs, with their events, when the files of all are at the vendor. Raises BenchFailed."""
        return self.until_none_is(jobs, _BEFORE_READY)

    def forget_uploads(self, jobs: Sequence[Job]) -> None:
        """Let the next jobs with the same videos upload them again."""
        store = self.queue.store
        for job in jobs:
            store.redis.delete(store.keys.upload(job.spec.video.identity))

    def uploads(self) -> list[dict[str, Any]]:
        """What the vendor's ledger says about uploads, in order of arrival."""
        return self.vendor.ledger("upload")

    def until_none_is(self, jobs: Sequence[Job], states: frozenset[State]) -> list[Job]:
        """The jobs, with their events, when none is in one of these states. Raises BenchFailed."""
        ids, ends = [job.id for job in jobs], time.monotonic() + _PATIENCE
        while any(self._sound(record).state in states for record in self.queue.store.get_many(ids)):
            if time.monotonic() > ends:
                raise BenchFailed(f"the jobs were not done within {_PATIENCE:g} s")
            _ = self.worker_pid
            time.sleep(_LOOK)
        return [self.queue.get(job_id) for job_id in ids]

    def _sound(self, record: Record) -> Record:
        if record.state in (State.FAILED, State.CANCELLED):
            raise BenchFailed(f"job {record.id} {record.state.value}: {self.queue.get(record.id).failure}")
        return record


def forget_settings() -> None:
    """This process and its children run as if nothing were configured, so that figures can be compared.

    Only the server's program stays: a machine may have no other.
    """
    kept = without_settings(os.environ) | {k: v for k, v in os.environ.items() if k == _SERVER_BINARY}
    os.environ.clear()
    os.environ.update(kept)


@contextmanager
def running(folder: Path, staging: Path) -> Iterator[Parts]:
    """All parts, started afresh, until the block ends. `folder` is theirs; staged files go to `staging`.

    Call in the main thread (see leash.py), after `forget_settings`. Raises CannotStart, InvalidSettings.
    """
    staging_url = f"file://{staging}"
    environment = os.environ | {"MOTIONQ_STAGING_URL": staging_url}
    plan = Plan(data_dir=folder, environment=environment, folder=folder)
    plan.temporary.mkdir(parents=True)
    try:
        server = QueueServer(plan.server_folder, plan.log("redis"), os.environ.get(_SERVER_BINARY))
        vendor = SandboxProcess(speed=_SPEED, api_keys=(SANDBOX_KEY,), settings=_SANDBOX)
        with server, vendor, _worker(plan, server.url, vendor.url) as worker:
            settings = Settings(redis_url=SecretStr(server.url), data_dir=folder, staging_url=staging_url)
            with MotionQueue(settings=settings) as queue:
                yield Parts(queue, vendor, worker)
    except ServerBinaryMissing as error:
        raise InvalidSettings(str(error)) from error
    except (ServerError, SandboxFailed) as error:
        raise CannotStart(str(error)) from error


@contextmanager
def _worker(plan: Plan, redis_url: str, sandbox_url: str) -> Iterator[Child]:
    child = Child(worker_command(plan, "bench", redis_url, sandbox_url))
    child.start()
    try:
        yield child
    finally:
        child.terminate()
        child.wait(10.0)
        child.kill()
