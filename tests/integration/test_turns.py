"""The workers' turns at the clock: one of them ticks at a time, and what a step hands on need not wait."""

from __future__ import annotations

from typing import Any

import pytest

from support.life import Life

TURN, SOON, GAP = 10_000, 5_000, 1_000  # ms; far apart, so that no machine is too slow
NO, YES, EARLY = 0, 1, 2

pytestmark = pytest.mark.redis_server


def ask(lived: Life, worker: str, *, woken: bool = False, again: bool = False) -> int:
    """Whether it is this worker's turn."""
    asked: dict[str, Any] = {"worker": worker, "turn": TURN, "silent": 30_000, "gap": GAP}
    asked |= {"again": again or None, "soon": SOON if woken else None}
    return int(lived.store.scripts.run("tick", asked)[0])


def age(lived: Life, milliseconds: int) -> None:
    """The last turn began so long ago."""
    lived.redis.pexpire(lived.keys.tick, TURN - milliseconds)


def test_one_worker_ticks_in_a_turn(lived: Life) -> None:
    """Of many workers one ticks until the turn is over, whoever asks how often; all of them are seen alive."""
    assert [ask(lived, f"w{n}") for n in range(10)] == [YES] + [NO] * 9
    assert [ask(lived, f"w{n}") for n in range(10)] == [NO] * 10
    lived.redis.delete(lived.keys.tick)  # as its TTL does
    assert [ask(lived, "w7"), ask(lived, "w0")] == [YES, NO]
    assert lived.redis.zcard(lived.keys.workers) == 10


def test_what_a_step_hands_on_is_taken_up_at_once(lived: Life) -> None:
    """A worker to which something has happened ticks early, whose turn it may be; only a moment lies between."""
    assert ask(lived, "w1") == YES
    assert ask(lived, "w2", woken=True) == NO
    age(lived, GAP)
    assert ask(lived, "w2") == NO
    assert ask(lived, "w2", woken=True) == EARLY


def test_a_crowd_of_steps_does_not_make_the_clock_race(lived: Life) -> None:
    """After an early turn the next woken one keeps its distance, of any worker; then one may be early again."""
    ask(lived, "w1")
    age(lived, GAP)
    assert ask(lived, "w1", woken=True) == EARLY
    age(lived, SOON - 500)
    assert [ask(lived, "w1", woken=True), ask(lived, "w2", woken=True)] == [NO, NO]
    age(lived, SOON)
    assert ask(lived, "w2", woken=True) == YES
    age(lived, GAP)
    assert ask(lived, "w1", woken=True) == EARLY


def test_a_worker_that_found_much_goes_on(lived: Life) -> None:
    """Its own turn need not be over, early or not; that of another has to be."""
    ask(lived, "w1")
    age(lived, GAP)
    assert ask(lived, "w1", woken=True) == EARLY
    assert ask(lived, "w2", again=True) == NO
    assert ask(lived, "w1", again=True) == YES
