"""Tasks that somebody names for a purchase: remembered in any state, looked at, and settled; nothing else moves."""

from __future__ import annotations

import json
from typing import Any

import pytest

from motionq.contract.states import Purchase, State
from motionq.contract.store import ORPHANS_KEPT
from support.invariants import violations
from support.life import SITUATIONS, Life

BOUGHT = [situation for situation, steps in SITUATIONS.items() if "arm" in steps]
# The vendor's verdict on this very task is on record: there is nothing to look at.
SETTLED = [s for s in BOUGHT if {"paid", "refunded", "refunded_again"} & set(SITUATIONS[s])]

pytestmark = pytest.mark.redis_server


def _candidates(lived: Life) -> list[str]:
    return list(lived.redis.zrange(lived.keys.candidates, 0, -1))


def _agrees(lived: Life, *jobs: str) -> bool:
    return not list(violations(lived.redis, lived.keys, jobs=jobs, tenants=["default"], cap=9, rate=20))


# -- naming -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("situation", BOUGHT)
def test_a_named_task_is_remembered_and_nothing_else(lived: Life, situation: str) -> None:
    """In any state, final ones too, the purchase notes the task and a set the purchase; no alarm, state, end moves."""
    job = lived.reach(situation, "j1", idempotency_key="k")
    before = lived.everything()

    assert lived.store.name_task("j1", job.nonce, "NAMED") == "stored"

    after = lived.everything()
    (_, named_at), _end = after.pop(lived.keys.candidates)
    assert 0 <= lived.store.now() - int(named_at) < 10_000
    record, was = after.pop(lived.keys.job("j1")), before.pop(lived.keys.job("j1"))
    assert after == before
    assert record[1] == was[1]
    assert _without_purchases(record[0]) == _without_purchases(was[0])
    (line,) = lived.store.get("j1").purchases
    assert line.candidate == "NAMED"
    assert vars(line) | {"candidate": None} == vars(job.purchases[0])
    assert _candidates(lived) == [f"j1:{job.nonce}"]


def _without_purchases(flat: list[str]) -> dict[str, str]:
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    del fields["purchases"]
    return fields


@pytest.mark.parametrize("situation", SETTLED)
def test_what_has_its_verdict_is_known(lived: Life, situation: str) -> None:
    """A second callback about a paid task changes nothing; a refunded one may have turned around, and is looked at."""
    job = lived.reach(situation, "j1")
    before = lived.everything()

    paid = situation in ("delivering, paid", "succeeded", "cancelled, paid")
    named = lived.store.name_task("j1", job.nonce, str(job.purchases[0].task_id))
    assert named == ("known" if paid else "stored")
    assert (lived.everything() == before) is paid
    assert lived.store.name_task("j1", job.nonce, "0ther") == "stored"


def test_a_running_jobs_own_task_is_looked_at(lived: Life) -> None:
    """The callback of a task that is waited for says that there is news: it is looked at before its alarm."""
    job = lived.reach("running", "j1")

    assert lived.store.name_task("j1", job.nonce, job.task_id) == "stored"
    assert lived.named(room=9, lease=15) == ["j1"]


def test_a_call_for_nobody_is_an_orphan(lived: Life) -> None:
    """An unknown job, or an unknown purchase of a job, leaves one line of a list, and no trace anywhere else."""
    lived.reach("running", "j1")
    before = lived.everything()

    assert lived.store.name_task("nobody", "0" * 40, "T1") == "orphan"
    assert lived.store.name_task("j1", "0" * 40, "T2") == "orphan"

    after = lived.everything()
    lines = [json.loads(line) for line in after.pop(lived.keys.orphans)[0]]
    assert after == before
    assert [(job, task) for _, job, task in lines] == [("j1", "T2"), ("nobody", "T1")]
    assert all(0 <= lived.store.now() - at < 10_000 for at, _, _ in lines)


def test_orphans_are_bounded(lived: Life) -> None:
    """Whoever calls without end fills no server: the last 1,000 are kept."""
    pipe = lived.redis.pipeline(transaction=False)
    for n in range(ORPHANS_KEPT + 5):
        argument = {"id": "nobody", "nonce": "n", "task": f"T{n}", "orphans": ORPHANS_KEPT}
        lived.store.scripts.run("candidate", argument, pipe)
    assert set(pipe.execute()) == {"orphan"}
    assert lived.store.name_task("nobody", "n", "last") == "orphan"

    kept = [json.loads(line)[2] for line in lived.redis.lrange(lived.keys.orphans, 0, -1)]
    assert ORPHANS_KEPT == 1000
    assert kept == ["last", *(f"T{n}" for n in range(1004, 5, -1))]


# -- looking ------------------------------------------------------------------------------------------------------


def test_a_named_task_comes_again_until_it_is_settled(lived: Life) -> None:
    """Each is given out once per lease, within the room; a worker that died over it loses nothing."""
    for job_id in ("j1", "a:b"):
        job = lived.reach("submit_unknown", job_id)
        assert lived.store.name_task(job_id, job.nonce, "T") == "stored"

    first = lived.named(room=1, lease=15)
    assert {*first, *lived.named(room=9, lease=15)} == {"j1", "a:b"}
    assert len(first) == 1
    assert lived.named(room=9, lease=15) == []
    left = [s - lived.store.now() for _, s in lived.redis.zrange(lived.keys.candidates, 0, -1, withscores=True)]
    assert all(10_000 < ms <= 15_000 for ms in left)

    lived.redis.zadd(lived.keys.candidates, dict.fromkeys(_candidates(lived), 0))
    assert sorted(lived.named(room=9, lease=15)) == ["a:b", "j1"]


