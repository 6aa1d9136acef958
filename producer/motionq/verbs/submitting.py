"""`motionq submit`: one job, or a batch of them: all or none."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from motionq import batch, words
from motionq.client import MotionQueue
from motionq.contract.errors import SHOWN, IdempotencyConflict, InvalidJob, KeyConflict, MotionQueueError
from motionq.contract.job import Job
from motionq.live import follow
from motionq.output import Code, WrongUsage, note, report, worst
from motionq.precheck import check_lines
from motionq.request import Request
from motionq.tables import ended_line, result_place
from motionq.verbs.shared import code, opened_queue, read, show

# How the library's names are written on the command line, at the beginning of a sentence.
_OPTIONS = (
    (re.compile(r"^idempotency_key:"), "key:"),
    (re.compile(r"^labels:"), "label:"),
    (re.compile(r"^((?:image|video): with )pass_url "), r"\1--pass-url "),
)


def submit(*, given: Mapping[str, Any], batch_file: str | None, wait_until_done: bool, as_json: bool) -> int:
    """Enqueues what the options or the lines of a file ask for; returns the exit code."""
    given = {name: value for name, value in given.items() if value is not None}
    if batch_file is None:
        return _submit_one(given, wait_until_done, as_json)
    if given:
        option = next(iter(given)).replace("_", "-")
        raise WrongUsage(f"batch: --{option} does not go with --batch, each line says what it needs", field="batch")
    return _submit_batch(batch_file, wait_until_done, as_json)


# -- one job ----------------------------------------------------------------------------------------------------------
def _submit_one(given: dict[str, Any], wait_until_done: bool, as_json: bool) -> int:
    try:
        request = _single(given)
        with opened_queue() as queue:
            return _submitted(queue, queue.submit_many([request]), wait_until_done, as_json)
    except InvalidJob as error:
        raise in_words_of_options(error) from None


def _single(given: Mapping[str, Any]) -> Request:
    for name in ("image", "video"):
        if not given.get(name):
            raise WrongUsage(f"{name}: give --{name} FILE or URL (many jobs at once: --batch FILE)", field=name)
    fields = dict(given)
    if "key" in fields:
        fields["idempotency_key"] = fields.pop("key")
    if "label" in fields:
        fields["labels"] = read("label", words.labels, fields.pop("label"))
    if "deadline" in fields:
        fields["deadline"] = read("deadline", words.moment, fields["deadline"])
    return Request.from_fields(fields)


def in_words_of_options(error: InvalidJob) -> InvalidJob:
    """The same error, its sentence with the option's name; `field` stays the library's."""
    text = str(error)
    for name, option in _OPTIONS:
        text = name.sub(option, text, count=1)
    return InvalidJob(text, field=error.field, limit=error.limit, value=error.value)


# -- a batch ----------------------------------------------------------------------------------------------------------
def _submit_batch(name: str, wait_until_done: bool, as_json: bool) -> int:
    """Nothing is enqueued unless every line is good."""
    found = batch.parse(_content(name), name=name, folder="." if name == "-" else Path(name).parent)
    total = len(found.lines) + len(found.bad)
    bad = sorted([*found.bad, *check_lines(found.lines)], key=lambda line: line.number)
    if bad:
        return _refuse([_on_line(line.number, line.error) for line in bad], total, as_json)
    if found.without_key:
        note(f"{found.without_key} of {total} lines have no key: running the batch again buys them again")
    with opened_queue() as queue:
        try:
            jobs = queue.submit_many([line.request for line in found.lines])
        except (InvalidJob, IdempotencyConflict) as error:
            return _refuse(_by_line(error, found.lines), total, as_json)
        return _submitted(queue, jobs, wait_until_done, as_json)


def _refuse(errors: Sequence[MotionQueueError], total: int, as_json: bool) -> int:
    """Reports the first of them (as JSON: all); returns the exit code."""
    told = errors if as_json else errors[:SHOWN]
    codes = [report(error, as_json=as_json) for error in told]
    if len(errors) > len(told):
        note(f"and {len(errors) - len(told)} more (--json tells all)")
    note(f"nothing was enqueued: {len(errors)} of {total} lines {'is' if len(errors) == 1 else 'are'} bad")
    return worst(codes)


def _by_line(error: InvalidJob | IdempotencyConflict, lines: Sequence[batch.Line]) -> list[MotionQueueError]:
    """The library counts requests; people look for lines."""
    if isinstance(error, InvalidJob):
        place = error.request or 1
        return [_on_line(lines[place - 1].number, error, without=f"request {place}: ")]
    return [TakenKey(lines[one.request - 1].number, one) for one in error.conflicts]


def _on_line(number: int, error: InvalidJob, *, without: str = "") -> InvalidJob:
    text = re.sub(r"^idempotency_key:", "key:", str(error).removeprefix(without))
    return InvalidJob(f"line {number}: {text}", field=error.field, limit=error.limit, value=error.value)


class TakenKey(MotionQueueError):
    """A line of a batch file whose key belongs to a job that asks for something else; `value` is that job's ID."""

    kind = IdempotencyConflict.kind

    def __init__(self, number: int, conflict: KeyConflict) -> None:
        super().__init__(f"line {number}: {conflict}")
        self.field, self.value = "idempotency_key", conflict.job_id


def _content(name: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise InvalidJob(f"batch: can't read {name}: {error.strerror}", field="batch", value=name) from None


# -- what was enqueued ------------------------------------------------------------------------------------------------
def _submitted(queue: MotionQueue, jobs: Sequence[Job], wait_until_done: bool, as_json: bool) -> int:
    ids = list(dict.fromkeys(job.id for job in jobs))
    if wait_until_done:
        note(f"enqueued {ids[0]}" if len(ids) == 1 else f"enqueued {len(ids)} jobs: {ids[0]} … {ids[-1]}")
        return worst(_wait_submitted(queue, ids, as_json))
    for job in jobs:
        show(job, as_json, job.id)
    note(f"to wait for it: motionq wait {ids[0]}" if len(ids) == 1 else "to wait for them: motionq wait --all")
    return Code.DONE


def _wait_submitted(queue: MotionQueue, ids: Sequence[str], as_json: bool) -> Iterator[Code]:
    for job in follow(queue, ids):
        if job.result is None:
            if as_json:
                show(job, as_json, "")
            else:
                note(ended_line(job))
        else:
            show(job, as_json, result_place(job.result))
        yield code(job)
