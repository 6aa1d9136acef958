"""What a worker refuses before it does anything."""

from __future__ import annotations

import pytest

from motionq import InvalidSettings
from motionq_worker.startup import check_pool

THREADS, SOLO = "celery.concurrency.thread:TaskPool", "<class 'celery.concurrency.solo.TaskPool'>"
WORKER = ("celery", "-A", "motionq_worker.app", "worker")


@pytest.mark.parametrize(
    ("pool", "words"),
    [
        (SOLO, (*WORKER, "--pool", "solo")),
        (THREADS, (*WORKER, "--pool", "prefork")),
        (THREADS, (*WORKER, "--pool=prefork")),
        (THREADS, (*WORKER, "-P", "prefork", "-c", "4")),
        (THREADS, (*WORKER, "-Pprefork")),
    ],
)
def test_another_pool_is_refused(pool: str, words: tuple[str, ...]) -> None:
    """One line, also for the pool that Celery would silently not use."""
    with pytest.raises(InvalidSettings) as caught:
        check_pool(pool, words)
    assert str(caught.value) == "only the threads pool is supported: leave out --pool"


@pytest.mark.parametrize("words", [WORKER, (*WORKER, "-n", "prefork@%h"), (*WORKER, "--pool", "threads")])
def test_the_threads_pool_is_taken(words: tuple[str, ...]) -> None:
    """Named or not."""
    check_pool(THREADS, words)
