"""What must hold of every key after every step, read from the server itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from redis import Redis

from motionq.contract.keys import STEPS, Keys
from motionq.contract.record import Record, from_hash
from motionq.contract.states import FINAL, HOMES, RESTS, Purchase, State

_IN_FLIGHT = (State.ARMED, State.SUBMITTING)
_CHARGED = (Purchase.OPEN, Purchase.PAID)  # charged, or may be


class Picture:
    """All that the checks need, read in one transaction."""

    def __init__(self, redis: Redis, keys: Keys, jobs: Sequence[str], tenants: Sequence[str]) -> None:
        self._wanted: list[tuple[str, ...]] = []
        self._pipe = redis.pipeline()
        for job in jobs:
            self._want(("job", job), self._pipe.hgetall, keys.job(job))
            self._want(("lives", job), self._pipe.pttl, keys.job(job))
        sets: dict[tuple[str, ...], str] = {("line", t): keys.line(t) for t in tenants}
        sets |= {("due", s): keys.due(s) for s in STEPS}
        sets |= {("state", s): keys.state(s) for s in State}
        sets |= {(name,): getattr(keys, name) for name in ("slots", "ended", "unsettled", "tenants", "rate")}
        for label, name in sets.items():
            self._want(label, self._pipe.zrange, name, 0, -1)
        self._want(("by_tenant",), self._pipe.hgetall, keys.by_tenant)
        answers = self._pipe.execute()
        self.found = dict(zip(self._wanted, answers, strict=True))
        self.records = {job: from_hash(job, self.found["job", job]) for job in jobs if self.found["job", job]}
        self.raw = {job: self.found["job", job] for job in self.records}
        self.owners = self._index(redis, keys)

    def _want(self, label: tuple[str, ...], command: Any, *arguments: object) -> None:
        self._wanted.append(label)
        command(*arguments)

    def _index(self, redis: Redis, keys: Keys) -> dict[str, tuple[str, int]]:
        """Task key -> (its owner, its life in ms); the idempotency keys likewise."""
        names = [keys.task(p.task_id) for r in self.records.values() for p in r.purchases if p.task_id]
        names += [raw["idempotency"] for raw in self.raw.values() if "idempotency" in raw]
        for name in names:
            self._pipe.get(name)
            self._pipe.pttl(name)
        answers = self._pipe.execute() if names else []
        return dict(zip(names, zip(answers[::2], answers[1::2], strict=True), strict=True))

    def homes_of(self, job: str) -> list[str]:
        """The lines and due sets that hold the job."""
        return [":".join(label) for label, ids in self.found.items() if label[0] in ("line", "due") and job in ids]

    def states_of(self, job: str) -> list[str]:
        """The state indexes that hold the job."""
        return [label[1] for label, ids in self.found.items() if label[0] == "state" and job in ids]


def violations(
    redis: Redis, keys: Keys, *, jobs: Sequence[str], tenants: Sequence[str], cap: int, rate: int
) -> Iterator[str]:
    """A sentence for each rule that does not hold. `cap`, `rate`: slots and rate slots altogether."""
    picture = Picture(redis, keys, jobs, tenants)
    for job, record in picture.records.items():
        yield from _sets(picture, job, record)
        yield from _books(record)
        yield from _lives(picture, keys, job, record)
        yield from _tasks(picture, keys, record)
    yield from _strangers(picture, jobs)
    yield from _slots(picture, cap)
    yield from _counts(picture)
    if len(picture.found["rate",]) > rate:
        yield f"{len(picture.found['rate',])} rate slots are taken, there are {rate}"
    lines = sorted(t for t in tenants if picture.found["line", t])
    if sorted(picture.found["tenants",]) != lines:
        yield f"tenants with a line are {lines}, the gate knows {sorted(picture.found['tenants',])}"


def _sets(picture: Picture, job: str, record: Record) -> Iterator[str]:
    final = record.state in FINAL
    home = HOMES.get(record.state)
    wanted = [] if final else [f"line:{record.tenant}" if home == "line" else f"due:{home}"]
    if picture.homes_of(job) != wanted:
        yield f"{record.state} job is in {picture.homes_of(job)}, must be in {wanted}"
    if (job in picture.found["ended",]) != final:
        yield f"{record.state} job: in `ended` is {not final}"
    unsettled = record.state is State.FAILED and any(p.status in _CHARGED for p in record.purchases)
    if (job in picture.found["unsettled",]) != unsettled:
        yield f"{record.state} job: in `unsettled` is {not unsettled}"
    if picture.states_of(job) != [record.state]:
        yield f"{record.state} job is in the indexes {picture.states_of(job)}"


def _books(record: Record) -> Iterator[str]:
    if sum(p.status is Purchase.OPEN for p in record.purchases) > 1:
        yield "two open purchases"
    statuses = {p.status for p in record.purchases}
    if record.state in RESTS and Purchase.STRAY in statuses and not statuses & {Purchase.OPEN, Purchase.PAID}:
        yield f"{record.state} beside a task that nobody follows"
    if len({p.nonce for p in record.purchases}) < len(record.purchases):
        yield "a nonce was armed twice"


def _lives(picture: Picture, keys: Keys, job: str, record: Record) -> Iterator[str]:
    lives = {"job": picture.found["lives", job]}
    tasks = [keys.task(p.task_id) for p in record.purchases if p.task_id]
    for name in [*tasks, picture.raw[job].get("idempotency")]:
        if name:
            lives[name] = picture.owners[name][1]
    ends = {name for name, life in lives.items() if life > 0}
    if ends != (set(lives) if record.state in FINAL else set()):
        yield f"{record.state} job: of {sorted(lives)} these expire: {sorted(ends)}"


def _tasks(picture: Picture, keys: Keys, record: Record) -> Iterator[str]:
    for p in record.purchases:
        owner = picture.owners[keys.task(p.task_id)][0] if p.task_id else None
        if p.task_id and owner != record.id:
            yield f"task {p.task_id} is indexed for {owner}"
    tasks = [p.task_id for p in record.purchases if p.task_id]
    if len(set(tasks)) < len(tasks):
        yield "two purchases have the same task"


def _strangers(picture: Picture, jobs: Iterable[str]) -> Iterator[str]:
    known = set(jobs)
    for label, found in picture.found.items():
        if label[0] in ("line", "due", "state", "ended", "unsettled") and set(found) - known:
            yield f"{label} holds {set(found) - known}, which nobody made"


def _counts(picture: Picture) -> Iterator[str]:
    records = picture.records.values()
    wanted = Counter(f"{record.state} {record.tenant}" for record in records if record.state not in FINAL)
    found = {name: int(value) for name, value in picture.found["by_tenant",].items()}
    if found != wanted:
        yield f"by tenant there are {dict(wanted)} unfinished jobs, counted are {found}"


def _slots(picture: Picture, cap: int) -> Iterator[str]:
    slots = picture.found["slots",]
    if len(slots) > cap:
        yield f"{len(slots)} slots are taken, there are {cap}"
    for slot in slots:
        job, _, nonce = slot.partition(":")
        newest = picture.records[job].purchase
        if newest is None or newest.nonce != nonce or newest.status is not Purchase.OPEN:
            yield f"a slot is held for no open, newest purchase of a {picture.records[job].state} job"
    for job, record in picture.records.items():
        if record.state in _IN_FLIGHT and f"{job}:{record.nonce}" not in slots:
            yield f"{record.state} job holds no slot"
