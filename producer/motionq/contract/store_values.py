"""What the store is given, and what it answers."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from motionq.contract.job import DEFAULT_PRIORITY, JobSpec
from motionq.contract.record import Record
from motionq.contract.states import State

SUBMITTED = {"step": "submitted"}  # a job's first event


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """What `create` puts on record. `deadline`: ms since the epoch."""

    id: str
    spec: JobSpec
    tenant: str = "default"
    labels: dict[str, str]
    priority: str = DEFAULT_PRIORITY
    deadline: int | None = None
    idempotency_key: str | None = None

    def as_record(self, at: int) -> Record:
        """The record as `create` writes it at this moment (ms)."""
        return Record(
            id=self.id,
            state=State.QUEUED,
            tenant=self.tenant,
            priority=self.priority,
            labels=self.labels,
            spec=self.spec,
            created_at=at,
            updated_at=at,
            since=at,
            deadline=self.deadline or 0,
            history=json.dumps([at, State.QUEUED, SUBMITTED["step"]]),
        )


@dataclass(frozen=True)
class Created:
    """`outcome`: created | exists (the same request under the same ID or key) | conflict (another request's key).

    `at`: when, in ms.
    """

    outcome: str
    job_id: str
    at: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Moved:
    """`outcome`: ok | booked (the purchase only) | fenced | missing | bound (another purchase owns the task ID)."""

    outcome: str
    state: str

    @property
    def ok(self) -> bool:
        """Whether the job moved (now, or by an earlier repetition of this very call)."""
        return self.outcome == "ok"


@dataclass(frozen=True)
class Claim:
    """A due alarm that this caller may publish.

    `parent`: the step before, `upload.1` of the same job or the batch `check.<ulid>`; empty for the first.
    """

    job_id: str
    step: str
    n: int
    parent: str
    turns: int

    @property
    def message_id(self) -> str:
        """The Celery task ID of the step."""
        return f"{self.job_id}.{self.step}.{self.n}"

    @property
    def parent_id(self) -> str | None:
        """The Celery task ID of the step before."""
        if not self.parent:
            return None
        return self.parent if self.parent.startswith("check.") else f"{self.job_id}.{self.parent}"


@dataclass(frozen=True)
class Waiting:
    """What a look at a job's task must know of the job. Times are ms, 0 where absent; `updated_at`: the last look.

    `named`: somebody named a task for one of its purchases. Of a job without a task ID `task_id` is empty.
    `alarm_in`: ms until its alarm rings, which is when it is given out again.
    """

    id: str
    state: str
    nonce: str = field(repr=False)
    task_id: str
    running_since: int
    updated_at: int
    model: str
    mode: str
    video_seconds: float
    named: bool
    alarm_in: int = 0


@dataclass(frozen=True)
class DueChecks:
    """Claimed jobs, and how many more are due."""

    job_ids: tuple[str, ...]
    left: int
