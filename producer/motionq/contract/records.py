"""Records: what is read of jobs, many of them in one round trip. Nothing is written here."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from redis import Redis

from motionq.contract.connection import reachable
from motionq.contract.errors import JobNotFound
from motionq.contract.keys import Keys
from motionq.contract.record import Record, Unreadable, from_hash
from motionq.contract.states import State

_log = logging.getLogger(__name__)

_PAGE = 500  # records in one round trip
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Records:
    """The jobs of one namespace on one server, as they are on record."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self.redis = redis
        self.keys = keys

    def get(self, job_id: str) -> Record:
        """The record. Raises JobNotFound, Unreadable, QueueUnavailable."""
        with reachable():
            raw: Any = self.redis.hgetall(self.keys.job(job_id))
        if "state" not in raw:
            raise JobNotFound(job_id)
        return from_hash(job_id, raw)

    def get_many(self, job_ids: Iterable[str]) -> list[Record]:
        """The records of those jobs that exist, in this order, in one round trip.

        One that this version can't read is left out (and logged): it must not stop the others.
        """
        ids = list(job_ids)
        pipe = self.redis.pipeline(transaction=False)
        for job_id in ids:
            pipe.hgetall(self.keys.job(job_id))
        with reachable():
            answers = pipe.execute() if ids else []
        # An alarm's claim number may outlive its record for an instant: a hash without a state is no record.
        found = (_readable(job_id, raw) for job_id, raw in zip(ids, answers, strict=True) if "state" in raw)
        return [record for record in found if record is not None]

    def tasks(self, job_ids: Iterable[str]) -> dict[str, set[tuple[str, str]]]:
        """For each of these jobs that exists (nonce, task ID) of its purchases that have one."""
        ids = list(job_ids)
        pipe = self.redis.pipeline(transaction=False)
        for job_id in ids:
            pipe.hget(self.keys.job(job_id), "purchases")
        with reachable():
            books = pipe.execute() if ids else []
        return {job_id: _tasks(job_id, str(book)) for job_id, book in zip(ids, books, strict=True) if book}

    def newest(self, states: Sequence[State] = tuple(State), *, batch: int = 200) -> Iterator[Record]:
        """Records, newest first, in the given states."""
        seen: set[str] = set()
        offset = 0
        while True:
            page = self._page(states, offset, batch)
            fresh = [job_id for job_id in page if job_id not in seen]
            seen.update(fresh)
            yield from (r for r in self.get_many(fresh) if r.state in states)
            if len(page) < batch:
                return
            offset += batch

    def _page(self, states: Sequence[State], offset: int, count: int) -> list[str]:
        pipe = self.redis.pipeline(transaction=False)
        for state in states:
            pipe.zrange(self.keys.state(state), 0, offset + count - 1, desc=True, withscores=True)
        with reachable():
            rows = [row for answer in pipe.execute() for row in answer]
        rows.sort(key=lambda row: (row[1], row[0]), reverse=True)  # as the server orders jobs of the same millisecond
        return [job_id for job_id, _ in rows[offset : offset + count]]

    def contents(self, states: Sequence[State]) -> set[str]:
        """SHA-256 of every file that a job in one of these states was given; a job that moves on meanwhile counts."""
        pipe = self.redis.pipeline(transaction=True)  # one moment: between two, a job could change from one to another
        for state in states:
            pipe.zrange(self.keys.state(state), 0, -1)
        with reachable():
            ids = [str(job_id) for answer in pipe.execute() for job_id in answer]
        found: set[str] = set()
        for start in range(0, len(ids), _PAGE):
            pages = self.redis.pipeline(transaction=False)
            for job_id in ids[start : start + _PAGE]:
                pages.hget(self.keys.job(job_id), "spec")
            with reachable():
                for spec in pages.execute():
                    found.update(_SHA256.findall(spec or ""))  # whatever version of motionq wrote it
        return found

    def by_task(self, task_id: str) -> str | None:
        """The job that a vendor's task ID belongs to."""
        with reachable():
            owner = self.redis.get(self.keys.task(task_id))
        return str(owner) if owner else None

    def counts(self) -> dict[State, int]:
        """How many jobs are in each state."""
        pipe = self.redis.pipeline(transaction=False)
        for state in State:
            pipe.zcard(self.keys.state(state))
        with reachable():
            return dict(zip(State, pipe.execute(), strict=True))

    def now(self) -> int:
        """The server's clock, ms since the epoch."""
        with reachable():
            whole, micro = self.redis.time()
        return int(whole) * 1000 + int(micro) // 1000


def _readable(job_id: str, raw: dict[str, str]) -> Record | None:
    try:
        return from_hash(job_id, raw)
    except Unreadable as error:
        _log.error("%s", error)
        return None


def _tasks(job_id: str, book: str) -> set[tuple[str, str]]:
    try:
        return {(purchase["nonce"], purchase["task_id"]) for purchase in json.loads(book) if "task_id" in purchase}
    except (ValueError, TypeError, KeyError) as error:
        _log.error("the record of job %s can't be read: %s", job_id, type(error).__name__)
        return set()
