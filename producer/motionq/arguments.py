"""Arguments of the library's methods that are of a wrong type: one sentence that names the argument."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping


def text(name: str, value: object) -> str:
    """Raises TypeError for anything but text."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: must be text, not {_kind(value)}")
    return value


def texts(name: str, values: object) -> list[str]:
    """Several texts; one text alone is refused, since its letters would be taken. Raises TypeError."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise TypeError(f"{name}: must be several texts (a list), not {_kind(values)}")
    return [text(name, value) for value in values]


def patience(name: str, value: object) -> float | None:
    """Seconds, or None for no limit. Raises TypeError, ValueError."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}: must be a number of seconds or None, not {_kind(value)}")
    if math.isnan(value) or value < 0:
        raise ValueError(f"{name}: must not be less than 0, and {value} is")
    return float(value)


def whole(name: str, value: object) -> int | None:
    """How many, at least one, or None for all. Raises TypeError, ValueError."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: must be a whole number or None, not {_kind(value)}")
    if value < 1:
        raise ValueError(f"{name}: must be 1 or more, and {value} is not")
    return value


def pairs(name: str, value: object) -> Mapping[str, str]:
    """Names and values; None counts as none. Raises TypeError."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"{name}: must map names to values, not be {_kind(value)}")
    return value


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__
