"""The process that enqueues is killed before and after everything it tells the queue's server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from motionq import Job
from motionq_ops.bench.boundaries import CommandNames, load_scripts
from motionq_ops.bench.proxy import Proxies, Trap
from support import DANCE, IMAGE, Stack, eventually

SUBMIT = "import sys, motionq; motionq.MotionQueue().submit(image={!r}, video={!r}, prompt={!r}, idempotency_key={!r})"
BOUNDARIES = ("create#1", "publish start#1")


@dataclass
class Producer:
    """A service's process that enqueues one job through a proxy, which may kill it."""

    stack: Stack
    proxies: Proxies
    key: str
    process: subprocess.Popen[bytes] = field(init=False)

    def run(self, boundary: str | None = None, moment: str = "before") -> list[str]:
        """What it told the server until it ended, or was killed at this boundary."""
        trap = Trap(self._kill, boundary, moment)
        names = CommandNames(self.stack.redis, self.stack.keys.namespace)
        url = self.proxies.redis(str(self.stack.server.socket_path), trap, names)
        code = SUBMIT.format(str(IMAGE), str(DANCE), self.key, self.key)
        environment = os.environ | self.stack.environment | {"REDIS_URL": url}
        self.process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], env=environment)
        self.process.wait(60)
        return trap.passed

    def _kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("producer")
    with Stack(folder, sandbox={"rate_limit": "off", "render": "none"}, MOTIONQ_RESULTS_URL="none") as running:
        load_scripts(running.redis)
        yield running


@pytest.fixture(scope="module")
def proxies() -> Iterator[Proxies]:
    with Proxies() as running:
        yield running


def test_what_a_producer_tells_the_server(stack: Stack, proxies: Proxies) -> None:
    """The boundaries below are all there are: the record is made in one call, then a worker is woken."""
    producer = Producer(stack, proxies, "nothing happens")
    assert tuple(producer.run()) == BOUNDARIES
    assert producer.process.returncode == 0


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_producer_that_dies_leaves_a_whole_job_or_none(
    stack: Stack, proxies: Proxies, boundary: str, moment: str
) -> None:
    """Killed there, its job is not on record or goes on by itself; asking again with the same key never buys twice."""
    producer = Producer(stack, proxies, f"{moment} {boundary}")
    producer.run(boundary, moment)
    assert producer.process.returncode == -9

    found = _recorded(stack, producer.key)
    assert [job.state for job in found] == ([] if (boundary, moment) == ("create#1", "before") else ["succeeded"])
    again = stack.submit(prompt=producer.key, idempotency_key=producer.key)
    assert [job.id for job in found] in ([], [again.id])
    assert stack.finished(again).state == "succeeded"
    assert [line["taskId"] for line in stack.bought(again)] == [stack.queue.get(again.id).task_id]


def _recorded(stack: Stack, key: str) -> list[Job]:
    """The jobs of this producer, at their end."""
    found = [job for job in stack.queue.list(limit=100) if job.spec.prompt == key]
    eventually(lambda: all(stack.queue.get(job.id).state == "succeeded" for job in found), timeout=60)
    return [stack.queue.get(job.id) for job in found]
