"""Jobs by state and tenant: the scripts count them with each move (contract/lua/lib.lua), so no record is read here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from motionq.contract.keys import SPAN

Counts = Mapping[str, Mapping[str, int]]  # state → tenant → how many

UNKNOWN = "(unknown)"  # whose job has no record; no tenant's name can hold brackets
_HOUR = 3_600_000  # ms


def spans(now: int) -> range:
    """The spans in which an end of the last hour is counted: the one of now, and all that the hour touches."""
    return range((now - _HOUR) // SPAN, now // SPAN + 1)


def counts(hashes: Iterable[Mapping[str, str]], states: Iterable[str]) -> Counts:
    """The sums of hashes of `<state> <tenant>` → how many; states of another version are left out."""
    found: dict[str, Counter[str]] = {state: Counter() for state in states}
    for fields in hashes:
        for name, value in fields.items():
            state, _, tenant = name.partition(" ")
            if state in found:
                found[state][tenant or UNKNOWN] += int(value)
    return found
