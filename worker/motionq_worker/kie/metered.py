"""Each call to the vendor is counted, whatever comes of it; counting never changes what does."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from motionq_worker.kie.errors import (
    CallRefused,
    KeyRefused,
    KieFault,
    NotSent,
    RateLimited,
    Refused,
    SourceBroken,
    Unavailable,
    Unknown,
    UploadRefused,
)
from motionq_worker.metering import Meter

CALLS = ("connect", "create_task", "record_info", "upload", "credits")
OUTCOMES: Mapping[type[KieFault], str] = {
    NotSent: "not_sent",
    Refused: "refused",
    Unknown: "unknown",
    Unavailable: "unavailable",
    RateLimited: "rate_limited",
    KeyRefused: "key_refused",
    CallRefused: "call_refused",
    UploadRefused: "file_refused",
}


def outcome_of(answer: object) -> tuple[str, int | None]:
    """The word and the code under which an answer is counted."""
    return (OUTCOMES.get(type(answer), "fault"), answer.code) if isinstance(answer, KieFault) else ("ok", 200)


@contextmanager
def metered(meter: Meter, call: str) -> Iterator[None]:
    """Counts the call made inside the `with`. What is not the vendor's (a broken file, a lost claim) is not counted."""
    began = time.monotonic()

    def count(outcome: str, code: int | None) -> None:
        with contextlib.suppress(Exception):  # a task ID may be on its way to the caller
            meter.answered(call, outcome, code, time.monotonic() - began)

    try:
        yield
    except SourceBroken:
        raise
    except KieFault as fault:
        count(*outcome_of(fault))
        raise
    else:
        count("ok", 200)
