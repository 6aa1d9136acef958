"""How values are written on the command line and in batch files. Pure; every fault is a ValueError with a sentence."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from motionq.contract.settings import seconds

_LONGEST = timedelta(days=3650)
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def duration(text: str) -> timedelta:
    """`45m`, `20s`, `2h`, `30d`, or a bare number of seconds; at most ten years."""
    try:
        return _capped(float(str(seconds(text))))
    except ValueError:
        raise ValueError(f"{text!r} is not a duration: write 20s, 45m, 2h or 30d (at most 3650d)") from None


def _capped(length: float) -> timedelta:
    if length > _LONGEST.total_seconds():
        raise ValueError
    return timedelta(seconds=length)


def moment(text: str) -> datetime | timedelta:
    """A duration, or an ISO-8601 time with its zone (`2031-05-01T12:00:00Z`)."""
    try:
        return duration(text)
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"{text!r} is neither a duration (45m, 2h) nor a time (2031-05-01T12:00:00Z)") from None
    if found.tzinfo is None:
        raise ValueError(f"{text!r} needs its time zone: write 2031-05-01T12:00:00Z or …+02:00")
    return _in_utc(found, text)


def _in_utc(found: datetime, text: str) -> datetime:
    try:
        return found.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{text!r} is out of range") from None


def labels(pairs: Iterable[str]) -> dict[str, str]:
    """`name=value` pairs; a name may be given once."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise ValueError(f"{pair!r} is not a label: write name=value")
        if name in found:
            raise ValueError(f"{name!r} is given twice")
        found[name] = value
    return found


def yes_or_no(text: str) -> bool:
    """true, yes, 1 or false, no, 0."""
    answer = _WORDS.get(text.strip().lower())
    if answer is None:
        raise ValueError(f"{text!r} is neither true nor false")
    return answer
