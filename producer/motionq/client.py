"""MotionQueue: what other services import to enqueue motion-control jobs and to wait for them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Self

from redis import Redis
from ulid import ULID

from motionq import actions, arguments
from motionq.conflicts import refuse_conflicts, refuse_double_keys
from motionq.contract.connection import connect
from motionq.contract.errors import ActionRefused, InvalidJob, JobNotFound, WaitTimeout
from motionq.contract.job import DEFAULT_MODEL, EVENTS_KEPT, Job
from motionq.contract.keys import Keys
from motionq.contract.record import Record, to_job
from motionq.contract.settings import Settings, load
from motionq.contract.states import State
from motionq.contract.store import Created, JobStore, NewJob
from motionq.durable import safely
from motionq.etas import etas
from motionq.gate import NOT_LOOKED_AT, GateStatus, gate_status
from motionq.purchases import open_of
from motionq.request import Media, Request, Staged, numbered
from motionq.staging import Staging
from motionq.wakeup import Wakeup

Records = list[Record]
Jobs = list[Job]  # inside the class `list` is the method

_WAIT_FIRST, _WAIT_LONGEST = 0.2, 2.0  # seconds between two looks of `wait`


class MotionQueue:
    """A queue of motion-control jobs on one Redis-compatible server.

    Connects on first use; may be shared between threads and used after a fork. Close it, or use it in a `with`.
    Settings come from the environment (docs/settings.md); `redis_url` and `namespace` override them.
    """

    def __init__(
        self, redis_url: str | None = None, namespace: str | None = None, *, settings: Settings | None = None
    ) -> None:
        given = {"redis_url": redis_url, "namespace": namespace}
        named: dict[str, Any] = {
            name: arguments.text(name, value) for name, value in given.items() if value is not None
        }
        self._settings = settings or load(**named)

    # -- what is connected on first use ---------------------------------------------------------------------------
    @cached_property
    def _redis(self) -> Redis:
        return connect(self._settings)

    @cached_property
    def store(self) -> JobStore:
        """The records (for tools; services need the methods of this class only)."""
        return JobStore(self._redis, Keys(self._settings.namespace), job_ttl=self._settings.job_ttl)

    @cached_property
    def _staging(self) -> Staging:
        return Staging(self._settings.staging)

    @cached_property
    def _wakeup(self) -> Wakeup:
        return Wakeup(self._settings, self._redis)

    def close(self) -> None:
        """Gives the connections back."""
        for name in ("_wakeup", "_redis"):
            if name in self.__dict__:
                self.__dict__.pop(name).close()
        self.__dict__.pop("store", None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- submitting -----------------------------------------------------------------------------------------------
    def submit(
        self,
        *,
        image: Media,
        video: Media,
        prompt: str | None = None,
        model: str = DEFAULT_MODEL,
        mode: str = "720p",
        orientation: str = "video",
        idempotency_key: str | None = None,
        tenant: str = "default",
        labels: Mapping[str, str] | None = None,
        priority: str = "normal",
        deadline: datetime | timedelta | None = None,
        pass_url: bool = False,
    ) -> Job:
        """Enqueue a job: the character of `image` performs the motion of `video`.

        `image` and `video` are paths, bytes, binary file objects or web addresses. With `pass_url` addresses go to the
        vendor as they are, unchecked. After `deadline` the job is not bought any more (it never ends a bought job).
        The same idempotency key with the same request gives the same job.

        Raises InvalidJob and IdempotencyConflict (nothing is enqueued), InvalidSettings (the staging storage can't be
        used, nothing is enqueued), QueueUnavailable (call again with the same key; without one `job_ids` names the jobs
        that may have been enqueued).
        """
        request = Request(
            image=image,
            video=video,
            prompt=prompt,
            model=model,
            mode=mode,
            orientation=orientation,
            idempotency_key=idempotency_key,
            tenant=tenant,
            labels=labels if labels is not None else {},
            priority=priority,
            deadline=deadline,
            pass_url=pass_url,
        )
        return self.submit_many([request])[0]

    def submit_many(self, requests: Iterable[Request | Mapping[str, Any]]) -> Jobs:
        """Enqueue jobs together: all are checked first, and none is enqueued if one is invalid.

        Each request is a `Request` or a mapping with the names of `submit`'s arguments. Raises as `submit` does.
        """
        wanted = _checked(requests)
        staged: Staged = {}
        new = []
        for n, request in enumerate(wanted, 1):
            with numbered(n, len(wanted)):
                new.append(self._stage(request, staged))
        refuse_double_keys(new)
        owners = self.store.owners(new)
        refuse_conflicts(new, owners)
        for n, (request, owner) in enumerate(zip(wanted, owners, strict=True), 1):
            if owner.outcome == "created":
                with numbered(n, len(wanted)):
                    request.check_deadline(datetime.now(UTC))
        created = self.store.create(new)
        self._wakeup.send()
        refuse_conflicts(new, created)
        return self._made(new, created)

    def _made(self, new: Sequence[NewJob], created: Sequence[Created]) -> Jobs:
        """The jobs of a call; what was made just now is known, and not read again."""
        fresh = [job.as_record(made.at) for job, made in zip(new, created, strict=True) if made.outcome == "created"]
        eta = self._eta(fresh)
        views = {record.id: to_job(record, eta.get(record.id)) for record in fresh}
        known = dict.fromkeys(made.job_id for made in created if made.job_id not in views)
        views |= {job.id: job for job in self._view(self.store.get_many(known))}
        return [views[made.job_id] for made in created if made.job_id in views]

    def _stage(self, request: Request, staged: Staged) -> NewJob:
        return NewJob(
            id=str(ULID()).lower(),
            spec=request.stage(self._staging, staged),
            tenant=request.tenant,
            labels=dict(request.labels),
            priority=request.priority,
            deadline=_milliseconds("deadline", request.deadline),
            idempotency_key=request.idempotency_key,
        )

    # -- looking --------------------------------------------------------------------------------------------------
    def get(self, job_id: str) -> Job:
        """The job now, with its events. Raises JobNotFound, QueueUnavailable."""
        record = self.store.get(arguments.text("job_id", job_id))
        return to_job(record, self._eta([record]).get(job_id))

    def wait(self, job_id: str, timeout: float | None = None) -> Job:
        """The job when it has ended, well or badly (`Job.raise_for_failure` tells); `timeout` in seconds.

        Raises JobNotFound, QueueUnavailable, and WaitTimeout when the caller's patience ends; the job then goes on.
        """
        patience = arguments.patience("timeout", timeout)
        for job in self.watch([arguments.text("job_id", job_id)], timeout=patience):
            if job.done:
                return self.get(job_id)
        raise WaitTimeout(f"job {job_id} is not done after {patience:g} s; it goes on")

    def watch(self, job_ids: Iterable[str], timeout: float | None = None) -> Iterator[Job]:
        """Each job each time it is looked at, with its last event alone.

        Ends when all are done, or `timeout` seconds are over. Raises JobNotFound, QueueUnavailable.
        """
        open_ids, patience = arguments.texts("job_ids", job_ids), arguments.patience("timeout", timeout)
        return self._watch(open_ids, time.monotonic() + patience if patience is not None else None)

    def _watch(self, open_ids: Sequence[str], ends: float | None) -> Iterator[Job]:
        pause = _WAIT_FIRST
        while open_ids:
            jobs = self._view(self.store.get_many(open_ids), last=1)
            missing = set(open_ids) - {job.id for job in jobs}
            if missing:
                raise JobNotFound(min(missing))
            yield from jobs
            open_ids = [job.id for job in jobs if not job.done]
            left = ends - time.monotonic() if ends is not None else pause
            if not open_ids or left <= 0:
                return
            time.sleep(min(pause, left))
            pause = min(pause * 1.3, _WAIT_LONGEST)

    def list(
        self,
        *,
        states: Iterable[str | State] = (),
        labels: Mapping[str, str] | None = None,
        tenant: str | None = None,
        task_id: str | None = None,
        since: datetime | timedelta | None = None,
        limit: int | None = 50,
    ) -> Jobs:
        """Jobs, newest first, that match everything given; `since` is a moment or how long ago.

        Raises InvalidJob for a state that does not exist, and QueueUnavailable.
        """
        after, most = _milliseconds("since", since, ago=True), arguments.whole("limit", limit)
        pairs = arguments.pairs("labels", labels)
        found: Records = []
        for record in self._candidates(task_id, _states(states) or tuple(State)):
            if after and record.created_at < after:
                break
            if _matches(record, pairs, tenant):
                found.append(record)
            if most is not None and len(found) >= most:
                break
        return self._view(found)

    def _candidates(self, task_id: str | None, wanted: tuple[State, ...]) -> Iterator[Record]:
        if task_id is None:
            return self.store.newest(wanted)
        owner = self.store.by_task(arguments.text("task_id", task_id))
        return iter([r for r in self.store.get_many([owner] if owner else []) if r.state in wanted])

    # -- acting ---------------------------------------------------------------------------------------------------
    def cancel(self, job_id: str) -> Job:
        """Ends a job. One that may have been bought is `cancelling` until kie.ai's verdict; a paid result is kept.

        Answers when the cancel survives a power loss of the server. Raises JobNotFound, QueueUnavailable, and
        ActionRefused for a job that is being delivered, has succeeded or has failed.
        """
        arguments.text("job_id", job_id)
        with safely(self.store) as written:
            record = actions.cancel(self.store, job_id)
            written.append(record.since)
        self._wakeup.send()
        return self.get(job_id)

    def replay(self, job_id: str, *, may_pay_twice: bool = False) -> Job:
        """Takes a failed or cancelled job up again: what was paid is delivered, what was bought is waited for.

        A job whose purchase has no task ID is bought again only with `may_pay_twice`. Raises JobNotFound,
        ActionRefused, QueueUnavailable.
        """
        arguments.text("job_id", job_id)
        consent = open_of(self.store.get(job_id)) if may_pay_twice else ()
        with safely(self.store) as written:
            record = actions.replay(self.store, job_id, consent)
            if consent:
                written.append(record.updated_at)
        self._wakeup.send()
        return self.get(job_id)

    def attach(self, job_id: str, task_id: str, *, unchecked: bool = False, timeout: float = 60.0) -> Job:
        """Names kie.ai's task of a job whose purchase lost it, and waits `timeout` s until a worker has verified it.

        With `unchecked` it is taken without asking kie.ai. Raises JobNotFound, InvalidJob (not a task ID),
        QueueUnavailable, and ActionRefused when the task is another request's or no worker found it in time.
        """
        arguments.text("job_id", job_id), arguments.text("task_id", task_id)
        patience = arguments.patience("timeout", timeout) or 0.0
        if unchecked:
            with safely(self.store) as written:
                actions.attach_unchecked(self.store, job_id, task_id)
                written.append(self.store.now())
        elif nonce := actions.attach(self.store, job_id, task_id):
            self._wakeup.send()
            actions.await_attached(self.store, job_id, nonce, task_id, patience)
        return self.get(job_id)

    # -- the gate -------------------------------------------------------------------------------------------------
    def gate(self) -> GateStatus:
        """Whether jobs are bought now, and why not. Raises QueueUnavailable."""
        return gate_status(self.store, self._settings.max_credits_per_day)

    def pause(self, message: str = "") -> GateStatus:
        """Nothing is bought any more until `resume`; what is bought goes on. Raises QueueUnavailable."""
        self.store.pause("operator", arguments.text("message", message))
        return self.gate()

    def resume(self, *, restored: bool = False) -> GateStatus:
        """Opens the gate, whatever closed it; one that is closed as `restored` only with `restored`.

        Raises ActionRefused, QueueUnavailable.
        """
        if not self.store.resume(restored=restored):
            raise ActionRefused(NOT_LOOKED_AT)
        self._wakeup.send()
        return self.gate()

    # -- help -----------------------------------------------------------------------------------------------------
    def _view(self, records: Sequence[Record], *, last: int = EVENTS_KEPT) -> Jobs:
        """What callers see; with few of their events where the same jobs are looked at again and again."""
        eta = self._eta(records)
        return [to_job(record, eta.get(record.id), last=last) for record in records]

    def _eta(self, records: Sequence[Record]) -> dict[str, float | None]:
        return etas(self.store, self._settings, records)


def _checked(requests: Iterable[Request | Mapping[str, Any]]) -> Sequence[Request]:
    """The requests, each of them good as far as can be said without opening a file. Raises InvalidJob."""
    if isinstance(requests, Request | Mapping | str | bytes) or not isinstance(requests, Iterable):
        raise TypeError(f"requests: must be several requests (a list), not {type(requests).__name__}")
    given = list(requests)
    wanted = []
    for n, one in enumerate(given, 1):
        with numbered(n, len(given)):
            request = one if isinstance(one, Request) else Request.from_fields(one)
            request.check()
            wanted.append(request)
    return wanted


def _states(wanted: Iterable[str | State]) -> tuple[State, ...]:
    if not isinstance(wanted, Iterable):
        raise TypeError(f"states: must be several states (a list), not {type(wanted).__name__}")
    try:
        return tuple(State(state) for state in ([wanted] if isinstance(wanted, str) else wanted))
    except ValueError as error:
        raise InvalidJob(f"states: {error}", field="states", limit=[str(state) for state in State]) from None


def _milliseconds(name: str, moment: datetime | timedelta | None, *, ago: bool = False) -> int | None:
    """Since the epoch; a length of time counts from now on, or backwards. Raises InvalidJob."""
    if moment is not None and not isinstance(moment, datetime | timedelta):
        raise InvalidJob(f"{name}: must be a datetime or a timedelta", field=name, value=type(moment).__name__)
    if isinstance(moment, timedelta):
        moment = datetime.now(UTC) + (-moment if ago else moment)
    return None if moment is None else int(moment.timestamp() * 1000)


def _matches(record: Record, labels: Mapping[str, str], tenant: str | None) -> bool:
    if tenant is not None and record.tenant != tenant:
        return False
    return all(record.labels.get(name) == value for name, value in labels.items())
