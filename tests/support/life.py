"""Jobs driven through their life by the real store and the real gate, into every situation a job can be in."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from redis import Redis

from motionq.contract import states
from motionq.contract.job import JobSpec, StagedSource, UrlSource
from motionq.contract.keys import STEPS, Keys
from motionq.contract.record import Record
from motionq.contract.settings import Settings
from motionq.contract.states import Move
from motionq.contract.store import Created, JobStore, Moved, NewJob
from motionq_worker.gate import Gate

SPEC = JobSpec(
    image=StagedSource(sha256="a" * 64, size=10, media_type="image/png", name="hero.png"),
    video=UrlSource(url="https://host/dance.mp4?X-Amz-Signature=hidden"),
)
ESTIMATE = 66.0  # credits: 6 s at 720p
FAILURE = json.dumps({"reason": "some", "message": "for a reason", "charged": "no"})

_ARMED = ("create", "claim_upload", "begin_upload", "uploaded", "arm")
_SENT = (*_ARMED, "send")
_UNKNOWN = (*_SENT, "unknown")
_RUNNING = (*_SENT, "record_task")
# How a job gets into each situation; the word before the comma is its state.
SITUATIONS: Mapping[str, tuple[str, ...]] = {
    "queued": _ARMED[:2],
    "uploading": _ARMED[:3],
    "ready": _ARMED[:4],
    "armed": _ARMED,
    "submitting": _SENT,
    "submit_unknown": _UNKNOWN,
    "running": _RUNNING,
    "cancelling, no task": (*_SENT, "cancel_bought"),
    "cancelling, task": (*_RUNNING, "cancel_bought"),
    "delivering, paid": (*_RUNNING, "paid", "claim_deliver"),
    "delivering, refunded": (*_RUNNING, "refunded", "claim_deliver"),
    "succeeded": (*_RUNNING, "paid", "claim_deliver", "delivered"),
    "queued, refused": (*_SENT, "refused_later"),
    "ready, not sent": (*_ARMED, "unconnected"),
    "ready, refused": (*_SENT, "refused_again"),
    "ready, refunded": (*_RUNNING, "refunded_again"),
    "failed, unbought": (*_ARMED[:3], "fail_upload"),
    "failed, refused": (*_SENT, "refused"),
    "failed, unknown": (*_UNKNOWN, "give_up_unknown"),
    "failed, silent": (*_RUNNING, "give_up_silent"),
    "failed, refunded": (*_RUNNING, "refunded", "claim_deliver", "book_refund"),
    "cancelled, unbought": (*_ARMED[:4], "cancel_unbought"),
    "cancelled, unknown": (*_UNKNOWN, "cancel_bought", "give_up_unknown"),
    "cancelled, silent": (*_RUNNING, "cancel_bought", "give_up_silent"),
    "cancelled, paid": (*_RUNNING, "cancel_bought", "paid"),
}


class Life:
    """The jobs of one namespace. Times in ms of the server's clock."""

    def __init__(self, redis: Redis, keys: Keys, settings: Settings) -> None:
        self.redis: Any = redis  # its types allow for bytes, which `decode_responses` rules out
        self.keys = keys
        self.settings = settings
        self.store = JobStore(redis, keys)
        self.gate = Gate(self.store, settings)
        self.gate.disk_patience = 20.0  # servers are shared, and so are their disks

    # -- honest steps ---------------------------------------------------------------------------------------------
    def reach(self, situation: str, job_id: str, **given: Any) -> Record:
        """A new job in this situation; `given` are fields of NewJob. No other job may be in a line."""
        for step in SITUATIONS[situation]:
            self._step(step, job_id, given)
        record = self.store.get(job_id)
        assert record.state == situation.partition(",")[0]
        return record

    def _step(self, step: str, job_id: str, given: Mapping[str, Any]) -> None:
        if step == "create":
            assert self.create(job_id, **given).outcome == "created"
        elif step.startswith("claim_"):
            self.claim(step.removeprefix("claim_"), job_id)
        elif step == "arm":
            assert self.arm() == 1
        elif step == "send":
            assert self.send(job_id) == "mine"
        else:
            assert self.move(step, job_id).ok, step

    def create(self, job_id: str, **given: Any) -> Created:
        """Puts a job on record."""
        return self.store.create([NewJob(**{"id": job_id, "spec": SPEC, "labels": {}, **given})])[0]

    def claim(self, step: str, job_id: str) -> str:
        """The claim of this job's step, whose alarm rings now."""
        self.redis.zadd(self.keys.due(step), {job_id: 0}, xx=True)
        claims = self.store.claim(step, room=1000, lease=20, transfers=1000)
        return next(f"{c.step}.{c.n}" for c in claims if c.job_id == job_id)

    def named(self, *, room: int, lease: float) -> list[str]:
        """The jobs with a named task that are to be looked at now."""
        return self.store.due_candidates(room=room, lease=lease, rate=(1000, 1.0))

    def arm(self) -> int:
        """Lets the gate admit, and makes what it armed durable at once."""
        armed = self.gate.admit("worker")
        self.time_passes()
        return armed

    def send(self, job_id: str, token: str = "token", nonce: str | None = None) -> str:
        """The gate's verdict over sending the job's newest purchase (or one named by its nonce)."""
        record = self.store.get(job_id)
        if nonce is not None:
            record = Record(**(vars(record) | {"nonce": nonce}))
        return self.gate.send(record, token=token, worker="worker").verdict

    def move(self, move: str | Move, job_id: str, *, call: str | None = None, **values: Any) -> Moved:
        """A move with every right fence, unless `values` say otherwise; `call` repeats an earlier call."""
        move = states.MOVES[move] if isinstance(move, str) else move
        record = self.store.get(job_id)
        task = record.task_id or f"T{record.nonce}"
        fence = {"claim": record.claim or None, "nonce": record.nonce or None, "task": task}
        files = {"uploaded_at": self.store.now(), "estimate": ESTIMATE}
        usual = {"set": files} if move is states.UPLOADED else {}
        argument = {"id": job_id, "call": call or secrets.token_hex(8), "move": move.for_lua()}
        return Moved(*self.store.scripts.run("move", argument | fence | usual | values))

    # -- what a test may do that motionq may not --------------------------------------------------------------------
    def time_passes(self) -> None:
        """Every alarm is due, every arming durable, every lease and rate slot over.

        Tests do not wait: the moments on record are set back instead, directly in the keys.
        """
        pipe = self.redis.pipeline()
        sets = [*map(self.keys.due, STEPS), self.keys.rate, self.keys.transfers]
        for name, members in zip(sets, self._members(sets), strict=True):
            if members:
                pipe.zadd(name, dict.fromkeys(members, 0), xx=True)
        for job_id in self.redis.zrange(self.keys.state("armed"), 0, -1):
            pipe.hset(self.keys.job(job_id), "durable_at", 0)
        pipe.execute()

    def _members(self, names: list[str]) -> list[list[str]]:
        pipe = self.redis.pipeline()
        for name in names:
            pipe.zrange(name, 0, -1)
        return list(pipe.execute())

    def arm_elsewhere(self, job_id: str) -> None:
        """The record now says that another server armed the job, as after a fail-over or a restart."""
        self.redis.hset(self.keys.job(job_id), "armed_under", "other/other")

    def everything(self) -> dict[str, Any]:
        """Every key of the namespace: its value and its end (ms since the epoch, -1: none)."""
        rows = self.redis.eval(_EVERYTHING, 0, f"{self.keys.namespace}:*")
        return {name: (value, end) for name, value, end in rows}

    def record_fields(self, job_id: str) -> dict[str, str]:
        """The hash of a job as it is."""
        return dict(self.redis.hgetall(self.keys.job(job_id)))

    def clean(self) -> None:
        """Drops the namespace: the server is shared."""
        if names := self.redis.keys(f"{self.keys.namespace}:*"):
            self.redis.delete(*names)


# One call: a picture in which nothing can have moved between two keys.
_EVERYTHING = """
local read = {
  hash = function(k) return redis.call('HGETALL', k) end,
  zset = function(k) return redis.call('ZRANGE', k, 0, -1, 'WITHSCORES') end,
  list = function(k) return redis.call('LRANGE', k, 0, -1) end,
  string = function(k) return redis.call('GET', k) end,
}
local found = {}
for _, name in ipairs(redis.call('KEYS', ARGV[1])) do
  found[#found + 1] = {name, read[redis.call('TYPE', name).ok](name), redis.call('PEXPIRETIME', name)}
end
return found
"""


@contextmanager
def life(url: str, namespace: str, **settings: Any) -> Iterator[Life]:
    """The jobs of a namespace on a server, gone afterwards; `settings` are fields of Settings."""
    with Redis.from_url(url, decode_responses=True) as redis:
        lived = Life(redis, Keys(namespace), Settings(**settings))
        try:
            yield lived
        finally:
            lived.clean()
