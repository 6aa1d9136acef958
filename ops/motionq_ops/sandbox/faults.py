"""Faults by name: the table of them, and what each does to an answer. Values in, values out; no socket is touched."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from motionq_ops.sandbox.answers import MESSAGES, Answer, envelope, html, refusal, to_json

API_CALLS = ("createTask", "recordInfo", "credit", "upload", "downloadUrl")
HTTP_CALLS = (*API_CALLS, "result", "uploadedFile")
CALLS = (*HTTP_CALLS, "generation", "callback")
MATCHES = ("model", "mode", "prompt", "callBackUrl", "taskId", "fileName", "url")


@dataclass(frozen=True, slots=True)
class Fault:
    """One named fault: where it can happen, its options with their defaults, and what it does."""

    name: str
    calls: tuple[str, ...]
    text: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rule:
    """An order for faults. ``times`` None = always; ``skip`` requests that fit pass unharmed first."""

    call: str
    fault: str
    times: int | None = 1
    skip: int = 0
    match: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def fits(self, call: str, facts: Mapping[str, str]) -> bool:
        """Return whether the request is meant: same call, and each match is a part of that fact."""
        return call == self.call and all(part in facts.get(name, "") for name, part in self.match.items())


def _faults() -> Iterator[Fault]:
    lost = {"made": False}
    yield Fault("drop_before", HTTP_CALLS, "nothing is done; the connection is closed without an answer")
    yield Fault("drop_after", HTTP_CALLS, "everything is done (the task is made); closed without an answer")
    yield Fault("reset", HTTP_CALLS, "TCP reset instead of an answer", lost)
    yield Fault("hang", HTTP_CALLS, "no answer until the client gives up", lost)
    yield Fault("slow", HTTP_CALLS, "everything is done, the answer comes late (wall-clock seconds)", {"seconds": 5.0})
    yield Fault("cut_json", HTTP_CALLS, "everything is done; half of the answer, then the connection is closed")
    yield Fault("garbage", HTTP_CALLS, "everything is done; HTTP 200 with a body that is not JSON", {"made": True})
    for status, title in _PAGES.items():
        yield Fault(f"html_{status}", HTTP_CALLS, f"HTTP {status}, an HTML page: {title}", lost)
    yield Fault("http_500_empty", HTTP_CALLS, "HTTP 500 without a body", lost)
    for status in _HTTP_ENVELOPES:
        yield Fault(f"http_{status}", HTTP_CALLS, f"true HTTP {status} with the vendor's envelope", lost)
    for status in (408, 524):
        yield Fault(f"http_{status}", HTTP_CALLS, f"HTTP {status} without an envelope: {_BARE[status]}", lost)
    for status in (301, 302, 303, 307, 308):
        yield Fault(
            f"redirect_{status}",
            HTTP_CALLS,
            f"nothing is done; HTTP {status} to the same address: whoever follows sends again",
        )
    for code in MESSAGES:
        yield Fault(f"code_{code}", API_CALLS, f"nothing is done; HTTP 200, code {code}", {"msg": None})
    create = ("createTask",)
    yield Fault("credits_500", create, "nothing is done; the no-credits text under code 500 (seen once)")
    yield Fault("lie_500", create, "the task is made; HTTP 200, code 500 all the same")
    yield Fault("no_task_id", create, "the task is made; code 200 with data null")
    yield Fault("task_bound_elsewhere", create, "no task is made; answers the ID of the account's previous task")
    yield Fault("null_record", ("recordInfo",), "code 422, recordInfo is null, though the task exists")
    yield Fault("strange_state", ("recordInfo",), "a state nobody documents", {"state": "paused"})
    yield Fault("upload_lost", ("upload",), "a normal answer, but the file is gone: tasks that use it fail with 422")
    yield from _generation_faults()
    yield from _callback_faults()
    files = ("result", "uploadedFile")
    yield Fault("result_404", files, "HTTP 404")
    yield Fault("result_403", files, "HTTP 403")
    yield Fault("result_cut", files, "HTTP 200, complete as a transfer, but only half of the file")
    yield Fault("result_html", files, "HTTP 200 with an HTML page")
    yield Fault("result_empty", files, "HTTP 200 with no bytes")


def _generation_faults() -> Iterator[Fault]:
    made = ("generation", "createTask")
    yield Fault(
        "fail_generation",
        made,
        "the task fails with this failCode and failMsg and is refunded",
        {"code": 500, "msg": "Internal Error, Please try again later.", "seconds": None},
    )
    yield Fault("fail_524", made, "the task fails with 524 when the vendor's limit is reached")
    yield Fault("fail_524_flip", made, "as fail_524, and 60 s later it is a success after all (and charged again)")
    yield Fault("silent", made, "the task stays in waiting for ever")
    yield Fault("duration", made, "the generation takes exactly so long (simulated seconds)", {"seconds": 60.0})


def _callback_faults() -> Iterator[Fault]:
    made = ("callback",)
    yield Fault("callback_duplicate", made, "sent so many times", {"copies": 2})
    yield Fault("callback_late", made, "sent so many simulated seconds after the end", {"seconds": 60.0})
    yield Fault("callback_early", made, "one more, sent before createTask is answered, as if the task had ended")
    yield Fault("callback_never", made, "none at the end of the task")
    yield Fault("callback_alternate", made, "the other documented shape: {taskId, code, msg, data: {task_id, …}}")
    yield Fault("callback_forged", made, "signed with a wrong key (a signature is there even when no key is set)")
    yield Fault("callback_unsigned", made, "without signature headers though a key is set")
    yield Fault("callback_crossed", made, "to this task's address, but genuinely about the account's previous task")


_PAGES = {502: "502 Bad Gateway", 503: "503 Service Temporarily Unavailable"}
_BARE = {408: "408 Request Timeout", 524: "524: A timeout occurred"}
_HTTP_ENVELOPES = (400, 401, 402, 403, 404, 422, 429, 433, 455, 500, 501, 502, 503, 505)
FAULTS: Mapping[str, Fault] = {fault.name: fault for fault in _faults()}
_DONE_FIRST = (
    "drop_after",
    "slow",
    "cut_json",
    "garbage",
    "lie_500",
    "no_task_id",
    "upload_lost",
    "strange_state",
    "result_cut",
)


def does_the_work(rule: Rule) -> bool:
    """Return whether the request is carried out (the task made, the file stored) before the fault strikes."""
    return rule.fault in _DONE_FIRST or bool(rule.options.get("made"))


def spoil(rule: Rule, genuine: Answer, address: str) -> Answer:
    """Return what the client gets. ``genuine`` is the true answer, or an empty one if the work was not done;
    ``address`` is the request's own URL, for redirects."""
    name = rule.fault
    spoiler = _SPOILERS.get(name)
    if spoiler is not None:
        return spoiler(rule, genuine)
    family, _, number = name.rpartition("_")
    if family == "redirect":
        return Answer(status=int(number), headers={"Location": address}, code=int(number))
    if family == "html":
        return html(int(number), _PAGES[int(number)])
    if family == "http":
        return _true_status(int(number))
    return refusal(int(number), rule.options.get("msg"))


