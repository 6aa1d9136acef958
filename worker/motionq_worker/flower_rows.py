"""Flower's configuration file for motionq: a row's result says what happened, in plain words.

Flower executes this file and takes from it what is named like one of its options (flower 2.2, `format_task`); it is
handed a copy of a row just before that is shown.
"""

from __future__ import annotations

import ast
import re
from typing import Any

_REPR = re.compile(r"(?s)(?:Retry\(Retry\(\.\.\.\), )?\w+\((['\"].*['\"])\)(?:, None\))?")  # of an error with one text
_JOB = re.compile(r"^[0-9a-z]{26}: ")  # the row's ID says so already


def format_task(task: Any) -> Any:
    """The row with its result in plain words; of a row that failed or is tried again, the reason."""
    if task.state in ("FAILURE", "RETRY"):
        task.result = _JOB.sub("", _words(task.exception))
    elif task.result:
        task.result = _words(task.result)
    return task


def _words(shown: str | None) -> str:
    """The text inside a repr; whatever else it is stays as it is."""
    text = shown or ""
    inner = _REPR.fullmatch(text)
    try:
        found = ast.literal_eval(inner[1] if inner else text)
    except (ValueError, SyntaxError):
        return text
    if isinstance(found, dict) and found.keys() == {"done", "looked", "still"}:
        done = ", ".join(found["done"]) or "none"
        return f"looked at {found['looked']}, {found['still']} still running, done: {done}"
    return found if isinstance(found, str) else text
