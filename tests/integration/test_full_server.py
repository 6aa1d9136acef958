"""A server that is nearly full, quite full, or takes no writes: new jobs wait outside, what is under way goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from motionq.contract.errors import QueueUnavailable
from motionq.contract.states import RECORD_TASK, State
from motionq.contract.store import Created
from motionq_ops.redis_server import RedisServer
from support.life import FAILURE, Life, life
from support.lines import new
from support.own_server import own_server

FULL = r"is full \(maxmemory reached\) and takes no new jobs$"

pytestmark = pytest.mark.redis_server


@pytest.fixture
def own(server: RedisServer, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Life]:
    """A server of this test's own, which it may fill up."""
    with own_server(request, tmp_path / "own") as mine, life(mine.url, "motionq") as jobs:
        yield jobs
        jobs.redis.config_set("maxmemory", 0)


def _filled_to(own: Life, share: float) -> None:
    used = int(own.redis.info("memory")["used_memory"])
    own.redis.config_set("maxmemory", int(used / share))


def test_new_jobs_are_refused_before_the_server_is_full(own: Life) -> None:
    """Above 90 % of maxmemory a new job is refused in one sentence; below it is made; a repeated call is no new job."""
    own.create("j1")
    _filled_to(own, 0.95)
    before = own.everything()

    with pytest.raises(QueueUnavailable, match=FULL):
        own.create("j2", idempotency_key="k")
    assert own.create("j1") == Created("exists", "j1")
    assert own.everything() == before

    _filled_to(own, 0.8)
    assert own.create("j2", idempotency_key="k") == Created("created", "j2")


def test_a_batch_is_taken_whole_or_not_at_all(own: Life) -> None:
    """A thousand jobs with which the server passes 90 %: whether there is room is asked once, before the first."""
    own.create("j1")
    own.redis.setrange("ballast", 30_000_000, "x")  # so that a tenth is room for them
    jobs = [new(f"b{n}", idempotency_key=f"k{n}") for n in range(1000)]
    used = int(own.redis.info("memory")["used_memory"])
    own.redis.config_set("maxmemory", int((used + 400_000) / 0.9))

    assert {made.outcome for made in own.store.create(jobs)} == {"created"}
    assert int(own.redis.info("memory")["used_memory"]) > 0.9 * int(own.redis.config_get("maxmemory")["maxmemory"])
    with pytest.raises(QueueUnavailable, match=FULL) as refused:
        own.store.create([new(f"c{n}") for n in range(1000)])
    assert refused.value.job_ids == ()
    assert own.store.counts()[State.QUEUED] == 1001


def test_a_full_server_takes_no_jobs_but_every_task_id(own: Life) -> None:
    """At maxmemory half a job is never made, and a sent one goes on from its task ID to its end, and is forgotten."""
    own.reach("submitting", "j1")
    own.redis.config_set("maxmemory", "1mb")
    before = own.everything()

    with pytest.raises(QueueUnavailable, match=FULL):
        own.create("j2", idempotency_key="k")
    assert own.everything() == before

    assert own.move("record_task", "j1", task="T1", event={"step": "submit"}).ok
    assert own.store.by_task("T1") == "j1"
    assert own.store.claim_checks(room=9, lease=15, rate=(50, 1.0)).job_ids == ("j1",)
    assert own.move("paid", "j1", set={"verdict": FAILURE}, spent=-1.5).ok
    claim = own.store.claim("deliver", room=9, lease=20, transfers=9)[0]
    assert own.move("delivered", "j1", claim=f"deliver.{claim.n}").ok
    assert own.redis.hvals(own.keys.spent) == ["64.5"]
    assert own.store.scripts.run("forget", {"limit": 9}) == 0


def test_the_clock_the_gate_and_people_go_on_when_the_server_is_full(own: Life) -> None:
    """Ticks, pauses, the right to send, named tasks, following, cancels, replays and counts work at maxmemory."""
    own.reach("submit_unknown", "asked")
    own.reach("failed, unbought", "again")
    own.reach("queued", "unwanted")
    own.reach("ready, refunded", "alive")
    old = own.store.get("alive").nonce
    own.store.claim("upload", room=9, lease=20)
    assert own.arm() == 1
    own.reach("armed", "armed")
    own.redis.config_set("maxmemory", "1mb")

    assert own.store.scripts.run("tick", {"worker": "w", "turn": 100, "silent": 30_000})[:2] == [1, 1]
    assert own.gate.admit("w") == 0
    assert own.send("armed") == "mine"
    own.store.pause("operator", "full")
    assert (own.store.paused() or {})["reason"] == "operator"
    own.store.resume()
    assert own.store.name_task("asked", own.store.get("asked").nonce, "T") == "stored"
    assert own.named(room=9, lease=15) == ["asked"]
    assert own.store.follow("alive", nonce=own.store.get("alive").nonce, old=old, event={}) == ("ok", "running")
    assert own.move("cancel_unbought", "unwanted").state == "cancelled"
    assert own.store.replay("again", call="c") == ["ok", "queued"]
    own.redis.delete(own.keys.by_tenant)
    assert "queued" in own.store.scripts.run("recount", {})
    assert own.redis.hget(own.keys.by_tenant, "queued default") == "1"


def test_a_full_server_forgets(own: Life) -> None:
    """What is over is dropped at maxmemory: that is what makes room."""
    own.reach("failed, unknown", "old")
    own.redis.zadd(own.keys.ended, {"old": 1})
    own.redis.config_set("maxmemory", "1mb")

    assert own.store.scripts.run("forget", {"limit": 9}) == 1
    assert own.store.get_many(["old"]) == []
    assert not own.redis.exists(own.keys.unsettled)


def test_who_needs_a_person_is_known_on_a_full_server_too(own: Life) -> None:
    """A purchase that is given up at maxmemory is listed; one whose job goes on is not."""
    own.reach("running", "given up")
    own.redis.config_set("maxmemory", "1mb")

    assert own.move("give_up_silent", "given up").ok
    assert own.redis.zrange(own.keys.unsettled, 0, -1) == ["given up"]
    assert own.store.replay("given up", call="c") == ["ok", "running"]
    assert own.redis.zrange(own.keys.unsettled, 0, -1) == []


def test_a_server_that_refuses_writes_is_said_to_be_unavailable(own: Life) -> None:
    """Too few replicas (as a full disk, or a demoted master) is QueueUnavailable, so that a task ID is tried again."""
    own.reach("submitting", "j1")
    own.redis.config_set("min-replicas-to-write", 1)

    with pytest.raises(QueueUnavailable, match=r"takes no writes at this moment$"):
        own.store.move(RECORD_TASK, "j1", nonce=own.store.get("j1").nonce, task="T1")

    own.redis.config_set("min-replicas-to-write", 0)
    assert own.move("record_task", "j1", task="T1").ok
