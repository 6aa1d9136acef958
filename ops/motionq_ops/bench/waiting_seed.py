"""Jobs brought into the middle of their life by the real scripts: every move is the one that workers make."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TypeVar

from ulid import ULID

from motionq.contract import states
from motionq.contract.job import JobSpec, StagedSource
from motionq.contract.keys import Keys
from motionq.contract.settings import Settings
from motionq.contract.states import Move, State
from motionq.contract.store import JobStore, NewJob, moved
from motionq_ops.bench.parts import BenchFailed
from motionq_ops.bench.stub import IMAGE_URL, VIDEO_URL
from motionq_worker.gate import Gate

_AT_ONCE = 500  # jobs per pipeline
_BOUND = 1_000_000  # more than any benchmark has
_PROMPT = "a dance " * 12
TENANT = "customer-17"
_DISK = 0.1  # seconds until a disk at work is looked at again

T = TypeVar("T")


def spec() -> JobSpec:
    """What every job of these benchmarks asks for: as large as a usual request."""
    return JobSpec(
        image=StagedSource(sha256="a" * 64, size=791_555, media_type="image/png", name="hero.png"),
        video=StagedSource(sha256="b" * 64, size=1_055_736, media_type="video/mp4", name="dance.mp4"),
        prompt=_PROMPT,
    )


class Seeder:
    """Makes running jobs. `store` is a store of its own, whose rate slots come back at once.

    Jobs have what callers give them: an idempotency key, a label and a tenant; `plain` ones have none of these.
    """

    def __init__(self, store: JobStore, *, plain: bool = False) -> None:
        self._plain = plain
        self._store = JobStore(store.redis, store.keys, rate_window=0.001)
        settings = Settings(max_in_flight=_BOUND, submit_rate=(_BOUND, 1.0))
        self._gate = Gate(self._store, settings)

    def ready(self, count: int) -> list[str]:
        """New jobs whose files are uploaded, in their tenants' lines."""
        store, ids = self._store, [str(ULID()).lower() for _ in range(count)]
        for some in batches(ids, _AT_ONCE):
            store.create([self._new(job_id) for job_id in some])
            store.hurry("upload", some)  # a tenant's new jobs come due one after another
            claims = store.claim("upload", room=len(some), lease=3600, transfers=_BOUND)
            given = [(c.job_id, f"{c.step}.{c.n}") for c in claims]
            begun = {"step": "upload", "worker": "bench@host"}
            self._move(states.BEGIN_UPLOAD, [(j, {"claim": c, "event": begun}) for j, c in given])
            files = {
                "image_url": IMAGE_URL,
                "video_url": VIDEO_URL,
                "uploaded_at": store.now(),
                "video_seconds": "10.0",
                "estimate": "110.0",
            }
            note = {"step": "upload", "worker": "bench@host", "note": "uploaded image 0.8 MB, video 1.1 MB in 0.5 s"}
            done = {"set": files, "unset": ["turns", "tries"], "event": note}
            self._move(states.UPLOADED, [(j, {"claim": c, **done}) for j, c in given])
        return ids

    def _new(self, job_id: str) -> NewJob:
        if self._plain:
            return NewJob(id=job_id, spec=spec(), labels={})
        order = f"order-{job_id[-8:]}"
        return NewJob(id=job_id, spec=spec(), labels={"order": order}, tenant=TENANT, idempotency_key=job_id)

    def running(self, count: int, interval: float) -> list[str]:
        """Running jobs whose alarms ring within the next `interval` seconds, spread evenly."""
        ids = self.ready(count)
        while self._gate.admit("bench"):
            pass
        self._armed_long_ago(ids)
        for some in batches(ids, _AT_ONCE):
            self._store.hurry("submit", some)
            self._store.claim("submit", room=len(some), lease=60, rate=_BOUND)
            nonces = [(record.id, record.nonce) for record in self._store.get_many(some)]
            self._send(nonces)
            self._record(nonces, interval)
        if (found := self._store.counts()[State.RUNNING]) < count:
            raise BenchFailed(f"{found} of {count} jobs are running")
        return ids

    def spread(self, ids: Sequence[str], first: float, interval: float) -> None:
        """Alarms ring evenly from `first` seconds on, so that no wave goes round: seeding takes longer than a round."""
        for some in batches(ids, _AT_ONCE):
            self._store.still((job, first + random.uniform(0, interval)) for job in self._store.waiting(some))

    def _armed_long_ago(self, ids: Sequence[str]) -> None:
        """The two seconds until an arming is durable are not waited for: there is no money in here."""
        pipe = self._store.redis.pipeline(transaction=False)
        for job_id in ids:
            pipe.hset(self._store.keys.job(job_id), "durable_at", 0)
        pipe.execute()

    def _send(self, nonces: Sequence[tuple[str, str]]) -> None:
        """Nothing is sent while the server's disk is at work; then it is tried again."""
        left = nonces
        while left := self._not_sent(left):
            time.sleep(_DISK)

    def _not_sent(self, nonces: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        pipe = self._store.redis.pipeline(transaction=False)
        for job_id, nonce in nonces:
            argument = {
                "id": job_id,
                "nonce": nonce,
                "token": nonce,
                "rate": _BOUND,
                "lease": 60_000,
                "retry": 1000,
                "busy": 1000,
                "upload_ttl": 72_000_000,
                "event": {"step": "submit", "worker": "bench@host"},
            }
            self._store.scripts.run("send", argument, pipe)
        answers = [answer for answer, _ in pipe.execute()]
        if refused := set(answers) - {"mine", "disk"}:
            raise BenchFailed(f"{len(nonces)} jobs may not be sent: {', '.join(sorted(refused))}")
        return [job for job, answer in zip(nonces, answers, strict=True) if answer == "disk"]

    def _record(self, nonces: Sequence[tuple[str, str]], interval: float) -> None:
        now = self._store.now()
        values = [
            {
                "nonce": nonce,
                "task": nonce[:32],
                "set": {"running_since": now},
                "alarm_in": int(random.uniform(0, interval) * 1000),
                "event": {"step": "submit", "worker": "bench@host", "note": f"task {nonce[:32]}"},
            }
            for job_id, nonce in nonces
        ]
        self._move(states.RECORD_TASK, list(zip([job_id for job_id, _ in nonces], values, strict=True)))

    def _move(self, move: Move, jobs: Sequence[tuple[str, dict[str, object]]]) -> None:
        pipe = self._store.redis.pipeline(transaction=False)
        for job_id, values in jobs:
            self._store.move(move, job_id, pipeline=pipe, **values)
        if bad := [answer for answer in moved(pipe.execute(raise_on_error=False)) if not answer.ok]:
            raise BenchFailed(f"{move.name}: {len(bad)} of {len(jobs)} jobs did not move ({bad[0].outcome})")


def batches(items: Sequence[T], size: int) -> Iterator[list[T]]:
    """Slices of at most `size`."""
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some


def job_bytes(store: JobStore, ids: Sequence[str], state: State = State.RUNNING) -> float:
    """Bytes of Redis' memory per job in this state: its own keys by MEMORY USAGE, its share of sets and indexes.

    Its own keys are the record, its task's name, and its idempotency key.
    """
    keys, redis = store.keys, store.redis
    records = store.get_many(ids)
    own = [name for r in records for name in (keys.job(r.id), keys.task(r.task_id))] + _idempotency(store, ids)
    shared = _shared(keys, state)
    pipe = redis.pipeline(transaction=False)
    for name in (*own, *shared):
        pipe.memory_usage(name, samples=0)
    sizes = [int(size or 0) for size in pipe.execute()]
    sharing = max(1, store.counts()[state])
    return sum(sizes[: len(own)]) / max(1, len(records)) + sum(sizes[len(own) :]) / sharing


def _idempotency(store: JobStore, ids: Sequence[str]) -> list[str]:
    pipe = store.redis.pipeline(transaction=False)
    for job_id in ids:
        pipe.hget(store.keys.job(job_id), "idempotency")
    return [str(name) for name in pipe.execute() if name]


def _shared(keys: Keys, state: State) -> tuple[str, ...]:
    if state is State.RUNNING:
        return keys.due("check"), keys.state(state), keys.slots
    return keys.state(state), keys.ended
