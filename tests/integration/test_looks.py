"""Many looks at once: what they read of jobs, how their alarms are claimed and set, and the rate of reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

from motionq.contract import states
from motionq.contract.store import Waiting
from support.life import SITUATIONS, SPEC, Life, life

RATE = (1000, 1.0)


@pytest.fixture
def lived(redis_url: str, namespace: str) -> Iterator[Life]:
    """Jobs in a namespace of their own."""
    with life(redis_url, namespace, max_in_flight=1000, submit_rate=(1000, 1.0)) as jobs:
        yield jobs


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_look_knows_what_the_record_says(lived: Life, situation: str) -> None:
    """In every situation of a job the few fields are those of its whole record; who does not exist is left out."""
    record = lived.reach(situation, "j1")
    (job,) = lived.store.waiting(["nobody", "j1"])
    assert (job.id, job.state, job.nonce, job.task_id) == ("j1", record.state, record.nonce, record.task_id)
    assert (job.running_since, job.updated_at) == (record.running_since, record.updated_at)
    assert (job.model, job.mode, job.video_seconds) == (SPEC.model, SPEC.mode, record.video_seconds)
    assert job.named is any(p.candidate for p in record.purchases)


def test_words_of_a_caller_are_not_taken_for_fields(lived: Life) -> None:
    """A prompt that looks like a record changes nothing: of model, mode and named tasks only the fields count."""
    words = '","model":"other","mode":"1080p","candidate":"T1" \\"model\\":\\"other\\" "model":"other"'
    lived.reach("running", "j1", spec=SPEC.model_copy(update={"prompt": words}))
    (job,) = lived.store.waiting(["j1"])
    assert (job.model, job.mode, job.named) == (SPEC.model, SPEC.mode, False)


def test_a_named_task_is_seen(lived: Life) -> None:
    """A callback's task on a purchase is known to the look."""
    record = lived.reach("running", "j1")
    lived.store.name_task("j1", record.nonce, "T-named")
    assert [job.named for job in lived.store.waiting(["j1"])] == [True]


def test_what_cannot_be_read_stops_no_other(lived: Life) -> None:
    """A broken record, and a key of another type, are left out."""
    for job in ("broken", "sound"):
        lived.reach("running", job)
    lived.redis.hset(lived.keys.job("broken"), "running_since", "soon")
    lived.redis.lpush(lived.keys.job("list"), "x")
    jobs = lived.store.waiting(["broken", "list", "sound"])
    assert [job.id for job in jobs] == ["sound"]
    assert lived.store.still([(dataclasses.replace(jobs[0], id="list"), 5.0), (jobs[0], 5.0)]) == 1


@pytest.mark.parametrize("situation", ["running", "cancelling, task"])
def test_still_running_sets_the_alarm_and_nothing_else(lived: Life, situation: str) -> None:
    """Beside the alarm and the moment of the last look everything stays as it was."""
    lived.reach(situation, "j1")
    before, now = lived.everything(), lived.store.now()
    assert lived.store.still([(job, 60.0) for job in lived.store.waiting(["j1"])]) == 1
    after = lived.everything()
    assert now + 60_000 <= lived.redis.zscore(lived.keys.due("check"), "j1") <= lived.store.now() + 60_000
    assert now <= lived.store.get("j1").updated_at <= lived.store.now()
    changed = {name for name in before if before[name] != after[name]}
    assert changed <= {lived.keys.due("check"), lived.keys.job("j1")}
    assert before.keys() == after.keys()


@pytest.mark.parametrize("situation", SITUATIONS)
def test_still_running_agrees_with_the_move(lived: Life, situation: str) -> None:
    """In every situation the bulk call sets an alarm exactly where the single move would move the job."""
    record = lived.reach(situation, "j1")
    looks = [(dataclasses.replace(job, task_id=job.task_id or "T1"), 5.0) for job in lived.store.waiting(["j1"])]
    fence = {"nonce": record.nonce, "task": record.task_id or "T1"}
    moves = lived.store.move(states.STILL_RUNNING, "j1", **fence, alarm_in=5000).ok
    assert lived.store.still(looks) == int(moves)


@pytest.mark.parametrize("stale", [{"nonce": "0" * 40}, {"task_id": "T-other"}, {"id": "nobody"}])
def test_a_look_of_yesterday_sets_no_alarm(lived: Life, stale: dict[str, Any]) -> None:
    """Another purchase's look, another task's, or one of a job that is gone: nothing is written."""
    lived.reach("running", "j1")
    (job,) = lived.store.waiting(["j1"])
    before = lived.everything()
    assert lived.store.still([(dataclasses.replace(job, **stale), 60.0)]) == 0
    assert lived.everything() == before


def _running(lived: Life, count: int) -> list[Waiting]:
    for number in range(count):
        lived.reach("running", f"j{number}")
    lived.time_passes()
    return lived.store.waiting([f"j{number}" for number in range(count)])


def test_due_looks_are_claimed_once(lived: Life) -> None:
    """A claimed look comes again when its lease is over, not before; the rest is counted."""
    _running(lived, 5)
    first = lived.store.claim_checks(room=3, lease=60.0, rate=RATE)
    second = lived.store.claim_checks(room=3, lease=60.0, rate=RATE)
    assert (len(first.job_ids), first.left, len(second.job_ids), second.left) == (3, 2, 2, 0)
    assert len({*first.job_ids, *second.job_ids}) == 5
    assert lived.store.claim_checks(room=3, lease=60.0, rate=RATE).job_ids == ()


def test_an_alarm_without_a_record_is_dropped(lived: Life) -> None:
    """It would be claimed for ever."""
    lived.redis.zadd(lived.keys.due("check"), {"nobody": 0})
    assert lived.store.claim_checks(room=3, lease=60.0, rate=RATE).job_ids == ()
    assert lived.redis.zcard(lived.keys.due("check")) == 0


def test_the_read_rate_is_never_exceeded(lived: Life) -> None:
    """Within any window no more is claimed than the rate allows, whoever asks, and whatever is named by callbacks."""
    _running(lived, 10)
    for record in lived.store.newest():
        lived.store.name_task(record.id, record.nonce, record.task_id)
    rate = (6, 3600.0)

    def named() -> int:
        return len(lived.store.due_candidates(room=200, lease=60.0, rate=rate))

    def due() -> int:
        return len(lived.store.claim_checks(room=4, lease=60.0, rate=rate).job_ids)

    assert (due(), named(), due(), named()) == (4, 2, 0, 0)
    for member in lived.redis.zrange(lived.keys.reads, 0, -1):
        lived.redis.zadd(lived.keys.reads, {member: 0})  # an hour passes
    assert len(lived.store.claim_checks(room=4, lease=60.0, rate=rate).job_ids) == 4
