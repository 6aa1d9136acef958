"""The record of a job as Redis holds it: one hash, read into one frozen value."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from motionq.contract.errors import MotionQueueError
from motionq.contract.job import (
    DEFAULT_PRIORITY,
    EVENTS_KEPT,
    SCHEMA_VERSION,
    Event,
    Failure,
    Job,
    JobSpec,
    Result,
    StagedSource,
)
from motionq.contract.states import Purchase, State


def event_from(raw: str) -> Event:
    """One line of a job's history: `[at in ms, state, step, worker, note]`, and what a newer release adds.

    Words that are empty are left out at its end.
    """
    words: list[Any] = json.loads(raw)
    at, state, step, worker, note, *_ = [*words, "", "", ""]
    return Event(at=at, state=state, step=step or None, worker=worker or None, note=note or None)


def events_from(rows: Iterable[str]) -> tuple[Event, ...]:
    """The lines of a job's history that can be read; one that can't is no reason to hide the others."""
    found = []
    for row in rows:
        with contextlib.suppress(ValueError, TypeError):
            found.append(event_from(row))
    return tuple(found)


@dataclass(frozen=True, kw_only=True)
class PurchaseLine:
    """One attempt to buy. Times are milliseconds of the server's clock."""

    nonce: str = field(repr=False)  # whoever knows it can name a task for this purchase
    status: Purchase
    armed_at: int = 0  # until it is sent
    task_id: str | None = None
    sent_at: int | None = None
    closed_at: int | None = None
    credits: float | None = None
    estimate: float = 0.0  # credits that count against the day's budget while it may cost something
    candidate: str | None = None  # a task that somebody named for it, not verified yet
    unchecked: bool = False  # its task was named by a person, and kie.ai was not asked
    refusal: str | None = None  # why the vendor refused it
    nameless_at: int | None = None  # when a success was first read that names no video
    suspect_at: int | None = None  # when a 524 was first read; a reading started 90 s later settles it


@dataclass(frozen=True, kw_only=True)
class Record:
    """A job as the workers see it. Times are milliseconds of the server's clock, 0 where absent."""

    id: str
    state: State
    tenant: str
    priority: str
    labels: dict[str, str]
    spec: JobSpec
    created_at: int
    updated_at: int
    since: int
    deadline: int = 0
    claim: str = ""
    turns: int = 0
    tries: int = 0
    attempts: int = 0
    generations: int = 0
    contents: tuple[str, ...] = ()  # hashes of what was uploaded for it
    image_url: str = ""
    video_url: str = ""
    uploaded_at: int = 0
    video_seconds: float = 0.0
    nonce: str = field(default="", repr=False)
    task_id: str = ""
    armed_under: str = ""
    durable_at: int = 0
    sent_until: int = 0
    running_since: int = 0
    verdict: dict[str, Any] = field(default_factory=dict)
    purchases: tuple[PurchaseLine, ...] = ()
    result: Result | None = None
    failure: Failure | None = None
    history: str = field(default="", repr=False)  # a line for each event

    @property
    def purchase(self) -> PurchaseLine | None:
        """The newest purchase."""
        return next((p for p in self.purchases if p.nonce == self.nonce), None)

    @property
    def events(self) -> tuple[Event, ...]:
        """The job's last 50 events, oldest first."""
        return events_from(self.history.split("\n"))


class Unreadable(MotionQueueError):
    """A record that this version of motionq can't read; the message holds nothing of its content.

    `newer`: a later release wrote it in a way of its own. `state`, `nonce`: as the record says, unread.
    """

    def __init__(self, message: str, raw: Mapping[str, str], *, newer: bool = False) -> None:
        super().__init__(message)
        self.newer = newer
        self.state = raw.get("state", "")
        self.nonce = raw.get("nonce", "")


def from_hash(job_id: str, raw: Mapping[str, str]) -> Record:
    """The record that `HGETALL` answered. Raises Unreadable."""
    version = raw.get("schema_version", "none")
    if version.isdigit() and int(version) > SCHEMA_VERSION:
        raise Unreadable(left_alone(job_id, version), raw, newer=True)
    try:
        return _from_hash(job_id, raw)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        words = f"the record of job {job_id} (schema {version}) can't be read: {type(error).__name__}"
        raise Unreadable(words, raw) from None


def left_alone(job_id: str, version: str) -> str:
    """What is said of a record of a newer schema."""
    return (
        f"the record of job {job_id} was written by a newer motionq (schema {version}, this one knows "
        f"{SCHEMA_VERSION}): it is left alone until this program is upgraded"
    )


def _from_hash(job_id: str, raw: Mapping[str, str]) -> Record:
    def whole(name: str) -> int:
        return int(float(raw.get(name) or 0))

    spec = JobSpec.model_validate_json(raw["spec"], extra="ignore")  # a newer producer may know more
    return Record(
        id=job_id,
        state=State(raw["state"]),
        tenant=raw["tenant"],
        priority=raw.get("priority", DEFAULT_PRIORITY),
        labels=json.loads(raw.get("labels") or "{}"),
        spec=spec,
        created_at=whole("created_at"),
        updated_at=whole("updated_at"),
        since=whole("since"),
        deadline=whole("deadline"),
        claim=raw.get("claim", ""),
        turns=whole("turns"),
        tries=whole("tries"),
        attempts=whole("attempts"),
        generations=whole("generations"),
        contents=tuple(raw["contents"].split()) if "contents" in raw else staged_contents(spec),
        image_url=raw.get("image_url", ""),
        video_url=raw.get("video_url", ""),
        uploaded_at=whole("uploaded_at"),
        video_seconds=float(raw.get("video_seconds") or 0),
        nonce=raw.get("nonce", ""),
        task_id=raw.get("task_id", ""),
        armed_under=raw.get("armed_under", ""),
        durable_at=whole("durable_at"),
        sent_until=whole("sent_until"),
        running_since=whole("running_since"),
        verdict=json.loads(raw.get("verdict") or "{}"),
        purchases=_purchases(raw.get("purchases")),
        result=Result.model_validate_json(raw["result"], extra="ignore") if raw.get("result") else None,
        failure=Failure.model_validate_json(raw["failure"], extra="ignore") if raw.get("failure") else None,
        history=raw.get("events", ""),
    )


def staged_contents(spec: JobSpec) -> tuple[str, ...]:
    """The hashes that a spec names itself; of addresses they are known only when they were fetched."""
    return tuple(source.sha256 for source in (spec.image, spec.video) if isinstance(source, StagedSource))


def _purchases(raw: str | None) -> tuple[PurchaseLine, ...]:
    known = PurchaseLine.__dataclass_fields__
    return tuple(
        PurchaseLine(**({k: v for k, v in line.items() if k in known} | {"status": Purchase(line["status"])}))
        for line in json.loads(raw or "[]")
    )


def to_job(record: Record, eta_seconds: float | None = None, *, last: int = EVENTS_KEPT) -> Job:
    """What callers see of a record, with its `last` few events."""
    return Job(
        id=record.id,
        state=record.state,
        tenant=record.tenant,
        labels=record.labels,
        priority=record.priority,
        spec=record.spec,
        task_id=record.task_id or None,
        created_at=record.created_at,
        updated_at=record.updated_at,
        attempts=record.attempts,
        result=record.result,
        failure=record.failure,
        eta_seconds=eta_seconds,
        events=record.events[-last:],
    )
