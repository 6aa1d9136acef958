"""What is said to kie.ai and what its answers say: strict where money hangs on it, lenient where the vendor varies.

Strict: the envelope `{code, msg}`, a task ID, the state. Lenient: everything else may be missing, null, once or twice
encoded. Nothing here raises on any bytes: what can't be read is None.

Sources: recorded traffic of 2026 (36 createTask, 595 recordInfo), the vendor's skill page of September 2026, and its
older pages, which are wrong in places (costTime is seconds, not ms; a task ID is 32 hex digits, not `task_…`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from motionq_worker.kie.words import redact, storable

Json = Mapping[str, object]

# A task ID is opaque: any printable ASCII token. 32 hex digits were seen in all recordings.
_TASK_ID = re.compile(r"[\x21-\x7e]{1,200}")
_TASK_ID_IN_FRAGMENT = re.compile(rb'"(?:taskId|task_id|recordId)"\s*:\s*"([A-Za-z0-9_.:-]{8,200})"')
_NO_SUCH_RECORD = "recordinfo is null"
_DECODER = json.JSONDecoder(parse_constant=lambda _: None)  # json.loads would make a new one each time


# ---- requests -------------------------------------------------------------------------------------------------------


def create_task_body(
    *,
    model: str,
    image_url: str,
    video_url: str,
    prompt: str | None,
    mode: str,
    orientation: str,
    callback_url: str | None,
) -> dict[str, object]:
    """Exactly the vendor's fields: it ignores unknown ones silently and charges all the same."""
    media: dict[str, object] = {"input_urls": [image_url], "video_urls": [video_url]}
    words = {} if prompt is None else {"prompt": prompt}
    callback = {} if callback_url is None else {"callBackUrl": callback_url}
    return {"model": model, **callback, "input": {**words, **media, "character_orientation": orientation, "mode": mode}}


# ---- any answer -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Envelope:
    """The vendor's `{code, msg, data}`. Errors come in it too, usually under HTTP 200."""

    code: int
    msg: str
    data: object


