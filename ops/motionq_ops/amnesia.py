"""What a new sandbox does not know any more: it keeps nothing, while the records of earlier jobs are kept.

So before workers start on such records: uploads are forgotten (the next purchase uploads again), and jobs whose tasks
are gone are ended with a sentence, instead of waiting for them for a day.
"""

from __future__ import annotations

from motionq.contract import states
from motionq.contract.connection import reachable
from motionq.contract.errors import InvalidSettings
from motionq.contract.job import Failure
from motionq.contract.record import Record
from motionq.contract.states import Move, State
from motionq.contract.store import JobStore
from motionq_worker.sweeper import LOOPBACK

_GONE = Failure(reason="vendor_silent", message="the sandbox was restarted and has forgotten this task", charged="no")
_LOST: dict[State, Move] = {
    State.RUNNING: states.GIVE_UP_SILENT,
    State.SUBMITTING: states.GIVE_UP_UNKNOWN,
    State.SUBMIT_UNKNOWN: states.GIVE_UP_UNKNOWN,
}


def mark(store: JobStore) -> None:
    """Marks the records as made for the sandbox on this machine; raises InvalidSettings where there are others.

    A stand-in must never answer for jobs that somebody wants to be bought.
    """
    key, redis = store.keys.vendor, store.redis
    with reachable():
        if redis.get(key) != LOOPBACK and any(store.counts().values()):
            raise InvalidSettings(
                "REDIS_URL names a server with jobs that were not made for the sandbox: unset REDIS_URL, or set "
                "another MOTIONQ_NAMESPACE"
            )
        redis.set(key, LOOPBACK)


def forget(store: JobStore) -> int:
    """Brings the records in line with a sandbox that knows nothing; returns how many jobs were ended."""
    with reachable():
        for key in store.redis.scan_iter(match=store.keys.upload("*"), count=500):
            store.redis.delete(key)
    ended = 0
    for record in list(store.newest((State.READY, *_LOST))):
        if record.state is State.READY:
            with reachable():
                store.redis.hdel(store.keys.job(record.id), "uploaded_at")
        else:
            ended += _end(store, record)
    return ended


def _end(store: JobStore, record: Record) -> bool:
    moved = store.move(
        _LOST[record.state],
        record.id,
        nonce=record.nonce,
        task=record.task_id or None,
        set={"failure": _GONE.model_dump_json()},
        event={"step": "up", "note": _GONE.message},
    )
    return moved.ok
