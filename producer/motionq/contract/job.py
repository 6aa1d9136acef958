"""What a job is: the request (`JobSpec`) and what callers see of it (`Job`). Frozen values, JSON both ways."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError

from motionq.contract.errors import ActionRefused, InvalidJob, JobFailed
from motionq.contract.redact import redact
from motionq.contract.states import FINAL, State

SCHEMA_VERSION = 1
EVENTS_KEPT = 50  # the newest of a job
PRIORITIES = ("low", "normal", "high")
DEFAULT_PRIORITY = "normal"
DEFAULT_MODEL = "kling-2.6/motion-control"

# What signs an address changes with every signing; what it names does not. Beside names that only signatures have, some
# count only where the signature itself stands beside them: `token` or `st` alone may well name the file.
_SIGNATURES = ("x-amz-", "x-goog-", "x-oss-", "q-sign", "q-ak", "q-key", "q-header", "q-url")
_BESIDE = {
    "signature": {"signature", "expires", "awsaccesskeyid", "googleaccessid", "key-pair-id", "policy"},
    "sig": {"sig", "se", "sv", "st", "sp", "sr", "spr", "skoid", "sktid", "skt", "ske", "sks", "skv"},
}


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def from_ms(value: object) -> object:
    """Milliseconds since the epoch as a UTC time; anything else unchanged."""
    if isinstance(value, int | float):
        return _moment(value)
    return value


@lru_cache(maxsize=1024)  # a new job says the same moment three times, and the job beside it says it too
def _moment(milliseconds: float) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def iso(value: datetime) -> str:
    """ISO-8601 in UTC with milliseconds, as every time in motionq's JSON."""
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Time = Annotated[datetime, BeforeValidator(from_ms), PlainSerializer(iso, when_used="json")]


class StagedSource(_Frozen):
    """A file that lies in staging under its SHA-256."""

    sha256: str
    size: int  # bytes
    media_type: str  # recognised by content
    name: str  # what the caller called it

    @property
    def identity(self) -> str:
        """What makes two sources the same."""
        return self.sha256

    def public(self) -> dict[str, object]:
        """The source as callers see it."""
        return self.model_dump()


class UrlSource(_Frozen):
    """An address; it may be signed, so it is shown without its query."""

    url: str

    @property
    def identity(self) -> str:
        """The address without what merely signs it."""
        parts = urlsplit(self.url)
        given = parse_qsl(parts.query, keep_blank_values=True)
        signing = _signing({name.lower() for name, _ in given})
        query = [(name, value) for name, value in given if name.lower() not in signing]
        return urlunsplit((parts.scheme, parts.netloc.lower(), parts.path, urlencode(query), ""))

    def public(self) -> dict[str, object]:
        """The source as callers see it."""
        return {"url": redact(self.url)}

    def __repr_args__(self) -> Iterator[tuple[str, object]]:
        yield "url", redact(self.url)


def _signing(names: set[str]) -> set[str]:
    """Those names of a query that only sign."""
    found = {name for name in names if name.startswith(_SIGNATURES)}
    return found.union(*(group for name, group in _BESIDE.items() if name in names))


Source = StagedSource | UrlSource


class JobSpec(_Frozen):
    """What is asked of the vendor. Unknown fields are refused: the vendor would ignore them and charge.

    Records leave defaults out, so they belong to the schema: they stay as they are while SCHEMA_VERSION does.
    """

    image: Source
    video: Source
    prompt: str | None = None
    model: str = DEFAULT_MODEL
    mode: str = "720p"
    orientation: str = "video"
    pass_url: bool = False

    @classmethod
    def default(cls, name: str) -> str:
        """What a record means that does not have this field."""
        return str(cls.model_fields[name].default)

    def digest(self) -> str:
        """SHA-256 of the canonical request: the same files and options give the same digest, whatever their paths."""
        canonical = self.model_dump(exclude={"image", "video"})
        canonical |= {"image": self.image.identity, "video": self.video.identity}
        return hashlib.sha256(json.dumps(canonical, sort_keys=True).encode()).hexdigest()

    def public(self) -> dict[str, object]:
        """The spec as callers see it: addresses without their queries."""
        return self.model_dump() | {"image": self.image.public(), "video": self.video.public()}


class Result(_Frozen):
    """What a succeeded job gives. `file`: in storage you own; the vendor's addresses expire."""

    file: str | None = None
    files: tuple[str, ...] = ()
    vendor_urls: tuple[str, ...] = ()
    vendor_urls_expire_at: Time | None = None
    credits: float | None = None
    generation_seconds: float | None = None


class Failure(_Frozen):
    """Why a job failed. `code` and `message` are the vendor's where the vendor spoke."""

    reason: str
    code: str | None = None
    message: str = ""
    charged: Literal["yes", "no", "unknown"] = "no"

    def __str__(self) -> str:
        return ": ".join(part for part in (self.reason, self.message) if part)


class Event(_Frozen):
    """One line of a job's history."""

    at: Time
    state: str
    step: str | None = None
    worker: str | None = None
    note: str | None = None


class Job(_Frozen):
    """A job as callers see it at one moment."""

    id: str
    state: State
    tenant: str
    labels: dict[str, str]
    priority: str
    spec: JobSpec
    task_id: str | None = None
    created_at: Time
    updated_at: Time
    attempts: int = 0
    result: Result | None = None
    failure: Failure | None = None
    eta_seconds: float | None = None
    events: tuple[Event, ...] = ()

    @property
    def done(self) -> bool:
        """Whether the job is in a final state."""
        return self.state in FINAL

    def raise_for_failure(self) -> Self:
        """The job itself; raises JobFailed if it failed or was cancelled, ActionRefused if it has not ended yet."""
        if not self.done:
            raise ActionRefused(f"job {self.id} is {self.state.value}: whether it fails is known when it has ended")
        if self.state is State.CANCELLED:
            raise JobFailed(f"{self.id}: cancelled")
        if self.state is State.FAILED:
            raise JobFailed(f"{self.id}: {self.failure or 'failed'}")
        return self

    def to_json(self) -> dict[str, Any]:
        """The job object of the command line: every key is always there, absent values are null."""
        data = self.model_dump(mode="json")
        return data | {"spec": self.spec.public()}


def spec_from(fields: dict[str, Any]) -> JobSpec:
    """A spec from plain fields. Raises InvalidJob for a field that does not exist or has the wrong type."""
    try:
        return JobSpec.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "job"
        if first["type"] == "extra_forbidden":
            raise InvalidJob(f"{name}: unknown field", field=name) from None
        reason = first["msg"]
        value = redact(str(first["input"]))  # it may be a signed address
        raise InvalidJob(f"{name}: {reason[0].lower()}{reason[1:]}", field=name, value=value) from None
