"""Many looks at once: what they read of jobs, how their alarms are claimed and set, and the rate of reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from motionq.contract import states
from motionq.contract.settings import Settings
from motionq.contract.store import Waiting
from motionq_worker.kie.errors import Unavailable
from motionq_worker.kie.messages import Phase, Reading
from motionq_worker.kie.poller import Looks
from motionq_worker.pipeline import check
from motionq_worker.reading import read_status
from motionq_worker.services import Services
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


# -- the rate, where the reading happens ----------------------------------------------------------------------------
class Vendor:
    """Answers every look with "still running", and notes which came."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def close(self) -> None:
        """As the poller does."""

    def arrivals(self, task_ids: Sequence[str], timeout: float, whole: frozenset[str]) -> Iterator[Looks]:
        """All at once."""
        self.read += task_ids
        yield {task_id: Reading(task_id=task_id, state="generating", phase=Phase.RUNNING) for task_id in task_ids}


@pytest.fixture
def vendor() -> Vendor:
    """kie.ai."""
    return Vendor()


@pytest.fixture
def services(redis_url: str, namespace: str, vendor: Vendor, tmp_path: Path) -> Iterator[Services]:
    """A worker's, with six reads an hour."""
    rate = {"read_rate": (6, 3600.0), "kie_api_key": "none", "data_dir": tmp_path}
    built = Services(Settings(redis_url=SecretStr(redis_url), namespace=namespace, **rate))
    built.__dict__["poller"] = vendor
    yield built
    built.close()


def _check(services: Services, job_ids: Sequence[str]) -> dict[str, Any]:
    return check(job_ids, "check.m", "w", services)


def test_no_more_is_read_than_the_rate_allows_whatever_was_given_out(
    lived: Life, services: Services, vendor: Vendor
) -> None:
    """Messages that waited come all at once: what there is no room for is due again, and read when there is."""
    _running(lived, 10)
    assert len(lived.store.claim_checks(room=10, lease=60.0, rate=RATE).job_ids) == 10
    for start in (0, 5):
        _check(services, [f"j{number}" for number in range(start, start + 5)])

    assert len(vendor.read) == 6
    due = {
        job
        for job, at in lived.redis.zrange(lived.keys.due("check"), 0, -1, withscores=True)
        if at <= lived.store.now()
    }
    late = {f"j{n}" for n in range(10)} - {lived.store.by_task(task) for task in vendor.read}
    assert len(due) == 4
    assert due == late
    _an_hour_passes(lived)
    claimed = lived.store.claim_checks(room=10, lease=60.0, rate=RATE).job_ids
    _check(services, claimed)
    assert len(vendor.read) == len(set(vendor.read)) == 10


def test_a_job_with_two_tasks_counts_twice(lived: Life, services: Services, vendor: Vendor) -> None:
    """Its own task, and another one that somebody names: named ones come first, and come again without a permit."""
    _running(lived, 4)
    for number in range(4):
        record = lived.store.get(f"j{number}")
        lived.store.name_task(record.id, record.nonce, f"another {number}")
    assert len(lived.store.due_candidates(room=10, lease=60.0, rate=RATE)) == 4
    _check(services, [f"j{number}" for number in range(4)])

    assert vendor.read[:4] == [f"another {number}" for number in range(4)]
    assert len(vendor.read) == 6


def test_who_waited_too_long_is_left_to_the_next_message(lived: Life, services: Services, vendor: Vendor) -> None:
    """A look that begins shortly before its job is given out again would be done twice."""
    _running(lived, 2)
    now = lived.store.now()
    lease = services.settings.check_lease * 1000
    lived.redis.zadd(lived.keys.due("check"), {"j0": now + lease * 0.2, "j1": now + lease * 0.9})
    _check(services, ["j0", "j1"])
    assert vendor.read == [lived.store.get("j1").task_id]


def test_a_single_reading_counts_too(lived: Life, services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a job is bought again its earlier task is read: within the rate, or not at all."""
    asked: list[str] = []
    monkeypatch.setattr(services.kie, "read", asked.append)
    monkeypatch.setattr("motionq_worker.reading._PATIENCE", 0.0)
    for _ in range(6):
        read_status(services, "T")
    with pytest.raises(Unavailable, match="MOTIONQ_READ_RATE"):
        read_status(services, "T")
    assert asked == ["T"] * 6


def test_a_clock_that_is_set_back_stops_no_reading(lived: Life) -> None:
    """What was counted in the future of the server's clock is forgotten."""
    for key in (lived.keys.reads, lived.keys.looked):
        lived.redis.zadd(key, {"1000 at 1 1000": lived.store.now() + 3_600_000})
    _running(lived, 2)
    assert len(lived.store.claim_checks(room=2, lease=60.0, rate=RATE).job_ids) == 2
    assert lived.store.may_read(2, RATE) == 2


def _an_hour_passes(lived: Life) -> None:
    for key in (lived.keys.reads, lived.keys.looked):
        for member in lived.redis.zrange(key, 0, -1):
            lived.redis.zadd(key, {member: 0})
