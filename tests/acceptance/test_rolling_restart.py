"""Workers are replaced one after the other under hundreds of jobs, and the end of a worker is an orderly one."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from motionq import Job
from motionq.contract.settings import Settings
from motionq_worker.settings import submit_lease
from support import DANCE, IMAGE, Stack, Worker, eventually
from support.invariants import violations

COMPOSE = Path(__file__).parents[2] / "docker-compose.yml"
JOBS = 500
LONG = 1000.0  # seconds of a generation: no job ends before the test says so
WIDE = {
    "MOTIONQ_SUBMIT_RATE": "1000/1s",
    "MOTIONQ_MAX_IN_FLIGHT": "1000",
    "MOTIONQ_READ_RATE": "1000/1s",
    "MOTIONQ_RESULTS_URL": "none",
    "MOTIONQ_LOG_LEVEL": "WARNING",
    "MOTIONQ_STEP_LEASE": "20s",  # as in production: what is cut off must not be found by its lease
}
BOUGHT = ("armed", "submitting", "running")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    vendor = {"rate_limit": "off", "render": "none", "duration": LONG, "latency": 0.2}
    with Stack(tmp_path_factory.mktemp("rolling"), workers=2, speed=1.0, sandbox=vendor, **WIDE) as running:
        yield running


def _replace(stack: Stack, worker: Worker) -> Worker:
    """As a deployment does: the old one is told to stop, has ended by itself, and a new one starts."""
    assert worker.stop() == 0
    return stack.add_worker()


def _under_way(stack: Stack, *states: str) -> int:
    counts = stack.store.counts()
    return sum(n for state, n in counts.items() if state in states)


def _broken(stack: Stack, jobs: Sequence[str]) -> list[str]:
    """Every rule of the keys that does not hold now."""
    return list(violations(stack.redis, stack.keys, jobs=jobs, tenants=["default"], cap=1000, rate=1000))


def _ask_now(stack: Stack, jobs: Sequence[Job]) -> None:
    """All generations are over, and each job is looked at at once."""
    stack.vendor.advance(LONG)
    stack.store.hurry("check", [job.id for job in jobs])


def test_all_workers_are_replaced_under_five_hundred_jobs_and_each_is_bought_once(stack: Stack) -> None:
    """Three workers end with code 0 while jobs are armed, sent, waited for and delivered: 500 are bought once each."""
    requests = [{"image": IMAGE, "video": DANCE, "prompt": f"rolling {n}"} for n in range(JOBS)]
    jobs = stack.queue.submit_many(requests)
    ids = [job.id for job in jobs]
    first, second = stack.workers

    eventually(lambda: _under_way(stack, *BOUGHT) >= 100 and _under_way(stack, "armed", "submitting"), timeout=40)
    third = _replace(stack, first)
    assert _broken(stack, ids) == []
    eventually(lambda: _under_way(stack, *BOUGHT) >= 300, timeout=40)
    _replace(stack, second)
    assert _broken(stack, ids) == []
    eventually(lambda: _under_way(stack, "running") == JOBS, timeout=60)

    _ask_now(stack, jobs)
    eventually(lambda: _under_way(stack, "succeeded"), timeout=30)
    _replace(stack, third)
    eventually(lambda: _under_way(stack, "succeeded") == JOBS, timeout=60)

    ledger = Counter(line["prompt"] for line in stack.vendor.ledger("createTask"))
    assert ledger == {request["prompt"]: 1 for request in requests}
    records = stack.store.get_many(ids)
    assert {(record.attempts, len(record.purchases)) for record in records} == {(1, 1)}
    assert {r.task_id for r in records} == {line["taskId"] for line in stack.vendor.ledger("createTask")}
    passed = {event.state for record in stack.store.get_many(ids) for event in record.events}
    assert passed == {"queued", "uploading", "ready", *BOUGHT, "delivering", "succeeded"}
    assert _broken(stack, ids) == []


def test_a_purchase_in_flight_is_waited_for_and_flower_hears_of_its_end(tmp_path: Path) -> None:
    """Told to stop (twice) while createTask is unanswered, the worker writes the task ID down, says so, and exits 0."""
    vendor = {"rate_limit": "off", "render": "none", "duration": LONG}
    with Stack(tmp_path, speed=1.0, sandbox=vendor, **WIDE, MOTIONQ_STOP_GRACE="1ms") as stack:
        stack.vendor.add_fault("slow", "createTask", seconds=1.5)
        job = stack.submit(prompt="in flight")
        worker = stack.workers[0]
        with stack.redis.pubsub() as events:
            events.psubscribe("*celeryev*")
            stack.in_state(job, "submitting")
            os.kill(worker.pid, signal.SIGTERM)
            assert worker.stop() == 0
            told = list(_events(events))

        record = stack.store.get(job.id)
        assert record.state == "running"
        assert [line["taskId"] for line in stack.bought(job)] == [record.task_id]
        assert [e["type"] for e in told if e.get("uuid") == f"{job.id}.submit.1"][-1] == "task-succeeded"
        assert list(stack.redis.scan_iter("*unacked*")) == []


def _events(pubsub: Any) -> Iterator[dict[str, Any]]:
    """What was told to Flower since; Celery sends the steps' events in lists."""
    while message := pubsub.get_message(ignore_subscribe_messages=False, timeout=0.2):
        if message["type"] == "pmessage":
            said = json.loads(base64.b64decode(json.loads(message["data"])["body"]))
            yield from said if isinstance(said, list) else [said]


