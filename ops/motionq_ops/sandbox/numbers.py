"""What counts as a number: JSON as Python reads it has NaN and Infinity too, and true and false are whole numbers."""

from __future__ import annotations

import json
import math
from typing import Any, TypeGuard


def is_number(value: Any) -> TypeGuard[int | float]:
    """Return whether it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond what a float holds
        return False


def is_whole(value: Any) -> TypeGuard[int]:
    """Return whether it is a whole number."""
    return not isinstance(value, bool) and isinstance(value, int)


def read_text(text: str | bytes) -> Any:
    """Return what the JSON says. Raises ValueError for what is none: the word NaN, a number beyond all bounds."""
    try:
        return json.loads(text, parse_constant=_refused, parse_float=_finite)
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def _refused(word: str) -> float:
    raise ValueError(f"{word} is no number")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refused(text)
