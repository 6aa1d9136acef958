"""The store on real servers: making jobs, claiming alarms, and how long keys live."""

from __future__ import annotations

import pytest

from motionq.contract.errors import JobNotFound
from motionq.contract.job import StagedSource
from motionq.contract.states import FINAL, RECORD_TASK, State
from motionq.contract.store import Created, JobStore
from support.life import SITUATIONS, SPEC, Life
from support.lines import new

DAY = 86_400_000  # ms
OTHER_SPEC = SPEC.model_copy(update={"prompt": "another"})
OTHER_PICTURE = SPEC.model_copy(
    update={"image": StagedSource(sha256="b" * 64, size=10, media_type="image/png", name="foe.png")}
)

pytestmark = pytest.mark.redis_server


# -- create -------------------------------------------------------------------------------------------------------


def test_the_same_id_makes_one_job(lived: Life) -> None:
    """A repeated call, as redis-py makes them, answers `exists` and changes nothing, even in the same pipeline."""
    job = new("j1", labels={"a": "b"}, priority="high", tenant="t", deadline=9_999_999_999_999)
    assert lived.store.create([job, job]) == [Created("created", "j1"), Created("exists", "j1")]
    before = lived.everything()

    assert lived.store.create([job]) == [Created("exists", "j1")]

    assert lived.everything() == before
    record = lived.store.get("j1")
    assert (record.state, record.labels, record.priority, record.tenant) == (State.QUEUED, {"a": "b"}, "high", "t")
    assert (record.deadline, record.spec) == (9_999_999_999_999, SPEC)
    assert record.created_at == record.updated_at == record.since
    assert [(e.state, e.step) for e in lived.store.get("j1").events] == [("queued", "submitted")]


def test_the_same_key_and_request_give_the_same_job(lived: Life) -> None:
    """A second request under a tenant's idempotency key is answered with the first job, whatever ID it came with."""
    lived.create("j1", idempotency_key="order-17")
    before = lived.everything()

    assert lived.create("j2", idempotency_key="order-17") == Created("exists", "j1")
    assert lived.store.owners([new("j3", idempotency_key="order-17")]) == [Created("exists", "j1")]
    assert lived.everything() == before


def test_the_same_key_with_another_request_is_a_conflict(lived: Life) -> None:
    """The conflict names the job that has the key; nothing at all is written for the second request."""
    lived.create("j1", idempotency_key="order-17")
    before = lived.everything()

    assert lived.create("j2", idempotency_key="order-17", spec=OTHER_SPEC) == Created("conflict", "j1")
    assert lived.store.owners([new("j2", idempotency_key="order-17", spec=OTHER_SPEC)]) == [Created("conflict", "j1")]
    assert lived.everything() == before


def test_a_key_belongs_to_its_tenant(lived: Life) -> None:
    """Two tenants may use the same key; a tenant's name can't be chosen so that the two run into each other."""
    outcomes = [
        lived.create(job_id, tenant=tenant, idempotency_key=key).outcome
        for job_id, tenant, key in (("j1", "a", "b c"), ("j2", "a b", "c"), ("j3", "b", "b c"), ("j4", "a", "c"))
    ]
    assert outcomes == ["created"] * 4


@pytest.mark.parametrize("job_id", ["01arz3ndektsv4rrffq69g5fav", "job-17", "a:b"])
def test_a_key_is_found_again_whatever_the_id_looks_like(lived: Life, job_id: str) -> None:
    """The key's entry is read back also when the ID has other characters than letters and digits."""
    lived.create(job_id, idempotency_key="k")

    assert lived.create("other", idempotency_key="k") == Created("exists", job_id)


def test_a_key_whose_record_is_gone_is_free(lived: Life) -> None:
    """A key that outlived its record makes a new job instead of pointing at nothing."""
    lived.create("j1", idempotency_key="k")
    lived.redis.delete(lived.keys.job("j1"))

    assert lived.create("j2", idempotency_key="k", spec=OTHER_SPEC) == Created("created", "j2")


# -- reading ------------------------------------------------------------------------------------------------------


