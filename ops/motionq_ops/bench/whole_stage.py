"""What the benchmarks of whole lives stand on: a queue server, the sandbox, a callback receiver, and one worker."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr
from redis import Redis

from motionq import MotionQueue, Settings
from motionq.contract.errors import InvalidSettings
from motionq_ops.bench.parts import forget_settings
from motionq_ops.plan import SANDBOX_HMAC_KEY, SANDBOX_KEY, Plan, receiver_command, worker_command
from motionq_ops.processes import Child
from motionq_ops.queue_server import QueueServer
from motionq_ops.redis_server import ServerBinaryMissing, ServerError, free_port
from motionq_ops.sandbox.process import SandboxFailed, SandboxProcess
from motionq_ops.supervisor import CannotStart

_SPEED = 20.0  # simulated seconds per second
_SETTINGS = {"MOTIONQ_MAX_IN_FLIGHT": "10000", "MOTIONQ_READ_RATE": "1000/1s"}


@dataclass(frozen=True)
class Parts:
    """The running parts, and a client."""

    queue: MotionQueue
    redis: Redis
    vendor: SandboxProcess
    worker: Child
    receiver: Child


@contextmanager
def whole_stage(generation: float, settings: Mapping[str, str]) -> Iterator[Parts]:
    """All parts, started afresh, until the block ends. Call in the main thread (see leash.py).

    `generation`: seconds that the vendor takes for a video; `settings`: MOTIONQ_… of the worker and the receiver.
    Raises CannotStart, InvalidSettings.
    """
    forget_settings()
    with tempfile.TemporaryDirectory(prefix="motionq-bench-") as folder:
        plan = Plan(
            data_dir=Path(folder),
            callback_port=free_port(),
            local_callbacks=True,
            sandbox_speed=_SPEED,
            environment=dict(os.environ) | _SETTINGS | dict(settings),
            folder=Path(folder),
        )
        plan.temporary.mkdir(parents=True)
        try:
            server = QueueServer(plan.server_folder, plan.log("redis"), os.environ.get("MOTIONQ_SERVER_BINARY"))
            switches = {"render": "none", "duration": generation * _SPEED, "rate_limit": "off"}
            vendor = SandboxProcess(speed=_SPEED, api_keys=(SANDBOX_KEY,), hmac_key=SANDBOX_HMAC_KEY, settings=switches)
            with server, vendor, _children(plan, server.url, vendor.url) as (receiver, worker):
                of_client = Settings(redis_url=SecretStr(server.url), data_dir=Path(folder))
                with (
                    Redis.from_url(server.url, decode_responses=True) as redis,
                    MotionQueue(settings=of_client) as queue,
                ):
                    yield Parts(queue, redis, vendor, worker, receiver)
        except ServerBinaryMissing as error:
            raise InvalidSettings(str(error)) from error
        except (ServerError, SandboxFailed) as error:
            raise CannotStart(str(error)) from error


@contextmanager
def _children(plan: Plan, redis_url: str, vendor_url: str) -> Iterator[tuple[Child, Child]]:
    children = (Child(receiver_command(plan, redis_url)), Child(worker_command(plan, "bench", redis_url, vendor_url)))
    try:
        for child in children:
            child.start()
        yield children
    finally:
        for child in children:
            child.terminate()
        for child in children:
            child.wait(10.0)
            child.kill()
