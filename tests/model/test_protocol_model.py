"""The purchase protocol, searched through: every order of messages, answers, crashes, losses, callbacks and people.

`explore.py` runs longer searches; `test_model_conformance.py` ties the model's scripts to the Lua.
"""

from __future__ import annotations

import pytest

from model.runs import MUTATIONS, RUNS
from model.search import search

# States of each search, rounded down: a search that has become much smaller looks at less than it says.
AT_LEAST = {
    "no fault, from the upload on": 1,
}


@pytest.mark.parametrize("name", RUNS)
def test_nothing_goes_wrong_in_any_order(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No reachable world breaks a promise, and each has a fair way to an end; the search is complete, and not empty."""
    found = search(RUNS[name])
    with capsys.disabled():
        print(f"\n{name}: {found.states:,} states", end="")
    assert found.wrong is None, "\n".join([str(found.wrong), *found.steps()])
    assert found.complete
    assert found.states >= AT_LEAST[name]


@pytest.mark.parametrize("name", MUTATIONS)
def test_every_rule_is_needed(name: str) -> None:
    """Without this rule a promise is broken: the searches see what it protects from."""
    mutation = MUTATIONS[name]
    found = mutation.search()
    assert found.wrong is not None
    assert mutation.finds in found.wrong