def test_reading_finds_jobs_by_id_state_and_task(lived: Life) -> None:
    """`get_many` keeps the order and leaves out what does not exist; `newest` pages lose no job of the same moment."""
    ids = [f"j{n:02}" for n in range(7)]
    for job_id in ids:
        lived.create(job_id)
    lived.move("cancel_unbought", "j03")
    lived.redis.zadd(lived.keys.state("queued"), {i: 5 if i < "j05" else 6 for i in ids if i != "j03"})

    assert [r.id for r in lived.store.get_many(["j05", "nobody", "j01"])] == ["j05", "j01"]
    found = [r.id for r in lived.store.newest((State.QUEUED,), batch=2)]
    assert found == ["j06", "j05", "j04", "j02", "j01", "j00"]
    assert sorted(r.id for r in lived.store.newest(batch=3)) == ids
    assert {s: n for s, n in lived.store.counts().items() if n} == {State.QUEUED: 6, State.CANCELLED: 1}
    assert lived.store.by_task("nothing") is None
    with pytest.raises(JobNotFound, match=r"^no job nobody$"):
        lived.store.get("nobody")


def test_a_move_of_a_job_that_does_not_exist_makes_none(lived: Life) -> None:
    """A write for an unknown job is answered `missing` and leaves no key behind."""
    assert lived.store.move(RECORD_TASK, "nobody", nonce="n", task="T").outcome == "missing"
    assert lived.everything() == {}


def test_history_keeps_the_last_fifty_events(lived: Life) -> None:
    """Events are in order, oldest first, and the list never grows past 50."""
    lived.reach("uploading", "j1")
    for n in range(60):
        assert lived.move("renew", "j1", event={"step": "upload", "worker": "w", "note": f"{n} MB"}).ok

    events = lived.store.get("j1").events
    assert [e.note for e in events] == [f"{n} MB" for n in range(10, 60)]
    assert {(e.state, e.step, e.worker) for e in events} == {("uploading", "upload", "w")}
    assert list(events) == sorted(events, key=lambda e: e.at)


# -- claims -------------------------------------------------------------------------------------------------------


def test_claims_are_bounded_by_room_and_moved_to_the_end_of_the_lease(lived: Life) -> None:
    """As many alarms as there is room for are given out, each once; it comes back when its lease ends."""
    for n in range(5):
        lived.create(f"j{n}")
    lived.time_passes()

    first = lived.store.claim("upload", room=2, lease=20)
    second = lived.store.claim("upload", room=9, lease=20)

    assert (len(first), len(second)) == (2, 3)
    assert {c.job_id for c in first + second} == {f"j{n}" for n in range(5)}
    assert lived.store.claim("upload", room=9, lease=20) == []
    left = lived.redis.zscore(lived.keys.due("upload"), "j0") - lived.store.now()
    assert 15_000 < left <= 20_000
    lived.time_passes()
    again = lived.store.claim("upload", room=1, lease=20)[0]
    assert again.n == 2
    assert again.message_id == f"{again.job_id}.upload.2"
    assert lived.store.claim("upload", room=0, lease=20) == []


def test_a_crowd_with_one_file_waits_for_it_without_a_claim(lived: Life) -> None:
    """While somebody uploads their picture jobs stand in line for it, unclaimed; jobs behind them are not held up.

    Their alarms ring when the upload's lock ends at the latest; the uploader wakes the line, and all are given out.
    """
    for n in range(100):
        lived.create(f"j{n:02}")
    lived.create("other", spec=OTHER_PICTURE)
    for job_id, alarm in [("other", 200), *((f"j{n:02}", 100) for n in range(100))]:
        lived.redis.zadd(lived.keys.due("upload"), {job_id: alarm})
    lived.redis.set(lived.keys.uploading("a" * 64), "first.upload.1", px=15_000)
    crowd = {f"j{n:02}" for n in range(100)}

    assert [c.job_id for c in lived.store.claim("upload", room=3, lease=20)] == ["other"]

    assert lived.redis.smembers(lived.keys.waiting("a" * 64)) == crowd
    alarms = {job_id: lived.redis.zscore(lived.keys.due("upload"), job_id) - lived.store.now() for job_id in crowd}
    assert all(10_000 < left <= 15_000 for left in alarms.values())
    assert not any(lived.redis.hexists(lived.keys.job(job_id), "n_upload") for job_id in crowd)
    lived.redis.delete(lived.keys.uploading("a" * 64))
    lived.store.hurry("upload", sorted(crowd))
    assert {c.job_id for c in lived.store.claim("upload", room=200, lease=20)} == crowd
    assert not lived.redis.exists(lived.keys.waiting("a" * 64))  # else the next uploader would ring jobs at work


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "hush",
        "[" * 2000,
        "[]",
        "7",
        "null",
        '{"image": null, "video": 7}',
        '{"image": {"sha256": null}, "video": {"sha256": {"a": 1}}}',
        '{"image": {"sha256": true}, "video": [1]}',
    ],
)
def test_a_request_that_can_not_be_read_is_claimed_as_ever(lived: Life, spec: str) -> None:
    """It stops neither itself (its step then says what is wrong) nor the jobs behind it."""
    lived.create("broken")
    lived.create("sound")
    lived.time_passes()
    lived.redis.hset(lived.keys.job("broken"), "spec", spec)

    assert {c.job_id for c in lived.store.claim("upload", room=9, lease=20)} == {"broken", "sound"}


