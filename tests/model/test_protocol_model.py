"""The purchase protocol, searched through: every order of messages, answers, crashes, losses, callbacks and people.

`explore.py` runs longer searches; `test_model_conformance.py` ties the model's scripts to the Lua.
"""

from __future__ import annotations

import functools

import pytest

from model.runs import MUTATIONS, RUNS
from model.search import Found, search
from motionq.contract.states import MOVES

# They are tables of admit.lua and send.lua; or they only set an alarm, and here alarms may ring at any time.
NOT_CALLED = {"admit", "send", "renew", "keep_waiting"}


@functools.cache
def searched(name: str) -> Found:
    """A search, once for all tests."""
    return search(RUNS[name].model)


@pytest.mark.parametrize("name", RUNS)
def test_nothing_goes_wrong_in_any_order(name: str) -> None:
    """No reachable world breaks a promise, and each has a fair way to an end; the search is complete, and not empty."""
    found = searched(name)
    print(f"{name}: {found.states:,} states")  # pytest -s, or -rP
    assert found.wrong is None, "\n".join([str(found.wrong), *found.steps()])
    assert found.complete
    assert found.states >= RUNS[name].at_least


def test_every_move_of_the_table_is_met() -> None:
    """Each move that move.lua is ever called with leads somewhere in one of the searches: none is taken on trust."""
    met = {move for name in RUNS if searched(name) for move in RUNS[name].model.moves_met()}
    assert met == set(MOVES) - NOT_CALLED


@pytest.mark.parametrize("name", MUTATIONS)
def test_every_rule_is_needed(name: str) -> None:
    """Without this rule a promise is broken: the searches see what it protects from."""
    found = MUTATIONS[name].search()
    assert found.wrong is not None
    assert MUTATIONS[name].finds in found.wrong
