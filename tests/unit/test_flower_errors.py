"""What a step's failure tells Flower, where nothing is redacted any more."""

from __future__ import annotations

import logging
import traceback
from types import SimpleNamespace
from typing import Any

import pytest
from celery.exceptions import Retry

from motionq.contract.errors import JobFailed
from motionq_worker import tasks
from motionq_worker.execution import Later

JOB = "01jc3x5k2mzq8v7w6t4r9s0abc"
SIGNED = "https://bucket.example/a.mp4?X-Amz-Signature=5ecret5ignature"


def ends(error: Exception) -> BaseException:
    """What leaves a step that dealt with a library's error and then raised `error`."""
    services = SimpleNamespace(meter=SimpleNamespace(add=lambda *_: None))
    request = SimpleNamespace(id=f"{JOB}.upload.1", hostname="w1@host")
    task: Any = SimpleNamespace(
        request=request, app=SimpleNamespace(motionq_clock=None, motionq_services=lambda: services)
    )

    def step(*_: object) -> str:
        try:
            raise ConnectionError(f"Max retries exceeded with url: {SIGNED}")
        except ConnectionError:
            raise error  # noqa: B904 (as it happens)

    with pytest.raises((JobFailed, Retry, tasks.Defect)) as left:
        tasks._run(task, JOB, step)
    return left.value


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (JobFailed(f"{JOB}: fetch_failed: no answer"), JobFailed, f"{JOB}: fetch_failed: no answer"),
        (Later("no answer: again in 2 s"), Retry, "no answer: again in 2 s"),
        (KeyError(SIGNED), tasks.Defect, f"{JOB}: KeyError in upload, see the worker's log"),
    ],
)
def test_the_errors_behind_a_failure_are_not_told(
    error: Exception, kind: type[Exception], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A row's exception and traceback say why in our words; a library's words, with a signed address, stay out."""
    with caplog.at_level(logging.CRITICAL):
        left = ends(error)
    assert type(left) is kind
    assert words in str(left)
    assert "5ecret5ignature" not in "".join(traceback.format_exception(left))
