"""Running jobs that the benchmarks put on record: what they have, and what is counted of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from motionq.contract.connection import connect
from motionq.contract.keys import Keys
from motionq.contract.settings import Settings
from motionq.contract.states import State
from motionq.contract.store import JobStore
from motionq_ops.bench.waiting_seed import TENANT, Seeder, job_bytes


@pytest.fixture
def store(redis_url: str, namespace: str) -> Iterator[JobStore]:
    """A store in a namespace of its own."""
    redis: Redis = connect(Settings(redis_url=redis_url))
    yield JobStore(redis, Keys(namespace))
    redis.close()


def test_jobs_have_what_callers_give_them(store: JobStore) -> None:
    """A tenant, a label and an idempotency key, and they run."""
    (job_id,) = Seeder(store).running(1, 10.0)
    (record,) = store.get_many([job_id])
    assert (record.state, record.tenant, record.labels) == (State.RUNNING, TENANT, {"order": f"order-{job_id[-8:]}"})
    assert str(store.redis.get(store.keys.idempotency(TENANT, job_id))).startswith(f"{job_id}:")


def test_every_key_of_a_job_is_counted(store: JobStore) -> None:
    """Record, task and idempotency key, by the server's own measure, and the whole of the sets it is alone in."""
    (job_id,) = Seeder(store).running(1, 10.0)
    (record,) = store.get_many([job_id])
    keys = store.keys
    own = (keys.job(job_id), keys.task(record.task_id), keys.idempotency(TENANT, job_id))
    shared = (keys.due("check"), keys.state(State.RUNNING), keys.slots)
    sizes = [int(store.redis.memory_usage(name, samples=0) or 0) for name in (*own, *shared)]
    assert min(sizes) > 0
    assert job_bytes(store, [job_id]) == sum(sizes)


def test_plain_jobs_take_less(store: JobStore) -> None:
    """A key, a label and a tenant cost a job a few hundred bytes."""
    plain, usual = Seeder(store, plain=True).running(1, 10.0), Seeder(store).running(1, 10.0)
    assert 200 < job_bytes(store, usual) - job_bytes(store, plain) < 700