def test_claims_come_in_the_order_of_their_alarms(lived: Life) -> None:
    """What is due longest goes first, and what is not due yet stays."""
    for job_id, alarm in {"late": 300, "first": 100, "middle": 200}.items():
        lived.create(job_id)
        lived.redis.zadd(lived.keys.due("upload"), {job_id: alarm})
    lived.create("tomorrow")
    lived.redis.zadd(lived.keys.due("upload"), {"tomorrow": lived.store.now() + DAY})

    assert [c.job_id for c in lived.store.claim("upload", room=9, lease=20)] == ["first", "middle", "late"]


def test_an_alarm_without_a_record_is_dropped(lived: Life) -> None:
    """A set that names a job nobody knows is cleaned, and no half a record is made of its claim."""
    lived.create("j1")
    lived.redis.zadd(lived.keys.due("upload"), {"ghost": 1})

    assert [c.job_id for c in lived.store.claim("upload", room=9, lease=20)] == ["j1"]
    assert lived.redis.zrange(lived.keys.due("upload"), 0, -1) == ["j1"]
    assert not lived.redis.exists(lived.keys.job("ghost"))


def test_claims_of_transfers_are_bounded_altogether(lived: Life) -> None:
    """Uploads and deliveries share one number of places; a dead worker's place comes back with its lease."""
    for n in range(4):
        lived.create(f"j{n}")
    lived.time_passes()

    assert len(lived.store.claim("upload", room=9, lease=20, transfers=3)) == 3
    assert lived.store.claim("upload", room=9, lease=20, transfers=3) == []
    assert lived.store.claim("deliver", room=9, lease=20, transfers=3) == []
    lived.time_passes()
    assert len(lived.store.claim("upload", room=9, lease=20, transfers=3)) == 3


def test_claims_of_armed_jobs_reserve_a_rate_slot_each(lived: Life) -> None:
    """No message is published only to wait: armed jobs beyond the rate stay, and sent ones need no slot for a look."""
    for n in range(3):
        lived.reach("submit_unknown", f"sent{n}")
    lived.redis.delete(lived.keys.rate)
    for n in range(4):
        lived.reach("armed", f"j{n}")

    claims = lived.store.claim("submit", room=20, lease=20, rate=2)

    assert len([c for c in claims if c.job_id.startswith("j")]) == 2
    assert len([c for c in claims if c.job_id.startswith("sent")]) == 3
    assert lived.redis.zcard(lived.keys.rate) == 2


def test_a_check_is_claimed_without_a_number(lived: Life) -> None:
    """Checks are fenced by purchase and task: their claims leave the record alone, and its claim stays as it was."""
    lived.reach("running", "j1")
    before = lived.record_fields("j1")
    lived.time_passes()

    assert lived.store.claim_checks(room=9, lease=15, rate=(50, 1.0)).job_ids == ("j1",)
    assert lived.record_fields("j1") == before


