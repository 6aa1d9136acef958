"""The books compared: what the vendor's stand-in made and charged, against the purchases on record. No I/O in here.

A task belongs to the purchase that its callback address names: `…/callbacks/kie/<job>/<nonce>`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from motionq.contract.record import PurchaseLine, Record
from motionq.contract.states import FINAL, Purchase

_VERDICTS = {"success": Purchase.PAID, "fail": Purchase.REFUNDED}


@dataclass(frozen=True, kw_only=True)
class Task:
    """A generation at the vendor. `state`: as recordInfo says it; `made`, `failed`: seconds of one monotonic clock.

    `failed` is None unless it has failed for good (and was refunded).
    """

    id: str
    job_id: str
    nonce: str
    state: str
    made: float
    failed: float | None


@dataclass(frozen=True, kw_only=True)
class Balance:
    """What the comparison found. The tuples hold a sentence for each case; all of them must be empty.

    `lost`: a task of which the books don't know. `doubled`: two tasks of one job that may both cost money, or a
    purchase that was sent twice. `misbooked`: a purchase whose task ended in another way than it says.
    `per_job`: how many jobs have so many tasks. `unknown`: finished jobs that say themselves that they may have been
    charged without a task ID on record; `unknown_tasks` of them have a task.
    """

    jobs: int
    tasks: int
    per_job: Mapping[int, int]
    refunds: int
    unknown: int
    unknown_tasks: int
    lost: tuple[str, ...]
    doubled: tuple[str, ...]
    misbooked: tuple[str, ...]


def addressed(callback_url: str | None) -> tuple[str, str]:
    """(job, nonce) of a callback address; empty where there is none."""
    parts = (callback_url or "").split("/")
    return (parts[-2], parts[-1]) if len(parts) > 2 else ("", "")


def task_of(line: Mapping[str, Any], seen: Mapping[str, Any], speed: float) -> Task:
    """A task by its createTask line of the ledger, and by what the sandbox shows of it (`/sandbox/tasks/ID`)."""
    job_id, nonce = addressed(line.get("callBackUrl"))
    state, made = str(seen["record"]["state"]), float(line["arrival"])
    failed = made + float(seen["plan"]["seconds"]) / speed if state == "fail" else None
    return Task(id=str(line["taskId"]), job_id=job_id, nonce=nonce, state=state, made=made, failed=failed)


def balance(asked: Sequence[Mapping[str, Any]], tasks: Sequence[Task], records: Sequence[Record]) -> Balance:
    """`asked`: the ledger's createTask lines, made or not; `records`: all jobs. Nobody has consented to pay twice."""
    by_job: dict[str, list[Task]] = {record.id: [] for record in records}
    for task in sorted(tasks, key=lambda task: task.made):
        by_job.setdefault(task.job_id, []).append(task)
    purchases = {(record.id, line.nonce): (record, line) for record in records for line in record.purchases}
    nameless = [task for task in tasks if not _names(purchases.get((task.job_id, task.nonce)), task)]
    unknown = [task for task in nameless if _said_unknown(purchases.get((task.job_id, task.nonce)))]
    return Balance(
        jobs=len(records),
        tasks=len(tasks),
        per_job=dict(sorted(Counter(map(len, by_job.values())).items())),
        refunds=sum(task.failed is not None for task in tasks),
        unknown=sum(any(_said_unknown((record, line)) for line in record.purchases) for record in records),
        unknown_tasks=len(unknown),
        lost=tuple(f"task {task.id} of job {task.job_id} is in no book" for task in nameless if task not in unknown),
        doubled=(*_sent_twice(asked), *(said for job in by_job.values() for said in _doubled(job))),
        misbooked=tuple(_misbooked(tasks, purchases)),
    )


Owner = tuple[Record, PurchaseLine]


def _names(owner: Owner | None, task: Task) -> bool:
    return owner is not None and owner[1].task_id == task.id


def _said_unknown(owner: Owner | None) -> bool:
    """Whether the purchase stands in a finished job as one that may have been charged, its task not being known."""
    return (
        owner is not None
        and owner[0].state in FINAL
        and owner[1].status in (Purchase.OPEN, Purchase.WRITTEN_OFF)
        and owner[1].task_id is None
    )


def _sent_twice(asked: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    times = Counter(addressed(line.get("callBackUrl")) for line in asked if line.get("callBackUrl"))
    for (job_id, _), count in times.items():
        if count > 1:
            yield f"one purchase of job {job_id} was sent {count} times"


def _doubled(tasks: Sequence[Task]) -> Iterator[str]:
    """`tasks`: of one job, oldest first. Before another is made, the one before must have failed."""
    for earlier, later in pairwise(tasks):
        if earlier.failed is None or earlier.failed > later.made:
            yield f"job {later.job_id}: task {later.id} was made while task {earlier.id} could still cost money"


def _misbooked(tasks: Iterable[Task], purchases: Mapping[tuple[str, str], Owner]) -> Iterator[str]:
    for task in tasks:
        owner = purchases.get((task.job_id, task.nonce))
        if owner and _names(owner, task) and task.state in _VERDICTS and owner[1].status is not _VERDICTS[task.state]:
            yield f"job {task.job_id}: task {task.id} is a {task.state}, its purchase is {owner[1].status}"