def _true_status(status: int) -> Answer:
    if status in _BARE:
        return html(status, _BARE[status])
    return refusal(status, MESSAGES.get(status) or f"HTTP {status}", status=status)


def _ending(ending: str) -> Callable[[Rule, Answer], Answer]:
    return lambda rule, genuine: dataclasses.replace(genuine, ending=ending)


def _half(genuine: Answer) -> Answer:
    whole = genuine.content()
    return dataclasses.replace(genuine, body=whole[: len(whole) // 2], path=None)


_SPOILERS: Mapping[str, Callable[[Rule, Answer], Answer]] = {
    "drop_before": _ending("drop"),
    "drop_after": _ending("drop"),
    "reset": _ending("reset"),
    "hang": _ending("hang"),
    "cut_json": _ending("cut"),
    "slow": lambda rule, genuine: dataclasses.replace(genuine, delay=float(rule.options["seconds"])),
    "garbage": lambda rule, genuine: Answer(body=b"upstream connect error", content_type="text/plain"),
    "http_500_empty": lambda rule, genuine: Answer(status=500, code=500),
    "credits_500": lambda rule, genuine: refusal(500, MESSAGES[402]),
    "lie_500": lambda rule, genuine: refusal(500),
    "no_task_id": lambda rule, genuine: envelope(200, "success"),
    "upload_lost": lambda rule, genuine: genuine,
    "strange_state": lambda rule, genuine: dataclasses.replace(
        genuine, body=_with_state(genuine.body, str(rule.options["state"]))
    ),
    "null_record": lambda rule, genuine: envelope(422, "recordInfo is null"),
    "result_404": lambda rule, genuine: html(404, "404 Not Found"),
    "result_403": lambda rule, genuine: html(403, "403 Forbidden"),
    "result_html": lambda rule, genuine: dataclasses.replace(html(200, "Just a moment"), code=200),
    "result_empty": lambda rule, genuine: Answer(content_type="video/mp4", code=200),
    "result_cut": lambda rule, genuine: _half(genuine),
}


def _with_state(body: bytes, state: str) -> bytes:
    return re.sub(rb'"state":"[a-z]+"', b'"state":' + to_json(state), body, count=1)
