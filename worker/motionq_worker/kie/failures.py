"""Why a generation failed, and whether the same request may succeed later.

A failed generation is refunded, so trying again costs time, not money; except that a time-out may still become a
success, and buying again beside it would pay twice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum


class FailureClass(Enum):
    """What to do about a failed generation."""

    PERMANENT = "permanent"  # the inputs will fail again
    TRANSIENT = "transient"  # the same request may pass
    LOOK_AGAIN = "look_again"  # it may still turn into a success: look later, never buy beside it


@dataclass(frozen=True)
class FailureRow:
    """Failures whose code is in `codes` (empty: any) and whose message contains a match of `words`."""

    codes: frozenset[str]
    words: str
    verdict: FailureClass
    source: str
    new_upload: bool = False  # the vendor could not fetch the inputs: upload them again first

    def matches(self, code: str, message: str) -> bool:
        """Whether this row speaks about that failure."""
        return (not self.codes or code in self.codes) and re.search(self.words, message, re.IGNORECASE) is not None


def _row(
    words: str, verdict: FailureClass, source: str, *, codes: tuple[str, ...] = (), new_upload: bool = False
) -> FailureRow:
    return FailureRow(frozenset(codes), words, verdict, source, new_upload)


_P, _T, _L = FailureClass.PERMANENT, FailureClass.TRANSIENT, FailureClass.LOOK_AGAIN

# The first row that matches decides. Words come before bare codes: the vendor reuses 400, 422 and 500 freely.
FAILURES: tuple[FailureRow, ...] = (
    _row("", _L, "6 clients: the vendor's own limit of about 20 min; 2 saw it flip to success", codes=("524",)),
    _row(r"generate task time-?out|task timed? ?-?out", _L, "the words of 524, in case the code differs"),
    _row(r"media file is unavailable", _T, "2 clients: the worker could not fetch an address", new_upload=True),
    _row(r"no valid characters? detected", _P, "4 clients, once 5 of 5: the driving video shows nobody"),
    _row(r"no complete upper body|upper body", _P, "5 clients of the same model at other sellers"),
    _row(r"image recognition failed|reference image.*invalid", _P, "5 clients of the same model at other sellers"),
    _row(r"file type not supported", _P, "1 client"),
    _row(r"content_policy|content policy", _P, "3 clients"),
    _row(r"current content could not be processed|safety", _P, "3 clients"),
    _row(r"copyright", _P, "1 client, under code 500"),
    _row(r"internal error|server is busy|try again later", _T, "4 clients: passes on repetition, refunded"),
    _row("", _T, "the vendor's documents list these as its own errors", codes=("500", "501", "502", "503", "504")),
)
_DEFAULT = FailureRow(frozenset(), "", _P, "nothing known: the same inputs are taken to fail again")


def failure_row(fail_code: str | None, message: str | None) -> FailureRow:
    """The row of `FAILURES` that speaks about this failure; an unknown one is permanent."""
    code, words = (fail_code or "").strip(), message or ""
    return next((row for row in FAILURES if row.matches(code, words)), _DEFAULT)