def parse_object(body: bytes | str) -> Json | None:
    """A JSON object, or None for anything else (HTML, a cut body, a list, nesting without end)."""
    try:
        text = body if isinstance(body, str) else body.decode(json.detect_encoding(body), "surrogatepass")
        value = _DECODER.decode(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def parse_envelope(body: bytes) -> Envelope | None:
    """The envelope, or None unless both `code` (a number) and `msg` (a string) are there."""
    found = parse_object(body)
    if found is None:
        return None
    code, msg = _integer(found.get("code")), found.get("msg")
    if code is None or not isinstance(msg, str):
        return None
    return Envelope(code, storable(msg), found.get("data"))


def task_id_in(found: Json) -> str | None:
    """The task ID of an answer or callback, wherever this vendor puts it; None when there is none."""
    data = found.get("data")
    places = [data, found] if isinstance(data, dict) else [found]
    for place in places:
        for name in ("taskId", "task_id", "recordId"):
            value = place.get(name)
            if isinstance(value, str) and _TASK_ID.fullmatch(value):
                return value
    return None


def task_id_in_fragment(body: bytes) -> str | None:
    """A complete task ID inside an answer that was cut or garbled: only a hint, to be verified."""
    match = _TASK_ID_IN_FRAGMENT.search(body)
    return match.group(1).decode("ascii") if match else None


# ---- recordInfo -----------------------------------------------------------------------------------------------------


class Phase(Enum):
    """Where a task stands, whatever the vendor calls it."""

    NOT_VISIBLE = "not_visible"  # "recordInfo is null": unknown, or made a moment ago
    RUNNING = "running"  # waiting, queuing, generating, and every word not known here
    SUCCESS = "success"
    FAIL = "fail"


@dataclass(frozen=True)
class Reading:
    """What recordInfo said about one task.

    `state` is the vendor's word in lower case ("" when it said none). Times are epoch milliseconds, `cost_seconds` is
    the vendor's costTime (seconds in 24 of 24 recordings, though documented as ms), `credits` what was charged.
    A success may come with no `result_urls`; the caller decides what that is.
    """

    task_id: str
    state: str
    phase: Phase
    model: str | None = None
    prompt: str | None = None
    mode: str | None = None
    orientation: str | None = None
    image_urls: tuple[str, ...] = ()
    video_urls: tuple[str, ...] = ()
    callback_url: str | None = None
    result_urls: tuple[str, ...] = ()
    fail_code: str | None = None
    fail_message: str | None = None
    cost_seconds: float | None = None
    created_ms: int | None = None
    completed_ms: int | None = None
    credits: float | None = None


def says_not_visible(envelope: Envelope) -> bool:
    """The vendor does not know this task, or not yet: code 422 "recordInfo is null" (recorded), 404 (documented)."""
    return envelope.code == 404 or (envelope.code != 200 and _NO_SUCH_RECORD in envelope.msg.lower())


def parse_reading(data: Json, task_id: str, *, whole: bool = True) -> Reading | None:
    """The reading in recordInfo's `data`, or None when it does not name this task.

    Without `whole` a reading of a task that still runs says only that: its echo of the request, which is encoded twice
    more, is left unread.

    The state alone decides: the vendor's own sample shows a filled resultJson beside state `waiting`.
    """
    if (data.get("taskId") or data.get("task_id")) != task_id:
        return None
    state = (_string(data.get("state")) or "").strip().lower()
    phase = {"success": Phase.SUCCESS, "fail": Phase.FAIL}.get(state, Phase.RUNNING)
    if phase is Phase.RUNNING and not whole:
        return Reading(task_id=task_id, state=state, phase=phase)
    param = _object(data.get("param"))
    asked = _object(param.get("input"))  # once encoded on the older page, twice in all recordings
    return Reading(
        task_id=task_id,
        state=state,
        phase=phase,
        model=_string(data.get("model")) or _string(param.get("model")),
        prompt=_string(asked.get("prompt")),
        mode=_string(asked.get("mode")),
        orientation=_string(asked.get("character_orientation")),
        image_urls=_strings(asked.get("input_urls")),
        video_urls=_strings(asked.get("video_urls")),
        callback_url=_string(param.get("callBackUrl")),
        result_urls=_result_urls(data),
        fail_code=_fail_code(data.get("failCode")),
        fail_message=redact(_string(data.get("failMsg")) or "") or None,
        cost_seconds=_number(data.get("costTime")),
        created_ms=_integer(data.get("createTime")),
        completed_ms=_integer(data.get("completeTime")),
        credits=_number(data.get("creditsConsumed", data.get("consumeCredits"))),
    )


def _result_urls(data: Json) -> tuple[str, ...]:
    """Addresses in resultJson (a JSON string, "" or null before the end), else in the newer `response`."""
    for name in ("resultJson", "response"):
        urls = _strings(_object(data.get(name)).get("resultUrls"))
        if found := tuple(url for url in urls if url.lower().startswith(("https://", "http://"))):
            return found
    return ()


# ---- single values --------------------------------------------------------------------------------------------------


def _object(value: object) -> Json:
    """An object, also when it comes as a JSON string; else an empty one."""
    if isinstance(value, str):
        value = parse_object(value)
    return value if isinstance(value, dict) else {}


def _string(value: object) -> str | None:
    return storable(value) if isinstance(value, str) else None


def _strings(value: object) -> tuple[str, ...]:
    """The strings of a list; a single string counts as a list of one."""
    items = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    return tuple(storable(item) for item in items if isinstance(item, str) and item)


def _number(value: object) -> float | None:
    """A finite number >= 0, also as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _integer(value: object) -> int | None:
    """A whole number >= 0 that a float holds exactly, also as text."""
    number = _number(value)
    return int(number) if number is not None and number == int(number) and number < 2**53 else None


def _fail_code(value: object) -> str | None:
    """The vendor's failCode: a string in recordings, null or "" or a number elsewhere."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    return redact(str(value)) or None
