"""Waking a worker from an event loop."""

from __future__ import annotations

import threading

import pytest

from motionq_worker.waker import Waker
from support.waiting import eventually


def test_wishes_while_one_is_sent_count_as_one_more() -> None:
    """A thousand wishes are two messages: the one under way, and one after it that has seen them all."""
    entered, go_on, sent = threading.Event(), threading.Event(), []

    def send() -> None:
        sent.append(None)
        entered.set()
        assert go_on.wait(5)

    waker = Waker(send)
    waker.wake()
    assert entered.wait(5)
    for _ in range(1000):
        waker.wake()
    go_on.set()
    eventually(lambda: len(sent) == 2)
    waker.close()
    assert len(sent) == 2


def test_a_failure_does_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever goes wrong is logged without its words, and the next wish is tried again."""
    tries: list[None] = []

    def send() -> None:
        tries.append(None)
        raise RuntimeError("an address with a password")

    waker = Waker(send)
    waker.wake()
    eventually(lambda: len(tries) == 1)
    waker.wake()
    eventually(lambda: len(tries) == 2)
    waker.close()
    assert "no worker could be woken: RuntimeError" in caplog.text
    assert "password" not in caplog.text


def test_it_ends_with_its_owner() -> None:
    """After `close` the connections are given back, also when nobody ever wished for anything."""
    ended: list[None] = []
    Waker(lambda: None, lambda: ended.append(None)).close()
    assert len(ended) == 1
