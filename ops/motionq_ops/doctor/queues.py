"""Who works: live workers, consumers of each queue, alarms that nobody answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass

from celery import Celery
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from motionq.broker import broker_options, broker_tls, broker_url
from motionq.contract.connection import reachable
from motionq.contract.keys import QUEUES, SILENT, STEPS, Keys
from motionq.contract.settings import Settings
from motionq.contract.states import UNFINISHED
from motionq.contract.store import JobStore
from motionq_ops.doctor.findings import Finding, error, ok, warning

LATE = 60.0  # seconds
_ASKED = 2.0  # seconds for which workers may answer
_START = "celery -A motionq_worker.app worker (docker compose up -d; or motionq up)"


@dataclass(frozen=True, kw_only=True)
class QueueFacts:
    """`workers`: names with a sign of life. `consumers`: queue -> how many workers take from it, None: nobody said.

    `waiting`: queue -> messages. `late`: step -> seconds by which its oldest alarm is overdue.
    """

    workers: tuple[str, ...]
    consumers: Mapping[str, int] | None
    waiting: Mapping[str, int]
    late: Mapping[str, float]
    unfinished: int


def look_at_queues(settings: Settings, store: JobStore) -> QueueFacts:
    """Raises QueueUnavailable."""
    keys, now = store.keys, store.now()
    pipe = store.redis.pipeline(transaction=False)
    pipe.zrangebyscore(keys.workers, now - int(SILENT * 1000), "+inf")
    for queue in QUEUES:
        pipe.llen(keys.queue(queue))
    for step in STEPS:
        pipe.zrange(keys.due(step), 0, 0, withscores=True)
    with reachable():
        workers, *rest = pipe.execute()
    alarms = dict(zip(STEPS, rest[len(QUEUES) :], strict=True))
    counts = store.counts()
    return QueueFacts(
        workers=tuple(sorted(workers)),
        consumers=_consumers(settings, keys) if workers else {},
        waiting=dict(zip(QUEUES, rest[: len(QUEUES)], strict=True)),
        late={step: max(0.0, (now - first[0][1]) / 1000) if first else 0.0 for step, first in alarms.items()},
        unfinished=sum(counts[state] for state in UNFINISHED),
    )


def _consumers(settings: Settings, keys: Keys) -> dict[str, int] | None:
    """By asking every worker which queues it takes from; None when none of them answers."""
    app = Celery("motionq-doctor", set_as_current=False)
    app.conf.update(
        broker_url=broker_url(settings.server()),
        broker_use_ssl=broker_tls(settings.server()),
        broker_transport_options=broker_options(settings),
    )
    with closing(app):
        try:
            answers = app.control.inspect(timeout=_ASKED).active_queues()
        except (KombuError, RedisError, OSError):
            return None
    if not answers:
        return None
    taken = [queue["name"] for queues in answers.values() for queue in queues]
    return {queue: taken.count(keys.queue_name(queue)) for queue in QUEUES}


def judge_queues(facts: QueueFacts) -> Iterator[Finding]:
    """Every finding about workers and queues."""
    if not facts.workers:
        yield _nobody(facts)
        return
    yield ok("workers", f"{len(facts.workers)} alive", value=len(facts.workers))
    yield from _unconsumed(facts)
    for step, seconds in facts.late.items():
        if seconds > LATE:
            yield warning(
                "alarms",
                f"the oldest alarm of {step} is {seconds:,.0f} s late",
                value=round(seconds),
                limit=LATE,
                why="jobs wait although workers are alive: these have too much to do, or their clocks can't tick",
                mend="add workers (Compose: WORKERS=N in .env and docker compose up -d), and look into their logs",
            )


def _nobody(facts: QueueFacts) -> Finding:
    level = error if facts.unfinished else warning
    return level(
        "workers",
        f"no worker is alive; {facts.unfinished} jobs are not finished",
        value=0,
        limit=1,
        why="nobody uploads, buys, checks or delivers; what is bought is not lost, but waits",
        mend=f"start one: {_START}",
    )


def _unconsumed(facts: QueueFacts) -> Iterator[Finding]:
    if facts.consumers is None:
        yield warning(
            "queues",
            f"no worker said within {_ASKED:g} s which queues it takes from",
            why="a queue without a consumer would go unseen",
            mend="run the doctor again; look at the workers' logs if they stay silent",
        )
        return
    missing = [queue for queue in QUEUES if not facts.consumers.get(queue)]
    for queue in missing:
        waiting, late = facts.waiting.get(queue, 0), facts.late.get(queue, 0.0)
        level = error if waiting or late > LATE else warning
        yield level(
            "queues",
            f"no worker takes from the queue {queue}; {waiting} messages wait",
            value=0,
            limit=1,
            why="jobs that come to this step stop there",
            mend=f"start a worker without -Q, or one with this queue among its -Q: {_START}",
        )
    if not missing:
        yield ok("queues", "every queue has a worker that takes from it", value=min(facts.consumers.values()))
