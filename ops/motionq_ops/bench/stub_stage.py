"""What the benchmarks of the waiting phase stand on: a queue server, the stub vendor, and any number of workers."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from redis import Redis

from motionq.contract.errors import InvalidSettings
from motionq.contract.keys import Keys
from motionq.contract.store import JobStore
from motionq_ops.bench.measure import usage
from motionq_ops.bench.parts import BenchFailed, forget_settings
from motionq_ops.bench.stub_process import StubVendor
from motionq_ops.plan import Plan, worker_command
from motionq_ops.processes import Child, Command, last_words
from motionq_ops.queue_server import QueueServer
from motionq_ops.redis_server import ServerBinaryMissing, ServerError
from motionq_ops.supervisor import CannotStart

_BINARY = "MOTIONQ_SERVER_BINARY"
_PATIENCE = 60.0  # seconds until a worker has said that it lives


class NotInTime(BenchFailed):
    """What was waited for did not come."""


class Stage:
    """The parts. `interval`: seconds between two looks at a task; None leaves motionq's own schedule."""

    def __init__(self, plan: Plan, server: QueueServer, vendor: StubVendor, redis: Redis) -> None:
        self.plan = plan
        self.server = server
        self.vendor = vendor
        self.redis = redis
        self.keys = Keys(plan.namespace)
        self.store = JobStore(redis, self.keys)
        self.workers: list[Child] = []

    def start_workers(self, count: int, interval: float | None) -> None:
        """Start so many more, and wait until all of them tick."""
        self.launch_workers(count, interval)
        self.until(lambda: int(self.redis.zcard(self.keys.workers)) >= count, _PATIENCE, "the workers do not start")

    def launch_workers(self, count: int, interval: float | None) -> None:
        """Start so many more."""
        for _ in range(count):
            name = f"bench{len(self.workers) + 1}"
            command = worker_command(self.plan, name, self.server.url, self.vendor.url)
            self.start(command if interval is None else _at_interval(command, interval))

    def start(self, command: Command) -> Child:
        """One more process that ends with the stage."""
        child = Child(command)
        child.start()
        self.workers.append(child)
        return child

    def until(self, done: Callable[[], bool], seconds: float, otherwise: str) -> None:
        """Wait. Raises NotInTime when time is over, BenchFailed when a worker has ended."""
        ends = time.monotonic() + seconds
        while not done():
            self.alive()
            if time.monotonic() > ends:
                raise NotInTime(f"{otherwise} ({seconds:g} s)")
            time.sleep(0.05)

    def alive(self) -> None:
        """Raises BenchFailed when a worker has ended."""
        for child in self.workers:
            if child.ended() is not None:
                raise BenchFailed(f"{child.name} ended: {last_words(child.log)}")

    def cpu(self) -> float:
        """Processor seconds of all workers so far."""
        return sum(usage(pid).cpu for pid in self.pids())

    def rss(self) -> int:
        """Resident bytes of the largest worker."""
        return max(usage(pid).rss for pid in self.pids())

    def pids(self) -> list[int]:
        """The workers' process IDs."""
        return [child.pid for child in self.workers if child.pid is not None]

    def kill_workers(self) -> None:
        """SIGKILL to all, with everything they started."""
        for child in self.workers:
            child.kill()
        self.workers.clear()

    def commands(self) -> dict[str, int]:
        """How often each command has run on the server so far; those inside of scripts count too."""
        stats = self.redis.info("commandstats")
        return {name.removeprefix("cmdstat_"): int(row["calls"]) for name, row in stats.items()}

    def server_cpu(self) -> float:
        """Processor seconds of the server so far."""
        info = self.redis.info("cpu")
        return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


def _at_interval(command: Command, interval: float) -> Command:
    """The same worker with a fixed schedule; `command` is `python -P -m celery …`."""
    words = list(command.argv)
    at = words.index("celery")
    argv = (*words[:at], "motionq_ops.bench.waiting_worker", f"{interval:g}", *words[at + 1 :])
    return replace(command, argv=argv)


@contextmanager
def stage(*, latency: float = 0.1, upload: float = 0.0, settings: Mapping[str, str]) -> Iterator[Stage]:
    """All parts but the workers, started afresh, until the block ends. `settings`: MOTIONQ_… of the workers.

    Call in the main thread (see leash.py). Raises CannotStart, InvalidSettings.
    """
    forget_settings()
    with tempfile.TemporaryDirectory(prefix="motionq-bench-") as name:
        folder = Path(name)
        plan = Plan(data_dir=folder, environment=dict(os.environ) | dict(settings), folder=folder)
        plan.temporary.mkdir(parents=True)
        try:
            server = QueueServer(plan.server_folder, plan.log("redis"), os.environ.get(_BINARY))
            with server, StubVendor(latency, upload) as vendor, _connected(server.url) as redis:
                made = Stage(plan, server, vendor, redis)
                try:
                    yield made
                finally:
                    _end(made.workers)
        except ServerBinaryMissing as error:
            raise InvalidSettings(str(error)) from error
        except ServerError as error:
            raise CannotStart(str(error)) from error


@contextmanager
def _connected(url: str) -> Iterator[Redis]:
    redis = Redis.from_url(url, decode_responses=True)
    try:
        yield redis
    finally:
        redis.close()


def _end(children: list[Child]) -> None:
    for child in children:
        child.terminate()
    for child in children:
        child.wait(5.0)
        child.kill()
