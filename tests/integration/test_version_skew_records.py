"""Records that this release must not touch, or can't read: said in one clear sentence, damaged never, bought never."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from motionq.contract import states
from motionq.contract.errors import JobFailed, MotionQueueError
from motionq.contract.record import Unreadable, from_hash
from motionq.contract.settings import Settings
from motionq_worker import pipeline
from motionq_worker.execution import Execution, Later
from motionq_worker.services import Services
from support.invariants import violations
from support.life import Life

HOMES = {"queued": "upload", "armed": "submit", "submit_unknown": "submit", "running": "check", "delivering": "deliver"}


@pytest.fixture
def services(redis_url: str, namespace: str, tmp_path: Path) -> Iterator[Services]:
    """What a worker's steps have; the vendor is not there, and nobody may look for it."""
    made = Services(Settings(redis_url=redis_url, namespace=namespace, data_dir=tmp_path, kie_api_key="none"))
    yield made
    made.close()


def _run(lived: Life, step: str) -> Execution:
    n = int(lived.record_fields("job")[f"n_{step}"])
    return Execution(job_id="job", step=step, n=n, worker="w1@host", token="t")


def _of_schema(lived: Life, version: int) -> None:
    lived.redis.hset(lived.keys.job("job"), "schema_version", version)


# -- a newer schema --------------------------------------------------------------------------------------------------
@pytest.mark.redis_server
@pytest.mark.parametrize("situation", ["queued", "armed", "submit_unknown", "running", "delivering, paid"])
def test_a_job_of_a_newer_schema_is_left_alone(lived: Life, situation: str, caplog: pytest.LogCaptureFixture) -> None:
    """No clock claims it, nothing of it changes, one line says so once; after the upgrade it goes on."""
    lived.reach(situation, "job")
    step = HOMES[situation.partition(",")[0]]
    _of_schema(lived, 2)
    lived.time_passes()
    before = lived.record_fields("job")

    for _ in range(2):
        lived.redis.zadd(lived.keys.due(step), {"job": 0})
        assert lived.store.claim(step, room=9, lease=20, transfers=9, rate=9) == []
        lived.redis.zadd(lived.keys.due(step), {"job": 0})
        assert lived.store.claim_checks(room=9, lease=20, rate=(50, 1.0)).job_ids == ()

    assert lived.record_fields("job") == before
    assert caplog.messages == [
        "the record of job job was written by a newer motionq (schema 2, this one knows 1): "
        "it is left alone until this program is upgraded"
    ]
    _of_schema(lived, 1)
    assert list(violations(lived.redis, lived.keys, jobs=["job"], tenants=["default"], cap=100, rate=20)) == []
    assert lived.redis.zscore(lived.keys.due(step), "job") <= lived.store.now() + 20_000
    if step == "check":
        lived.time_passes()
        assert lived.store.claim_checks(room=9, lease=20, rate=(50, 1.0)).job_ids == ("job",)
    else:
        assert lived.claim(step, "job").startswith(f"{step}.")


@pytest.mark.redis_server
def test_the_gate_does_not_buy_for_a_newer_schema(lived: Life) -> None:
    """It stays in its line, and is bought for after the upgrade."""
    lived.reach("ready", "job")
    _of_schema(lived, 2)
    before = lived.record_fields("job")

    assert lived.gate.admit("worker") == 0
    assert lived.record_fields("job") == before
    assert lived.redis.zrange(lived.keys.line("default"), 0, -1) == ["job"]

    _of_schema(lived, 1)
    assert lived.arm() == 1


def test_no_move_touches_a_newer_schema(lived: Life) -> None:
    """A person, a callback, a step that had begun: the server refuses whatever this release would write."""
    lived.reach("running", "job")
    record = lived.store.get("job")
    _of_schema(lived, 2)
    before = lived.record_fields("job")

    with pytest.raises(Exception, match="was written by a newer motionq"):
        lived.store.move(states.PAID, "job", nonce=record.nonce, task=record.task_id)
    with pytest.raises(Exception, match="was written by a newer motionq"):
        lived.store.name_task("job", record.nonce, "another")
    with pytest.raises(Unreadable, match=r"\(schema 2, this one knows 1\)"):
        lived.store.get("job")
    assert lived.record_fields("job") == before


def test_what_a_number_of_a_schema_is() -> None:
    """Only a higher number is newer; what is no number is merely unreadable or nothing to speak of."""
    for version, newer in (("2", True), ("17", True), ("1", False), ("x", False)):
        with pytest.raises(Unreadable) as caught:
            from_hash("job", {"schema_version": version, "state": "hush"})
        assert caught.value.newer is newer
        assert isinstance(caught.value, MotionQueueError)


# -- a request that can't be read --------------------------------------------------------------------------------------
def _break_the_request(lived: Life) -> None:
    lived.redis.hset(lived.keys.job("job"), "spec", '{"image": "hush"}')


def test_before_it_is_bought_it_fails(lived: Life, services: Services) -> None:
    """The upload step ends it: one sentence, nothing charged, and its set is left."""
    lived.reach("queued", "job")
    lived.claim("upload", "job")
    _break_the_request(lived)

    with pytest.raises(JobFailed, match=r"^job: unreadable: the record of job job \(schema 1\) can't be read: \w+$"):
        pipeline.upload(_run(lived, "upload"), services)

    fields = lived.record_fields("job")
    failure = json.loads(fields["failure"])
    assert (fields["state"], failure["reason"], failure["charged"]) == ("failed", "unreadable", "no")
    assert failure["message"] == "the record of job job (schema 1) can't be read: ValidationError"
    assert lived.redis.zscore(lived.keys.due("upload"), "job") is None
    assert lived.redis.zscore(lived.keys.ended, "job") is not None


def test_armed_it_is_not_sent_and_its_slot_comes_back(lived: Life, services: Services) -> None:
    """Nothing was sent: the purchase is closed so, the slot is free, and the upload step then ends the job."""
    lived.reach("armed", "job")
    lived.claim("submit", "job")
    _break_the_request(lived)

    with pytest.raises(Later, match="can't be read"):
        pipeline.submit(_run(lived, "submit"), services)

    assert lived.redis.zcard(lived.keys.slots) == 0
    assert [p["status"] for p in json.loads(lived.record_fields("job")["purchases"])] == ["not_sent"]
    assert lived.gate.admit("worker") == 0
    assert lived.record_fields("job")["state"] == "queued"
    lived.claim("upload", "job")
    with pytest.raises(JobFailed, match="unreadable"):
        pipeline.upload(_run(lived, "upload"), services)


def test_once_sent_it_is_left_as_it_is(lived: Life, services: Services) -> None:
    """A purchase that may have been made keeps its slot and its books, whatever can't be read beside them."""
    lived.reach("submit_unknown", "job")
    lived.claim("submit", "job")
    _break_the_request(lived)
    before = lived.record_fields("job")

    with pytest.raises(Unreadable):
        pipeline.submit(_run(lived, "submit"), services)

    assert lived.record_fields("job") == before
    assert lived.redis.zcard(lived.keys.slots) == 1


def test_unreadable_purchases_are_not_judged(lived: Life, services: Services) -> None:
    """Where the books themselves can't be read nobody knows what was paid: the job neither fails nor is bought."""
    lived.reach("queued, refused", "job")
    lived.claim("upload", "job")
    lived.redis.hset(lived.keys.job("job"), "purchases", "hush")

    with pytest.raises(Exception, match=r"hush|JSON|invalid"):
        pipeline.upload(_run(lived, "upload"), services)

    assert lived.record_fields("job")["state"] == "queued"
