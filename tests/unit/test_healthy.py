"""What a worker's health check says of its ticks, and of an address."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from motionq_worker import healthy
from support.wire import http, says, servers

NOW = 1_000_000.0


@pytest.mark.parametrize(
    ("ticks", "fault"),
    [
        ({}, "no worker runs here"),
        ({7: NOW - 1}, None),
        ({7: NOW - healthy.OLD}, None),
        ({7: NOW - healthy.OLD - 1}, "the last tick of the worker with process ID 7 is 61 s old"),
        ({7: None}, "the worker with process ID 7 has not ticked yet"),
        ({7: NOW, 8: NOW - 100}, "the last tick of the worker with process ID 8 is 100 s old"),
    ],
)
def test_a_worker_is_healthy_while_it_ticks(ticks: dict[int, float | None], fault: str | None) -> None:
    """Every worker that lives must have ticked in the last minute, and there must be one."""
    assert healthy.verdict(ticks, NOW) == fault


def test_the_check_is_small(tmp_path: Path) -> None:
    """The check runs every few seconds in every container: it imports none of our libraries."""
    script = "import sys; from motionq_worker import healthy; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, timeout=30)

    assert {"celery", "redis", "pydantic", "motionq"} & {name.partition(".")[0] for name in run.stdout.split()} == set()


def test_an_answer_without_the_words_is_a_fault(capsys: pytest.CaptureFixture[str]) -> None:
    """An exporter that answers and has no figures is not well: the check can ask for a line of the answer."""
    with servers() as start:
        url = start(says(http(b"motionq_up 0.0\n"))).url
        assert healthy.main([url, "motionq_up"]) == 0
        assert healthy.main([url, "motionq_up 1.0"]) == 1
    assert capsys.readouterr().err == f"motionq: {url} answers, and does not say `motionq_up 1.0`\n"


def test_an_address_that_does_not_answer_is_a_fault(capsys: pytest.CaptureFixture[str]) -> None:
    """Where nobody listens the check fails with one line."""
    assert healthy.main(["http://127.0.0.1:1/healthz"]) == 1
    assert capsys.readouterr().err.startswith("motionq: http://127.0.0.1:1/healthz does not answer: ")
