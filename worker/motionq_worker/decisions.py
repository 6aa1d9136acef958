"""What follows from what the vendor said: pure functions from values to a `Decision`, no I/O, no clock."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from motionq.contract import states
from motionq.contract.job import Failure
from motionq.contract.record import PurchaseLine, Record
from motionq.contract.states import Move
from motionq_worker.kie.errors import KieFault, Meaning, NotSent, Refused, Unknown
from motionq_worker.kie.failures import FailureClass, failure_row
from motionq_worker.kie.messages import Phase, Reading
from motionq_worker.schedule import next_look, retry_in

SETTLES_524 = 90_000  # ms: a task failed by time-out was seen to flip to success a minute later
SLOT_HELD = 25 * 60_000  # ms that an unknown purchase keeps its in-flight slot: the vendor's own limit is 20 minutes
REFUSALS_IN_A_ROW = 4  # a generic 500 is repeated under a new nonce, this often at most
CLOCKS_DIFFER = 300_000  # ms
ADDRESSES_FOLLOW = 300_000  # ms, from its first reading on, for which a success without addresses is looked at again
RESULTS_KEPT = 14 * 86_400_000  # ms the vendor says it keeps results


# The name of an uploaded file at the vendor (`Uploads`): the beginning of its hash, and when it was uploaded.
_UPLOADED = re.compile(r"/([0-9a-f]{16})-[0-9]{13}\.[a-z0-9]+$")

Wait = Callable[[float], float]  # the age of a task → until the next look, seconds


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The settings that decisions depend on; seconds."""

    unknown_window: float
    run_limit: float
    generation_attempts: int
    callbacks: bool


@dataclass(frozen=True, kw_only=True)
class Pause:
    """Submission stops for the whole account; how long and what opens it again stands in `pauses.POLICIES`."""

    reason: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Decision:
    """A move and what goes with it: fields of the record, fields of the purchase, the next alarm, a line of history."""

    move: Move
    set: dict[str, Any] = field(default_factory=dict)
    add: dict[str, int] = field(default_factory=dict)
    unset: tuple[str, ...] = ()
    purchase: dict[str, Any] = field(default_factory=dict)
    alarm_in: float = 0.0  # seconds
    note: str | None = None
    pause: Pause | None = None
    settled: bool = False  # the vendor gave its verdict
    spent: float = 0.0  # credits by which the vendor's price differs from the estimate
    new_upload: bool = False  # what lies at the vendor can't be used again
    quiet: bool = False  # no line of history: it happens often and says little


def span(seconds: float) -> str:
    """`24 hours`, `45 minutes`, `20 seconds`: in the largest unit that says it in a whole number."""
    unit, size = next(((u, s) for u, s in (("hours", 3600), ("minutes", 60)) if seconds % s == 0), ("seconds", 1))
    return f"{seconds / size:g} {unit}"


def failed(reason: str, message: str, *, charged: str = "no", code: str | None = None) -> dict[str, str]:
    """The field `failure` of a record."""
    failure = Failure.model_validate({"reason": reason, "message": message, "charged": charged, "code": code})
    return {"failure": failure.model_dump_json()}


def poison(record: Record, step: str) -> Decision:
    """Worker after worker has died over this job: it stops before it kills another."""
    message = f"{record.turns - 1} workers died or hung over its {step}"
    if step == "upload":
        return Decision(move=states.FAIL_UPLOAD, set=failed("poison", message), note=message)
    return Decision(move=states.BOOK_FAILURE, set=failed("delivery_failed", message, charged="yes"), note=message)


# -- createTask -----------------------------------------------------------------------------------------------------


def not_connected(fault: NotSent) -> Decision:
    """The vendor can't be reached: nothing was sent, and for a moment nobody need try."""
    pause = Pause(reason="vendor_unreachable", message=fault.message)
    return Decision(move=states.UNCONNECTED, note=str(fault), pause=pause)


def not_sent(fault: NotSent) -> Decision:
    """The right to send was taken, and then nothing was sent."""
    pause = Pause(reason="vendor_unreachable", message=fault.message)
    return Decision(move=states.NOT_SENT, add={"attempts": -1}, note=str(fault), pause=pause)


def refused(fault: Refused, record: Record) -> Decision:
    """The vendor said no and made no task."""
    why = {"refusal": fault.refusal.value}
    if fault.meaning is Meaning.PAUSE:
        pause = Pause(reason=fault.refusal.value, message=fault.message)
        return Decision(move=states.REFUSED_AGAIN, purchase=why, note=str(fault), pause=pause)
    before = sum(p.refusal == fault.refusal.value for p in record.purchases)
    if fault.meaning is Meaning.REPEATABLE and before + 1 < REFUSALS_IN_A_ROW:
        return Decision(move=states.REFUSED_LATER, purchase=why, note=str(fault), alarm_in=7.5 * retry_in(before))
    failure = failed("refused", fault.message, code=str(fault.code) if fault.code else None)
    return Decision(move=states.REFUSED, set=failure, purchase=why, note=str(fault))


