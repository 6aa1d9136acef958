"""Waiting on a condition with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(predicate: Callable[[], T], timeout: float = 10.0, interval: float = 0.015) -> T:
    """Ask ``predicate`` again and again until its answer is true, and return that answer; times in seconds.

    Raises AssertionError with the last answer when ``timeout`` has passed. Errors of the predicate are not caught.
    """
    deadline = time.monotonic() + timeout
    while True:
        answer = predicate()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not so within {timeout:g} s; the last answer was {answer!r}")
        time.sleep(interval)
