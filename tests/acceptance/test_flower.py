"""Flower tells the truth about every job, and shows no secret."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from motionq_ops.redis_server import free_port
from support import Stack, eventually

PROMPT = "a prompt that nobody may see"


class Flower:
    """Flower beside a stack, asked through its API."""

    def __init__(self, stack: Stack) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        command = [sys.executable, "-m", "celery", "-A", "motionq_worker.app", "flower", f"--port={self.url[-5:]}"]
        environment = stack.environment | {"FLOWER_UNAUTHENTICATED_API": "true"}
        with (stack.folder / "flower.log").open("wb") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        eventually(self._answers, timeout=30)

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/healthcheck", timeout=2).ok
        except requests.ConnectionError:
            return False

    def rows(self, search: str) -> dict[str, Any]:
        """The rows that a search finds, by Celery task ID."""
        found: dict[str, Any] = requests.get(f"{self.url}/api/tasks", params={"search": search}, timeout=10).json()
        return found

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("flower")
    public = "http://203.0.113.9:8787"  # so that createTask carries a nonce
    with Stack(folder, workers=0, sandbox={"rate_limit": "off"}, MOTIONQ_PUBLIC_BASE_URL=public) as running:
        yield running


@pytest.fixture(scope="module")
def flower(stack: Stack) -> Iterator[Flower]:
    running = Flower(stack)
    stack.add_worker()
    yield running
    running.stop()


def steps(rows: dict[str, Any], state: str) -> set[str]:
    return {row["name"] for row in rows.values() if row["state"] == state}


def test_a_succeeded_job_is_found_with_all_its_steps_linked(stack: Stack, flower: Flower) -> None:
    """One search for a job ID finds its upload, submit, check and deliver rows, each with what happened."""
    job = stack.finished(stack.submit(prompt=PROMPT))
    every = {"motionq.upload", "motionq.submit", "motionq.check", "motionq.deliver"}
    rows = eventually(lambda: (r := flower.rows(job.id)) and steps(r, "SUCCESS") == every and r)

    root = f"{job.id}.upload.1"
    assert job.state == "succeeded"
    assert rows[root]["result"].startswith("'uploaded image")
    assert rows[f"{job.id}.submit.1"]["parent_id"] == root
    assert rows[f"{job.id}.submit.1"]["root_id"] == root
    assert job.task_id in rows[f"{job.id}.submit.1"]["result"]
    deliver = rows[f"{job.id}.deliver.1"]
    assert deliver["parent_id"].startswith("check.")
    assert job.id in rows[deliver["parent_id"]]["result"]
    assert json.loads(rows[root]["args"].replace("('", '["').replace("',)", '"]')) == [job.id]


def test_a_failed_job_is_found_with_a_failure_and_its_reason(stack: Stack, flower: Flower) -> None:
    """A failed job's ID finds a FAILURE row that says why, in the step where it failed."""
    stack.vendor.add_fault("code_422", "createTask")
    job = stack.finished(stack.submit(prompt=PROMPT))
    rows = eventually(lambda: (r := flower.rows(job.id)) and steps(r, "FAILURE") and r)

    assert steps(rows, "FAILURE") == {"motionq.submit"}
    assert f"{job.id}: refused:" in rows[f"{job.id}.submit.1"]["exception"]


def test_a_step_that_is_tried_again_is_a_retry_with_its_reason(stack: Stack, flower: Flower) -> None:
    """A free retry shows as RETRY with the reason and when, and the next try is a row of its own."""
    stack.vendor.clear_faults()
    stack.vendor.add_fault("result_cut", "result")
    job = stack.finished(stack.submit(prompt=PROMPT))
    rows = eventually(lambda: (r := flower.rows(job.id)) and f"{job.id}.deliver.2" in r and r)

    assert job.state == "succeeded"
    assert rows[f"{job.id}.deliver.1"]["state"] == "RETRY"
    assert "again in 2 s" in rows[f"{job.id}.deliver.1"]["exception"]


def test_no_row_shows_a_prompt_a_key_a_nonce_or_an_address(stack: Stack, flower: Flower) -> None:
    """Messages carry job IDs and nothing else, and results and errors hold no secret."""
    job = stack.finished(stack.submit(prompt=PROMPT))
    eventually(lambda: "motionq.deliver" in steps(flower.rows(job.id), "SUCCESS"))
    everything = json.dumps(flower.rows(""))
    nonces = [p.nonce for record in stack.store.newest() for p in record.purchases]

    assert job.id in everything
    assert nonces
    for secret in (PROMPT, stack.vendor.api_key, "http://", "https://", *nonces):
        assert secret not in everything
