"""One request of a caller: checked without connecting to anything, then staged into a `JobSpec`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from motionq.contract.errors import InvalidJob
from motionq.contract.job import DEFAULT_MODEL, PRIORITIES, JobSpec, Source, StagedSource, UrlSource, iso
from motionq.contract.models import Kind, VendorModel, check_request, find_model
from motionq.contract.redact import redact
from motionq.staging import Staging

# What this call has staged already: the same file of many requests is read once.
Staged = dict[tuple[str, Kind, str], StagedSource]

Media = str | os.PathLike[str] | bytes | BinaryIO

_TENANT = re.compile(r"[A-Za-z0-9_.@-]{1,100}")
_LABEL = re.compile(r"[A-Za-z0-9_./-]{1,63}")
_MAX_KEY, _MAX_LABELS, _MAX_LABEL_VALUE, _MAX_URL = 200, 20, 200, 2000


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a caller asks for; the fields are those of `MotionQueue.submit`."""

    image: Media
    video: Media
    prompt: str | None = None
    model: str = DEFAULT_MODEL
    mode: str = "720p"
    orientation: str = "video"
    idempotency_key: str | None = None
    tenant: str = "default"
    labels: Mapping[str, str] = field(default_factory=dict)
    priority: str = "normal"
    deadline: datetime | timedelta | None = None
    pass_url: bool = False

    @classmethod
    def from_fields(cls, given: Mapping[str, Any]) -> Request:
        """A request from named fields. Raises InvalidJob for a name that does not exist or is missing."""
        if not isinstance(given, Mapping):
            raise InvalidJob("a request must be a Request or a mapping", field="request", value=type(given).__name__)
        known = {f.name for f in fields(cls)}
        for name in given:
            if name not in known:
                raise InvalidJob(f"{name}: unknown field", field=name, limit=sorted(known))
        for name in ("image", "video"):
            if not given.get(name):
                raise InvalidJob(f"{name}: is required", field=name)
        return cls(**given)

    def check(self) -> VendorModel:
        """Everything that can be said without opening a file, or knowing whose key it is. Raises InvalidJob."""
        for name in ("prompt", "model", "mode", "orientation", "tenant", "priority", "idempotency_key"):
            _check_text(name, getattr(self, name))
        model = check_request(self.model, self.prompt, self.mode, self.orientation)
        _check_words(self)
        _check_labels(self.labels)
        for kind, media in (("image", self.image), ("video", self.video)):
            if is_url(media):
                _check_url(kind, str(media))
            elif not isinstance(media, str | os.PathLike | bytes) and not hasattr(media, "read"):
                kinds = "a path, bytes, a binary file object or a web address"
                raise InvalidJob(f"{kind}: must be {kinds}", field=kind, value=type(media).__name__)
            elif getattr(media, "closed", False):
                raise InvalidJob(f"{kind}: the file object given is closed", field=kind)
            elif self.pass_url:
                raise InvalidJob(f"{kind}: with pass_url it must be a web address", field=kind)
        if self.idempotency_key is None:  # else the job may be there since the deadline lay ahead
            self.check_deadline(datetime.now(UTC))
        return model

    def check_deadline(self, now: datetime) -> None:
        """A job that could never be bought is refused. Raises InvalidJob."""
        if self.deadline is None:
            return
        try:
            moment = now + self.deadline if isinstance(self.deadline, timedelta) else self.deadline
        except OverflowError:
            raise InvalidJob("deadline: is out of range", field="deadline", value=str(self.deadline)) from None
        if moment <= now:
            raise InvalidJob(
                f"deadline: {iso(moment)} is over, it is {iso(now)} now",
                field="deadline",
                limit=iso(now),
                value=iso(moment),
            )

    def stage(self, staging: Staging, staged: Staged) -> JobSpec:
        """Puts the files into staging and gives the spec. Raises InvalidJob for a file the vendor does not take."""
        return JobSpec(
            image=self._source(staging, staged, "image", self.image),
            video=self._source(staging, staged, "video", self.video),
            prompt=self.prompt or None,
            model=self.model,
            mode=self.mode,
            orientation=self.orientation,
            pass_url=self.pass_url,
        )

    def _source(self, staging: Staging, staged: Staged, kind: Kind, media: Media) -> Source:
        if is_url(media):
            return UrlSource(url=str(media))
        if not isinstance(media, str | os.PathLike):
            return _put(staging, media, self.model, kind)
        place = (os.fspath(media), kind, self.model)
        if place not in staged:
            staged[place] = _put(staging, media, self.model, kind)
        return staged[place]


