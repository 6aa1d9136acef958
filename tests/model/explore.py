"""Searches the protocol from the command line, with more patience than a test has.

    python tests/model/explore.py runs [WORDS …]        every search, the long ones too, with their state counts
    python tests/model/explore.py mutations [WORDS …]   each rule taken away, with the shortest trace to what goes wrong

WORDS: only searches whose name has one of them. The status is 1 if anything is not as it must be.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from model.runs import LONG_RUNS, MUTATIONS, RUNS
from model.search import search

PATIENCE = 3600.0  # seconds for one search


def runs(wanted: Sequence[str]) -> bool:
    """Every search: each must be complete, and find nothing. Prints a row of a table for each."""
    print("| search | states | seconds | |\n|---|---:|---:|---|")
    fine, states = True, 0
    for name, model in {**{name: run.model for name, run in RUNS.items()}, **LONG_RUNS}.items():
        if not _is_wanted(name, wanted):
            continue
        began = time.monotonic()
        found = search(model, PATIENCE)
        as_promised = found.complete and found.wrong is None
        said = "all holds" if as_promised else found.wrong or "not complete"
        print(f"| {name} | {found.states:,} | {time.monotonic() - began:.0f} | {said} |", *found.steps(), sep="\n")
        fine, states = fine and as_promised, states + found.states
    print(f"| together | {states:,} | | |")
    return fine


def mutations(wanted: Sequence[str]) -> bool:
    """Each rule taken away: each search must find what it is said to find. Prints the trace."""
    fine = True
    for name, mutation in MUTATIONS.items():
        if not _is_wanted(name, wanted):
            continue
        found = mutation.search()
        shown = found.wrong is not None and mutation.finds in found.wrong
        print(f"{name}: {found.wrong or 'nothing'} ({found.states:,} states)", *found.steps(), sep="\n")
        fine = fine and shown
    return fine


def _is_wanted(name: str, words: Sequence[str]) -> bool:
    return not words or any(word in name for word in words)


def main(arguments: Sequence[str]) -> int:
    """The command line; returns the status."""
    kinds = {"runs": runs, "mutations": mutations}
    if not arguments or arguments[0] not in kinds:
        print(__doc__)
        return 2
    return 0 if kinds[arguments[0]](arguments[1:]) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
