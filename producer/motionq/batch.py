"""Batch files: jsonl or csv into requests, each line checked on its own. Pure: nothing is opened here.

A line names the options of `motionq submit`. In jsonl `labels` (or `label`) is an object, in csv each label has a
column `label.NAME`, and an empty cell is an option that is not given.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from motionq import words
from motionq.contract.errors import InvalidJob
from motionq.request import Request, is_url

_TEXTS = {
    "image": "image",
    "video": "video",
    "prompt": "prompt",
    "mode": "mode",
    "orientation": "orientation",
    "model": "model",
    "key": "idempotency_key",
    "tenant": "tenant",
    "priority": "priority",
}
NAMES = (*_TEXTS, "labels", "deadline", "pass_url")
_SAME = {"label": "labels", "pass-url": "pass_url"}
_LABEL_COLUMN = "label."

Row = dict[str, Any]


@dataclass(frozen=True)
class Line:
    """One job of a batch file: the `number` of its (first) line, counted from 1, and what it asks for."""

    number: int
    request: Request


@dataclass(frozen=True)
class BadLine:
    """A line that can't become a job, and why."""

    number: int
    error: InvalidJob


@dataclass(frozen=True)
class Batch:
    """What a batch file holds, in its order."""

    lines: tuple[Line, ...]
    bad: tuple[BadLine, ...]

    @property
    def without_key(self) -> int:
        """How many jobs would be bought again if the file ran again."""
        return sum(line.request.idempotency_key is None for line in self.lines)


def parse(content: bytes, *, name: str, folder: str | os.PathLike[str]) -> Batch:
    """The jobs of a batch file called `name` (`-` is standard input), whose paths are relative to `folder`.

    Raises InvalidJob (field `batch`) when the whole file can't be read; faults of single lines are in `Batch.bad`.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidJob(f"{name} is not UTF-8 text", field="batch", value=name) from None
    read = _csv_rows if is_csv(name, text) else _json_rows
    lines: list[Line] = []
    bad: list[BadLine] = []
    for number, row in read(text):
        try:
            lines.append(Line(number, _request(row, Path(folder))))
        except InvalidJob as error:
            bad.append(BadLine(number, error))
    if not lines and not bad:
        raise InvalidJob(f"{name} holds no jobs", field="batch", value=name)
    return Batch(tuple(lines), tuple(bad))


def is_csv(name: str, text: str) -> bool:
    """By the extension, else by the first character: JSON lines begin with a brace."""
    extension = PurePath(name).suffix.lower()
    if extension in (".csv", ".jsonl", ".ndjson", ".json"):
        return extension == ".csv"
    return not text.lstrip().startswith(("{", "["))


# -- reading lines: each gives its number, and its fields or what is wrong with it ---------------------------------
Read = Iterator[tuple[int, Row | InvalidJob]]


def _attempt(make: Callable[..., Row], *given: Any) -> Row | InvalidJob:
    try:
        return make(*given)
    except InvalidJob as error:
        return error


def _json_rows(text: str) -> Read:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, _attempt(_json_row, line)


def _json_row(line: str) -> Row:
    try:
        row = json.loads(line, object_pairs_hook=_once)
    except RecursionError:
        raise _fault("the line is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise _fault(f"not JSON: {error.msg} at character {error.colno}") from None
    except ValueError as error:  # a number of more digits than Python reads
        raise _fault(f"not JSON: {error}") from None
    if not isinstance(row, dict):
        raise _fault("a line must be one JSON object: {…}")
    fields: Row = {}
    for name, value in row.items():
        if _named(name) in fields:
            raise InvalidJob(f"{name}: is given twice", field=_named(name))
        fields[_named(name)] = value
    return fields


def _once(pairs: list[tuple[str, Any]]) -> Row:
    row: Row = {}
    for name, value in pairs:
        if name in row:
            raise InvalidJob(f"{name}: is given twice", field=name)
        row[name] = value
    return row


def _csv_rows(text: str) -> Read:
    records = _csv_records(text)
    number, header = next(records, (0, []))
    if isinstance(header, list):
        header = [cell.strip() for cell in header]
        wrong = _attempt(_csv_row, header, [""] * len(header))
    else:
        wrong = header
    if isinstance(wrong, InvalidJob):  # a wrong column is one fault, not one for each line
        yield number, wrong
        return
    for number, cells in records:
        yield number, _attempt(_csv_row, header, cells) if isinstance(cells, list) else cells


def _csv_records(text: str) -> Iterator[tuple[int, list[str] | InvalidJob]]:
    """The number of each record's first line (a quoted cell may span lines) and its cells."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield number, _fault(f"not CSV: {error}")
            return
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield number, cells


def _csv_row(header: list[str], cells: list[str]) -> Row:
    if len(cells) != len(header):
        raise _fault(f"{len(cells)} cells, the first line has {len(header)}")
    row: Row = {}
    found: dict[str, str] = {}
    for column, cell in zip(header, cells, strict=True):
        is_label = column.startswith(_LABEL_COLUMN)
        target, name = (found, column.removeprefix(_LABEL_COLUMN)) if is_label else (row, _named(column))
        if not is_label and name == "labels":
            raise InvalidJob("labels: in csv each label has a column label.NAME", field="labels")
        if name in target:
            raise InvalidJob(f"{column}: is given twice", field=column)
        target[name] = cell
    given = {name: cell for name, cell in row.items() if cell.strip()}
    given_labels = {name: cell for name, cell in found.items() if cell.strip()}
    return given | ({"labels": given_labels} if given_labels else {})


def _named(name: str) -> str:
    name = _SAME.get(name, name)
    if name not in NAMES:
        close = difflib.get_close_matches(name, NAMES, n=1)
        hint = f", did you mean {close[0]}?" if close else f": the names are {', '.join(NAMES)}"
        raise InvalidJob(f"{name}: unknown field{hint}", field=name, limit=list(NAMES))
    return name


def _fault(message: str) -> InvalidJob:
    return InvalidJob(message, field="batch")


# -- fields into a request ------------------------------------------------------------------------------------------
def _request(row: Row | InvalidJob, folder: Path) -> Request:
    if isinstance(row, InvalidJob):
        raise row
    given = {name: value for name, value in row.items() if value is not None}
    fields: Row = {_TEXTS[name]: _text(name, value) for name, value in given.items() if name in _TEXTS}
    for kind in ("image", "video"):
        if fields.get(kind) and not is_url(fields[kind]):
            fields[kind] = str(folder / fields[kind])
    if "labels" in given:
        fields["labels"] = _labels(given["labels"])
    if "deadline" in given:
        fields["deadline"] = _read("deadline", words.moment, given["deadline"])
    if "pass_url" in given:
        fields["pass_url"] = _read("pass_url", words.yes_or_no, given["pass_url"])
    request = Request.from_fields(fields)
    request.check()
    return request


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidJob(f"{name}: must be text", field=name, value=str(value)[:100])
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidJob(f"{name}: holds half a character (a lone surrogate)", field=name) from None
    return value


def _labels(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise InvalidJob('labels: must be an object like {"name": "value"}', field="labels")
    return {str(name): _text("labels", text) for name, text in value.items()}


def _read(name: str, parse_text: Callable[[str], Any], value: object) -> Any:
    """A duration, moment or truth, written as text or as a JSON number or boolean."""
    try:
        return parse_text(str(value))
    except ValueError as error:
        raise InvalidJob(f"{name}: {error}", field=name, value=str(value)) from None