def unknown(fault: Unknown, rules: Rules) -> Decision:
    """Sent, and no answer to be trusted: wait for the callback, or without one ask a person at once."""
    if not rules.callbacks:
        return give_up_unknown(str(fault))
    return Decision(move=states.UNKNOWN, note=str(fault), alarm_in=min(SLOT_HELD / 1000, rules.unknown_window))


def give_up_unknown(why: str) -> Decision:
    """Nobody can say whether a task was made; buying again needs a person's consent."""
    message = f"{why}; look for the task at kie.ai/logs before anything is bought again"
    return Decision(move=states.GIVE_UP_UNKNOWN, set=failed("submit_unknown", message, charged="unknown"), note=why)


def overdue(record: Record, now: int, rules: Rules) -> Decision | None:
    """What an alarm of submitting or submit_unknown (or cancelling without a task ID) means at `now` (ms)."""
    if record.state is states.State.SUBMITTING:
        if now < record.sent_until:
            return None
        return unknown(Unknown("the worker that sent it gave no report"), rules)
    if not rules.callbacks and record.state is states.State.SUBMIT_UNKNOWN:
        return give_up_unknown("nobody will tell whether kie.ai made a task: no callbacks are configured")
    waited = now - record.since
    if waited >= rules.unknown_window * 1000:
        return give_up_unknown(f"kie.ai named no task within {span(rules.unknown_window)}")
    if waited >= SLOT_HELD:
        return Decision(move=states.FREE_SLOT, alarm_in=rules.unknown_window - waited / 1000)
    next_moment = min(SLOT_HELD, rules.unknown_window * 1000)
    return Decision(move=states.KEEP_WAITING, alarm_in=(next_moment - waited) / 1000)


# -- recordInfo -----------------------------------------------------------------------------------------------------


def belongs(reading: Reading, record: Record, nonce: str) -> bool:
    """Whether a reading is about this purchase: our job and nonce in its callback address, else our request."""
    if reading.callback_url is not None:
        return reading.callback_url.endswith(f"/{record.id}/{nonce}")
    spec = record.spec
    asked = (
        (spec.model, reading.model),
        (spec.mode, reading.mode),
        (spec.orientation, reading.orientation),
        ((_content(record.image_url),), tuple(map(_content, reading.image_urls))),
        ((_content(record.video_url),), tuple(map(_content, reading.video_urls))),
        (_words(spec.prompt), _words(reading.prompt)),
    )
    # Only what is echoed can differ: the task ID came on our own connection, and is bound to this purchase.
    return all(ours == theirs for ours, theirs in asked if theirs)


def _content(url: str) -> str:
    """What an address is of: of a file that we uploaded, the file. It may have been uploaded again since."""
    ours = _UPLOADED.search(url)
    return ours[1] if ours else url


def _words(prompt: str | None) -> str:
    return " ".join((prompt or "").split())


def confirms(reading: Reading, record: Record, line: PurchaseLine, window: float) -> bool:
    """Whether a task that somebody named for a purchase is its own. Stricter than `belongs`: anybody may name a task.

    Without our callback address in the echo, our request and the moment must fit: `window` is how many seconds after
    the right to send was taken the vendor may have made the task (clocks may differ by five minutes).
    """
    if reading.phase is Phase.NOT_VISIBLE:
        return False
    if reading.callback_url is not None:
        return reading.callback_url.endswith(f"/{record.id}/{line.nonce}")
    if line.sent_at is None or reading.created_ms is None or not reading.image_urls:
        return False
    since = reading.created_ms - line.sent_at
    return belongs(reading, record, line.nonce) and -CLOCKS_DIFFER <= since <= window * 1000 + CLOCKS_DIFFER


def look(record: Record, reading: Reading, *, started: int, now: int, rules: Rules, wait: Wait = next_look) -> Decision:
    """What a reading means for a job that waits for its task; `started`: ms at which the reading began."""
    age = (now - record.running_since) / 1000
    counted = record.purchase.estimate if record.purchase else 0.0
    if not (belongs(reading, record, record.nonce) or vouched_for(record)):
        return _still(age, rules, wait, _now_and_then(age, "kie.ai's record of this task is about another request"))
    if reading.phase is Phase.SUCCESS:
        return _nameless(record, now, age, rules) if _unfinished(record, reading, now) else _paid(reading, now, counted)
    if reading.phase is Phase.FAIL:
        return _fail(record, reading, started, now, rules)
    if reading.phase is Phase.NOT_VISIBLE:
        return _still(age, rules, wait, _now_and_then(age, "kie.ai does not know this task (yet)"))
    return _still(age, rules, wait)


