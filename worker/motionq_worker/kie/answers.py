"""What an answer means: pure functions over (HTTP status, body).

The vendor says nearly everything under HTTP 200 and means the `code` in the body; real HTTP errors and pages of the
network in front of it remain possible. So the code decides wherever there is an envelope, the status only without one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from motionq_worker.kie.errors import (
    CallRefused,
    KeyRefused,
    KieFault,
    RateLimited,
    Refusal,
    Refused,
    Unavailable,
    Unknown,
)
from motionq_worker.kie.messages import (
    Envelope,
    Phase,
    Reading,
    parse_envelope,
    parse_object,
    parse_reading,
    says_not_visible,
    task_id_in,
    task_id_in_fragment,
)
from motionq_worker.kie.words import redact


@dataclass(frozen=True)
class TaskMade:
    """The vendor made a task and named it."""

    task_id: str


# ---- a purchase -----------------------------------------------------------------------------------------------------

# A gateway gave up waiting for what stands behind it: the work may have been done there. So as HTTP status, and as the
# code in an envelope (408 is documented: "upstream gave nothing in 10 minutes").
_GAVE_UP_WAITING = frozenset({408, 502, 504, *range(520, 531)})
_GAVE_UP_STATUS = _GAVE_UP_WAITING - {502}

_REFUSALS = {
    401: Refusal.KEY_REFUSED,
    402: Refusal.NO_CREDITS,
    403: Refusal.KEY_REFUSED,
    404: Refusal.NOT_FOUND,
    429: Refusal.RATE,
    433: Refusal.KEY_CAP,
    455: Refusal.MAINTENANCE,
    500: Refusal.SERVER_ERROR,
    501: Refusal.GENERATION_FAILED,
    505: Refusal.FEATURE_DISABLED,
}

# The same causes were seen under several codes; the words are steadier than the numbers.
_NO_CREDITS = re.compile(
    r"credits? (is |are )?(insufficient|not enough)|insufficient (credit|balance)|balance isn.?t enough", re.IGNORECASE
)
_TOO_OFTEN = re.compile(r"call frequency is too high", re.IGNORECASE)
# A bare "This field is required" under 500 went away minutes later for an identical request (a production log of 2026),
# so it counts as a server error; with a field's name in front, or under another code, it is about the request.
_ABOUT_A_FIELD = re.compile(
    r"(?<!this field) is required|is not within the range|must be within the specified range"
    r"|cannot exceed the maximum|is not supported|missing required",
    re.IGNORECASE,
)


def purchase_answer(
    status: int | None, body: bytes, *, problem: str = "", secrets: Iterable[str] = ()
) -> TaskMade | Refused | Unknown:
    """What the answer to createTask means; never raises, whatever the bytes.

    `status` is None when no status line came. `problem` says why reading stopped early ("" = the answer is whole): of a
    broken answer only a task ID counts. A task ID in hand is never dropped, whatever code or status stands beside it.
    """
    found = parse_object(body)
    if found is not None and (task_id := task_id_in(found)):
        return TaskMade(task_id)
    envelope = None if problem else parse_envelope(body)
    refusal = envelope and _refusal(status, envelope)
    if envelope and refusal:
        return Refused(redact(envelope.msg, secrets), code=envelope.code, refusal=refusal)
    code = envelope.code if envelope else status
    return Unknown(problem or _unclear(status, envelope, body, secrets), code=code, candidate=task_id_in_fragment(body))


def _refusal(status: int | None, envelope: Envelope) -> Refusal | None:
    """Why no task was made, or None when the envelope does not say that clearly."""
    if status is None or 300 <= status < 400 or status in _GAVE_UP_STATUS:
        return None
    return _refusal_of(envelope.code, envelope.msg)


def _refusal_of(code: int, msg: str) -> Refusal | None:
    """The meaning of a code and its words; None for success, for time-outs, and for codes that nobody documented."""
    if code in _GAVE_UP_WAITING or not (400 <= code < 500 or code in _REFUSALS):
        return None
    if _NO_CREDITS.search(msg):
        return Refusal.NO_CREDITS
    if _TOO_OFTEN.search(msg):
        return Refusal.RATE
    if code == 500 and _ABOUT_A_FIELD.search(msg):
        return Refusal.INVALID
    return _REFUSALS.get(code, Refusal.INVALID)


# ---- a free call ----------------------------------------------------------------------------------------------------

_FREE_FAULTS: dict[Refusal, type[KieFault]] = {
    Refusal.KEY_REFUSED: KeyRefused,
    Refusal.RATE: RateLimited,
    Refusal.INVALID: CallRefused,
    Refusal.NOT_FOUND: CallRefused,
}
# Without an envelope the status is all there is. 403 and 404 pages come from a firewall or a wrong address, not from
# the vendor's judgement of the key or the task; 413 is the limit on bodies of the network in front of it.
_BARE_FAULTS: dict[int, type[KieFault]] = {401: KeyRefused, 413: CallRefused, 429: RateLimited}


def free_answer(
    status: int | None,
    body: bytes,
    *,
    problem: str = "",
    refused: type[CallRefused] = CallRefused,
    secrets: Iterable[str] = (),
) -> object:
    """The `data` of a successful free call; else raises the KieFault that the answer means.

    `refused` is the class to raise where the vendor will not accept the call as it stands.
    """
    envelope = None if problem else parse_envelope(body)
    if envelope and envelope.code == 200 and status is not None and 200 <= status < 300:
        return envelope.data
    kind = _free_fault(status, envelope)
    words = redact(envelope.msg, secrets) if envelope else problem or _unclear(status, envelope, body, secrets)
    raise (refused if kind is CallRefused else kind)(words, code=envelope.code if envelope else status)


def _free_fault(status: int | None, envelope: Envelope | None) -> type[KieFault]:
    if envelope is None:
        return _BARE_FAULTS.get(status or 0, Unavailable)
    refusal = _refusal_of(envelope.code, envelope.msg)
    return _FREE_FAULTS.get(refusal, Unavailable) if refusal else Unavailable


def record_answer(
    status: int | None,
    body: bytes,
    task_id: str,
    *,
    problem: str = "",
    secrets: Iterable[str] = (),
    whole: bool = True,
) -> Reading:
    """The reading of one task; raises a KieFault when the answer is not one. `whole`: see `parse_reading`.

    "recordInfo is null" is a reading too (NOT_VISIBLE). A record with a state that names this task counts whatever the
    envelope's code is: the vendor's callbacks carry 501 beside a failed task.
    """
    envelope = None if problem else parse_envelope(body)
    if envelope and isinstance(envelope.data, dict) and (envelope.code == 200 or "state" in envelope.data):
        if reading := parse_reading(envelope.data, task_id, whole=whole):
            return reading
        raise Unavailable("the answer is about another task", code=envelope.code)
    if envelope and says_not_visible(envelope):
        return Reading(task_id=task_id, state="", phase=Phase.NOT_VISIBLE)
    free_answer(status, body, problem=problem, secrets=secrets)
    raise Unavailable("the answer holds no record", code=status)


def _unclear(status: int | None, envelope: Envelope | None, body: bytes, secrets: Iterable[str]) -> str:
    """Words for an answer that says nothing usable; a page's text is left out."""
    if envelope:
        return redact(envelope.msg, secrets)
    if status is None:
        return "no answer"
    return f"HTTP {status} with {len(body)} bytes that are not an answer of the vendor's"