def test_a_transfer_is_cut_off_after_the_grace_and_goes_on_at_once_on_another_worker(tmp_path: Path) -> None:
    """An upload that hangs longer than MOTIONQ_STOP_GRACE: another worker has it long before the 20 s of its lease."""
    slow = {**WIDE, "MOTIONQ_READ_TIMEOUT": "60s", "MOTIONQ_STOP_GRACE": "0.5s"}
    with Stack(tmp_path, workers=2, sandbox={"rate_limit": "off", "render": "none"}, **slow) as stack:
        stack.vendor.add_fault("hang", "upload")
        job = stack.submit(prompt="cut off")
        stack.in_state(job, "uploading")
        eventually(lambda: stack.vendor.ledger("upload"))
        holder = next(event.worker for event in stack.store.get(job.id).events if event.state == "uploading")
        stopped = next(worker for worker in stack.workers if str(holder).startswith(f"{worker.name}@"))
        os.kill(stopped.pid, signal.SIGTERM)

        stack.in_state(job, "running", timeout=15)  # its lease, and that of the upload's lock, would be 20 s

        assert len(stack.bought(job)) == 1
        told = [(e.worker == holder, e.note) for e in stack.store.get(job.id).events if e.state == "uploading"]
        assert told == [(True, None), (True, "cut off: this worker stops"), (False, None)]


def test_the_deployment_waits_longer_than_a_worker_may_take() -> None:
    """By default a worker is gone before Docker would kill it: the grace and a purchase's answer are under 120 s."""
    compose = YAML(typ="safe").load(COMPOSE.read_text(encoding="utf-8"))
    patience = float(compose["services"]["worker"]["stop_grace_period"].removesuffix("s"))

    assert Settings().stop_grace + submit_lease(Settings()) + 10 <= patience


def test_what_never_ends_is_cut_off(tmp_path: Path) -> None:
    """A step that hangs for ever keeps no worker alive: the process ends with code 0, and says what it cut off."""
    program = (
        "import logging, time; logging.basicConfig(); from motionq.contract.settings import load\n"
        "from motionq_worker import ending; from motionq_worker.services import Services\n"
        "ending.longest = lambda services: 0.2\n"
        "ending.begin(Services(load()), 'w'); time.sleep(60)\n"
    )
    environment = {**os.environ, "REDIS_URL": "unix:///nobody", "MOTIONQ_DATA_DIR": str(tmp_path)}
    environment |= {"MOTIONQ_STOP_GRACE": "1ms"}
    ended = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=30)

    assert ended.returncode == 0
    assert "this worker stops, whatever still runs: nothing" in ended.stderr