def vouched_for(record: Record) -> bool:
    """Whether a person has said that the task is the job's, whatever kie.ai's record of it says."""
    return record.purchase is not None and record.purchase.unchecked


def nothing_new(
    running_since: int, look: Reading | KieFault | None, now: int, rules: Rules, wait: Wait = next_look
) -> Decision | None:
    """What a look means for which the job's age is all that need be known; None where the whole record decides."""
    if not isinstance(look, Reading):
        return unread(running_since, look, now, rules, wait)
    return _still((now - running_since) / 1000, rules, wait) if look.phase is Phase.RUNNING else None


def unread(running_since: int, fault: KieFault | None, now: int, rules: Rules, wait: Wait = next_look) -> Decision:
    """The task could not be read this time. That never ends a job: nobody has asked kie.ai, as it were."""
    age = (now - running_since) / 1000
    note = _now_and_then(age, str(fault or "the task was not read in time"))
    return Decision(move=states.STILL_RUNNING, alarm_in=wait(age), note=note)


def _now_and_then(age: float, note: str) -> str | None:
    """A line of history for what lasts: after a minute, and each time the wait has doubled."""
    before = age - next_look(age)
    return note if age >= 60 and math.log2(age / 60) // 1 != math.log2(max(before, 1) / 60) // 1 else None


def _still(age: float, rules: Rules, wait: Wait, note: str | None = None) -> Decision:
    if age >= rules.run_limit:
        message = f"kie.ai gave no verdict within {span(rules.run_limit)}"
        return Decision(
            move=states.GIVE_UP_SILENT, set=failed("vendor_silent", message, charged="unknown"), note=message
        )
    return Decision(move=states.STILL_RUNNING, alarm_in=wait(age), note=note)


def _completed(reading: Reading, now: int) -> int:
    """When the vendor finished, as far as its clock can be believed (ms)."""
    said = reading.completed_ms
    return said if said is not None and abs(said - now) < RESULTS_KEPT else now


def _unfinished(record: Record, reading: Reading, now: int) -> bool:
    """Whether addresses may still be on their way. Counted by our own clock: the vendor need not say when it ended."""
    first = record.purchase.nameless_at if record.purchase else None
    return not reading.result_urls and (first is None or now - first < ADDRESSES_FOLLOW)


def _nameless(record: Record, now: int, age: float, rules: Rules) -> Decision:
    """A success that names no video yet: looked at again."""
    decision = _still(age, rules, next_look)
    if decision.move is not states.STILL_RUNNING or (record.purchase and record.purchase.nameless_at is not None):
        return decision
    return replace(decision, purchase={"nameless_at": now}, note="kie.ai made the video and names no address yet")


def _paid(reading: Reading, now: int, counted: float) -> Decision:
    verdict = {
        "urls": list(reading.result_urls),
        "expires_at": _completed(reading, now) + RESULTS_KEPT,
        "seconds": reading.cost_seconds,
        "credits": reading.credits,
    }
    return Decision(
        move=states.PAID,
        set={"verdict": json.dumps(verdict), "tries": 0, "turns": 0},
        unset=("failure",),
        purchase={} if reading.credits is None else {"credits": reading.credits},
        spent=0.0 if reading.credits is None else reading.credits - counted,
        note="kie.ai made the video",
        settled=True,
    )


def _fail(record: Record, reading: Reading, started: int, now: int, rules: Rules) -> Decision:
    row = failure_row(reading.fail_code, reading.fail_message)
    said = " ".join(word for word in (reading.fail_code, reading.fail_message) if word) or "no reason given"
    if row.verdict is FailureClass.LOOK_AGAIN:
        suspect = record.purchase.suspect_at if record.purchase else None
        if suspect is None:
            return Decision(
                move=states.STILL_RUNNING,
                purchase={"suspect_at": now},
                alarm_in=SETTLES_524 / 1000 + 1,
                note=f"{said}: looking again, since this may still become a success",
            )
        if started < suspect + SETTLES_524:
            return Decision(move=states.STILL_RUNNING, alarm_in=(suspect + SETTLES_524 - started) / 1000 + 1)
    timed_out = record.purchase is not None and record.purchase.suspect_at is not None  # it may still turn around
    if row.verdict is FailureClass.TRANSIENT and not timed_out and record.generations + 1 < rules.generation_attempts:
        return Decision(
            move=states.REFUNDED_AGAIN,
            add={"generations": 1},
            unset=("uploaded_at",) if row.new_upload else (),
            note=f"{said}: refunded, to be bought again",
            settled=True,
            new_upload=row.new_upload,
        )
    failure = failed("generation_failed", reading.fail_message or "", code=reading.fail_code)["failure"]
    verdict = json.dumps({"failure": json.loads(failure)})
    return Decision(
        move=states.REFUNDED,
        set={"verdict": verdict, "tries": 0, "turns": 0},
        note=f"{said}: refunded",
        settled=True,
    )
