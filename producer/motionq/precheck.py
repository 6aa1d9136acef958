"""Looks at the files of a whole batch before anything is staged, so that every bad line is reported at once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from motionq.batch import BadLine, Line
from motionq.contract.errors import InvalidJob
from motionq.contract.job import UrlSource
from motionq.contract.models import Kind, find_model
from motionq.request import Media, Request, is_url
from motionq.sources import look, opened

_KINDS: tuple[Kind, Kind] = ("image", "video")


def check_lines(lines: Iterable[Line]) -> list[BadLine]:
    """What is wrong with the lines' files (each is opened once) and with keys that two lines share."""
    files, keys = _Files(), _Keys()
    bad: list[BadLine] = []
    for line in lines:
        try:
            files.check(line.request)
            keys.check(line)
        except InvalidJob as error:
            bad.append(BadLine(line.number, error))
    return bad


class _Files:
    """Checks each file once for each model and kind, however many lines name it."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, Kind], InvalidJob | None] = {}

    def check(self, request: Request) -> None:
        """Raises InvalidJob for the first file that the vendor does not take."""
        for kind in _KINDS:
            media = _media(request, kind)
            if is_url(media):
                continue
            asked = (str(media), request.model, kind)
            if asked not in self._known:
                self._known[asked] = _fault_of(Path(str(media)), request.model, kind)
            if fault := self._known[asked]:
                raise fault


def _media(request: Request, kind: Kind) -> Media:
    return request.image if kind == "image" else request.video


def _fault_of(path: Path, model: str, kind: Kind) -> InvalidJob | None:
    try:
        _check(path, model, kind)
    except InvalidJob as error:
        return error
    return None


def _check(path: Path, name: str, kind: Kind) -> None:
    """As staging does, which then reads all of the file and stores it."""
    model = find_model(name)
    with opened(path, kind, model.limits(kind).max_bytes) as (called, handle):
        look(handle, called, model, kind)


class _Asked:
    """What a line asks for, as far as it must agree with other lines of the same key. Files are read only if needed."""

    def __init__(self, line: Line) -> None:
        self.number = line.number
        self._request = line.request

    @cached_property
    def options(self) -> tuple[object, ...]:
        """Everything but the files."""
        asked = self._request
        return asked.prompt or None, asked.model, asked.mode, asked.orientation, asked.pass_url

    @cached_property
    def files(self) -> tuple[str, ...]:
        """The identity of image and video: content or address."""
        return tuple(_identity(_media(self._request, kind)) for kind in _KINDS)

    @property
    def paths(self) -> tuple[str, ...]:
        """Image and video as they were written."""
        return tuple(str(_media(self._request, kind)) for kind in _KINDS)

    def agrees(self, other: _Asked) -> bool:
        """Whether both lines ask for the same."""
        return self.options == other.options and (self.paths == other.paths or self.files == other.files)


def _identity(media: Media) -> str:
    if is_url(media):
        return UrlSource(url=str(media)).identity
    with Path(str(media)).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


class _Keys:
    """A tenant's key belongs to one request; here the first line that uses it."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, str], _Asked] = {}

    def check(self, line: Line) -> None:
        """Raises InvalidJob when an earlier line uses this key for something else."""
        key = line.request.idempotency_key
        if key is None:
            return
        asked = _Asked(line)
        first = self._first.setdefault((line.request.tenant, key), asked)
        if not first.agrees(asked):
            raise InvalidJob(
                f"key: {key!r} belongs to line {first.number}, which asks for something else",
                field="idempotency_key",
                value=key,
            )
