"""When to look at something next: pure functions of ages in seconds."""

from __future__ import annotations

_FIRST, _SHORTEST, _LONGEST = 4.0, 3.0, 900.0  # seconds
_SHARE = 0.12  # a video is found at most this share of its age late


def next_look(age: float) -> float:
    """Seconds until a running task that is `age` seconds old is looked at again: thinning out to 15 minutes."""
    if age < _FIRST:
        return _FIRST - age
    return min(max(_SHORTEST, age * _SHARE), _LONGEST)


def retry_in(tries: int) -> float:
    """Seconds until a free step is tried again after `tries` failures: 2 s, doubling, up to 5 minutes."""
    return float(min(2.0 * 2.0 ** max(0, tries), 300.0))