def test_a_named_task_without_a_record_is_dropped(lived: Life) -> None:
    """When the record is gone nobody could settle it: it is not given out for ever."""
    job = lived.reach("failed, unknown", "j1")
    assert lived.store.name_task("j1", job.nonce, "T") == "stored"
    lived.redis.delete(lived.keys.job("j1"))

    assert lived.named(room=9, lease=15) == []
    assert _candidates(lived) == []


def test_each_purchase_has_a_candidate_of_its_own(lived: Life) -> None:
    """A task named for an older purchase does not hide the one that is named for the newest."""
    old = lived.reach("ready, refused", "j1").nonce
    assert lived.arm() == 1
    new = lived.store.get("j1").nonce
    assert lived.send("j1") == "mine"
    assert lived.store.name_task("j1", old, "OLD") == "stored"
    assert lived.store.name_task("j1", new, "NEW") == "stored"
    assert [p.candidate for p in lived.store.get("j1").purchases] == ["OLD", "NEW"]

    assert lived.move("drop_candidate", "j1", nonce=old, task="OLD").outcome == "booked"

    assert [p.candidate for p in lived.store.get("j1").purchases] == [None, "NEW"]
    assert _candidates(lived) == [f"j1:{new}"]


def test_a_purchase_with_a_named_task_is_not_dropped_from_the_book(lived: Life) -> None:
    """What was booked as not sent is kept while somebody names a task for it, however many purchases follow."""
    old = lived.reach("ready, not sent", "j1").nonce
    assert lived.store.name_task("j1", old, "T") == "stored"
    for _ in range(25):
        assert lived.arm() == 1
        assert lived.move("unconnected", "j1").ok

    book = lived.store.get("j1").purchases
    assert (len(book), book[0].nonce, book[0].candidate) == (20, old, "T")
    assert lived.move("record_task", "j1", nonce=old, task="T").outcome == "booked"
    assert lived.store.get("j1").purchases[0].task_id == "T"


# -- settling -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("situation", BOUGHT)
def test_dropping_settles_and_moves_nothing(lived: Life, situation: str) -> None:
    """A named task that is another purchase's is forgotten; state, alarm, slot and books stay as they were."""
    job = lived.reach(situation, "j1")
    lived.store.name_task("j1", job.nonce, "NAMED")
    sets = _sets(lived)

    assert lived.move("drop_candidate", "j1", task="NAMED").outcome == "booked"

    assert _candidates(lived) == []
    assert _sets(lived) == sets
    after = lived.store.get("j1")
    changes = {"updated_at": job.updated_at}
    assert vars(after) | changes == vars(job)
    assert _agrees(lived, "j1")


def _sets(lived: Life) -> dict[str, Any]:
    """Every set but the one of named tasks, and that of what ends (an end is counted from the last write)."""
    names = (lived.keys.candidates, lived.keys.ended)
    return {k: v for k, (v, _) in lived.everything().items() if k not in names and not k.endswith((":j1", ":T"))}


@pytest.mark.parametrize("situation", ["submitting", "submit_unknown", "failed, unknown", "cancelled, unknown"])
def test_recording_the_task_settles_it(lived: Life, situation: str) -> None:
    """The lost task ID is found again: on record, the job goes on, and nothing is left to look at."""
    job = lived.reach(situation, "j1")
    lived.store.name_task("j1", job.nonce, "FOUND")

    moved = lived.move("record_task", "j1", task="FOUND")

    assert moved.state == (State.CANCELLING if job.state is State.CANCELLED else State.RUNNING)
    (line,) = lived.store.get("j1").purchases
    assert (line.task_id, line.candidate, line.status) == ("FOUND", None, Purchase.OPEN)
    assert _candidates(lived) == []
    assert _agrees(lived, "j1")


@pytest.mark.parametrize("name", ["drop_candidate", "record_task"])
def test_what_was_named_in_the_meantime_is_looked_at_too(lived: Life, name: str) -> None:
    """Settling one named task does not forget another that was named for the purchase while the first was read."""
    job = lived.reach("submit_unknown", "j1")
    lived.store.name_task("j1", job.nonce, "FIRST")
    lived.store.name_task("j1", job.nonce, "SECOND")

    assert lived.move(name, "j1", task="FIRST").outcome in ("ok", "booked")

    assert lived.store.get("j1").purchases[0].candidate == "SECOND"
    assert lived.named(room=9, lease=15) == ["j1"]
    assert lived.move("drop_candidate", "j1", task="SECOND").outcome == "booked"
    assert _candidates(lived) == []


@pytest.mark.parametrize("situation", ["failed, unknown", "failed, refused", "cancelled, paid"])
def test_dropping_for_a_finished_job_leaves_it_its_end(lived: Life, situation: str) -> None:
    """Whoever names tasks for a finished job keeps no key of it alive for ever."""
    job = lived.reach(situation, "j1")
    lived.store.name_task("j1", job.nonce, "NAMED")

    assert lived.move("drop_candidate", "j1", task="NAMED").outcome == "booked"

    assert lived.redis.pexpiretime(lived.keys.job("j1")) == lived.redis.zscore(lived.keys.ended, "j1")