def test_hurrying_rings_only_the_alarms_of_that_step(lived: Life) -> None:
    """Jobs that wait for the step are due now; one that is due, one at another step and one that is gone stay so."""
    lived.reach("submit_unknown", "elsewhere")
    for job_id in ("waits", "due", "asleep"):
        lived.reach("uploading", job_id)
        assert lived.move("renew", job_id, alarm_in=60_000).ok
    lived.redis.zadd(lived.keys.due("upload"), {"due": 1})
    before = dict(lived.redis.zrange(lived.keys.due("upload"), 0, -1, withscores=True))

    lived.store.hurry("upload", ["waits", "due", "elsewhere", "nobody"])
    lived.store.hurry("upload", [])

    after = dict(lived.redis.zrange(lived.keys.due("upload"), 0, -1, withscores=True))
    assert 0 <= lived.store.now() - after.pop("waits") < 10_000
    assert before.pop("waits") > lived.store.now()
    assert after == before


# -- how long keys live -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("situation", [s for s in SITUATIONS if s.partition(",")[0] in FINAL])
def test_what_belongs_to_a_finished_job_expires_together(lived: Life, situation: str) -> None:
    """Record, idempotency and task key end at one moment: after 30 days, or 60 while a purchase is open."""
    record = lived.reach(situation, "j1", idempotency_key="k")
    kept_open = situation.partition(", ")[2] in ("unknown", "silent")

    keys = [lived.keys.job("j1"), lived.keys.idempotency("default", "k")]
    keys += [lived.keys.task(p.task_id) for p in record.purchases if p.task_id]
    ends = {lived.redis.pexpiretime(key) for key in keys}
    assert len(ends) == 1
    life_time = ends.pop() - lived.store.now()
    days = 60 if kept_open else 30
    assert days * DAY - 10_000 < life_time <= days * DAY
    assert lived.redis.zscore(lived.keys.ended, "j1") - lived.store.now() == pytest.approx(life_time, abs=1000)


@pytest.mark.parametrize("situation", ["failed, unknown", "failed, silent", "cancelled, unknown", "cancelled, silent"])
def test_a_healed_job_expires_no_more(lived: Life, situation: str) -> None:
    """A late task ID takes a finished job up again: nothing of it has an end any more."""
    lived.reach(situation, "j1", idempotency_key="k")

    assert lived.move("record_task", "j1").ok

    keys = [lived.keys.job("j1"), lived.keys.idempotency("default", "k")]
    keys.append(lived.keys.task(lived.store.get("j1").task_id))
    assert [lived.redis.pttl(key) for key in keys] == [-1] * 3
    assert lived.redis.zcard(lived.keys.ended) == 0


def test_a_task_bound_to_a_finished_job_ends_with_it(lived: Life) -> None:
    """A stray task of a job that stays as it is leaves no key behind that never expires."""
    denied = lived.reach("ready, refused", "j1").nonce
    lived.arm()
    for step in ("send", "record_task", "paid", "claim_deliver", "delivered"):
        lived._step(step, "j1", {})

    assert lived.move("record_task", "j1", nonce=denied, task="STRAY").outcome == "booked"

    task, job = lived.keys.task("STRAY"), lived.keys.job("j1")
    assert lived.redis.get(task) == "j1"
    assert lived.redis.pexpiretime(task) == lived.redis.pexpiretime(job) > 0


def test_a_shorter_life_of_records_is_obeyed_unless_money_is_open(redis_url: str, lived: Life) -> None:
    """MOTIONQ_JOB_TTL of an hour holds for a settled job, and an open purchase is remembered for 60 days."""
    lived.store = JobStore(lived.redis, lived.keys, job_ttl=3600.0)
    lived.reach("failed, refused", "j1")
    lived.reach("failed, unknown", "j2")

    assert lived.redis.pttl(lived.keys.job("j1")) <= 3_600_000
    assert lived.redis.pttl(lived.keys.job("j2")) > 59 * DAY


def test_forgetting_drops_only_what_is_over(lived: Life) -> None:
    """When a record's time is over, its places in the indexes go too; others stay."""
    lived.reach("failed, unbought", "old")
    lived.reach("failed, unbought", "young")
    lived.redis.zadd(lived.keys.ended, {"old": 1})

    assert lived.store.scripts.run("forget", {"limit": 10}) == 1

    assert lived.redis.zrange(lived.keys.state("failed"), 0, -1) == ["young"]
    assert [r.id for r in lived.store.get_many(["old", "young"])] == ["young"]