def _put(staging: Staging, media: Media, model: str, kind: Kind) -> StagedSource:
    file = staging.put(media, model=find_model(model), kind=kind)
    name = file.name.encode("utf-8", "replace").decode()[:200]  # a file's name may hold any bytes
    return StagedSource(sha256=file.sha256, size=file.size, media_type=file.media_type, name=name)


@contextmanager
def numbered(n: int, total: int) -> Iterator[None]:
    """Says which one of many requests is wrong."""
    try:
        yield
    except InvalidJob as error:
        if total == 1:
            raise
        raise InvalidJob(
            f"request {n}: {error}", field=error.field, limit=error.limit, value=error.value, request=n
        ) from None


def is_url(media: object) -> bool:
    """Whether a caller's media is a web address (any scheme counts, so that `ftp://` is refused with a reason)."""
    return isinstance(media, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", media) is not None


def _check_text(name: str, value: object) -> None:
    """Text, and such as can be written down: a command line may hand over bytes that are not UTF-8."""
    if value is None and name in ("prompt", "idempotency_key"):
        return
    if not isinstance(value, str):
        raise InvalidJob(f"{name}: must be text", field=name, value=type(value).__name__)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidJob(f"{name}: is not valid UTF-8", field=name) from None


def _check_url(kind: str, url: str) -> None:
    try:
        parts = urlsplit(url)
    except ValueError:
        raise InvalidJob(f"{kind}: {redact(url)} is not a web address", field=kind) from None
    if parts.scheme.lower() not in ("http", "https") or not parts.hostname:
        raise InvalidJob(
            f"{kind}: {redact(url)} is not an http or https address",
            field=kind,
            limit="http, https",
            value=parts.scheme,
        )
    if len(url) > _MAX_URL:
        raise InvalidJob(
            f"{kind}: the address has {len(url)} characters, the limit is {_MAX_URL}",
            field=kind,
            limit=_MAX_URL,
            value=len(url),
        )


def _check_words(request: Request) -> None:
    if request.priority not in PRIORITIES:
        raise InvalidJob(
            f"priority: {request.priority!r} is not one of {', '.join(PRIORITIES)}",
            field="priority",
            limit=list(PRIORITIES),
            value=request.priority,
        )
    if not _TENANT.fullmatch(request.tenant):
        raise InvalidJob(
            f"tenant: {request.tenant!r} must be 1 to 100 letters, digits or . _ @ -",
            field="tenant",
            limit=100,
            value=request.tenant,
        )
    key = request.idempotency_key
    if key is not None and not 1 <= len(key) <= _MAX_KEY:
        raise InvalidJob(
            f"idempotency_key: {len(key)} characters, allowed are 1 to {_MAX_KEY}",
            field="idempotency_key",
            limit=_MAX_KEY,
            value=len(key),
        )
    if request.deadline is not None and not isinstance(request.deadline, datetime | timedelta):
        given = type(request.deadline).__name__
        raise InvalidJob("deadline: must be a datetime or a timedelta", field="deadline", value=given)
    if isinstance(request.deadline, datetime) and request.deadline.tzinfo is None:
        raise InvalidJob("deadline: a moment needs its time zone", field="deadline", value=str(request.deadline))


def _check_labels(labels: Mapping[str, str]) -> None:
    if not isinstance(labels, Mapping):
        raise InvalidJob("labels: must map names to values", field="labels", value=type(labels).__name__)
    if len(labels) > _MAX_LABELS:
        raise InvalidJob(
            f"labels: {len(labels)} labels, the limit is {_MAX_LABELS}",
            field="labels",
            limit=_MAX_LABELS,
            value=len(labels),
        )
    for name, value in labels.items():
        if not isinstance(name, str) or not _LABEL.fullmatch(name):
            raise InvalidJob(
                f"labels: name {name!r} must be 1 to 63 letters, digits or . _ / -", field="labels", value=name
            )
        _check_text(f"labels.{name}", value)
        if len(value) > _MAX_LABEL_VALUE:
            raise InvalidJob(
                f"labels: the value of {name!r} must be text of at most {_MAX_LABEL_VALUE} characters",
                field="labels",
                limit=_MAX_LABEL_VALUE,
                value=value,
            )
