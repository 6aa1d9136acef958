"""The gate on real servers while it is open: who may buy (`admit`), and who may send (`send`)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from motionq.contract.durability import EVERYSEC
from motionq.contract.job import Failure
from motionq.contract.states import ADMIT, EXPIRE, REFRESH, SEND, Purchase, State
from motionq.gate import gate_status
from motionq_ops.redis_server import RedisServer
from motionq_worker.gate import close_for_restart
from support.life import Life, life
from support.lines import armed, new, ready
from support.own_server import own_server

HOUR = 3_600_000  # ms

pytestmark = pytest.mark.redis_server


@pytest.fixture
def lived(redis_url: str, namespace: str) -> Iterator[Life]:
    """Jobs in a namespace of their own; 5 slots, 20 armed at once."""
    with life(redis_url, namespace, max_in_flight=5, submit_rate=(20, 10.0)) as jobs:
        yield jobs


@pytest.fixture
def own(server: RedisServer, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Life]:
    """A server of this test's own, whose configuration it may change."""
    with own_server(request, tmp_path / "own") as mine, life(mine.url, "motionq") as jobs:
        yield jobs
        jobs.redis.config_set("maxmemory", 0)


# -- admit --------------------------------------------------------------------------------------------------------


def test_admitting_puts_a_purchase_on_record_before_it_is_made(lived: Life) -> None:
    """An admitted job has one open purchase of its own nonce, a slot, the server's identity, and an alarm."""
    ready(lived, new("j1"))
    assert lived.gate.admit("w") == 1

    record = lived.store.get("j1")
    info = lived.redis.info("server") | lived.redis.info("replication")
    assert (record.state, record.armed_under) == (State.ARMED, f"{info['run_id']}/{info['master_replid']}")
    assert [(p.nonce, p.status) for p in record.purchases] == [(record.nonce, Purchase.OPEN)]
    assert len(record.nonce) == 40
    assert lived.redis.zrange(lived.keys.slots, 0, -1) == [f"j1:{record.nonce}"]
    assert record.durable_at == record.purchases[0].armed_at + int(EVERYSEC * 1000)
    assert lived.redis.zscore(lived.keys.due("submit"), "j1") == record.durable_at
    assert lived.store.get("j1").events[-1].worker == "w"


def test_never_more_than_the_slots_are_in_flight(lived: Life) -> None:
    """With 5 slots 5 of 8 jobs are armed; a slot that comes back lets one more through."""
    ready(lived, *(new(f"j{n}") for n in range(8)))

    assert lived.gate.admit("w") == 5
    assert lived.gate.admit("w") == 0
    assert len(armed(lived)) == lived.redis.zcard(lived.keys.slots) == 5
    lived.time_passes()
    done = armed(lived)[0]
    assert lived.send(done) == "mine"
    assert lived.move("refused", done).ok
    assert lived.gate.admit("w") == 1
    assert lived.redis.zcard(lived.keys.slots) == 5


def test_only_who_can_soon_be_sent_is_armed(redis_url: str, namespace: str) -> None:
    """Of 3 rate slots each admits one job, and again when it comes back within the time that an arming takes.

    Nobody waits armed for longer than that: a job that is armed when the server restarts counts as possibly sent.
    """
    with life(redis_url, namespace, max_in_flight=100, submit_rate=(3, 10.0)) as lived:
        ready(lived, *(new(f"j{n}") for n in range(5)))

        assert lived.gate.admit("w") == 3
        assert lived.gate.admit("w") == 0
        lived.time_passes()
        sent = armed(lived)[0]
        assert lived.send(sent) == "mine"
        assert lived.move("record_task", sent).ok
        assert lived.gate.admit("w") == 0
        member = f"{sent}:{lived.store.get(sent).nonce}"
        lived.redis.zadd(lived.keys.rate, {member: lived.store.now() + int(EVERYSEC * 1000) + 5000})
        assert lived.gate.admit("w") == 0
        lived.redis.zadd(lived.keys.rate, {member: lived.store.now() + int(EVERYSEC * 1000)})
        assert lived.gate.admit("w") == 1


def test_tenants_take_turns(lived: Life) -> None:
    """Of three tenants with jobs each is served in every round, until its line is empty."""
    ready(lived, *(new(f"{t}{n}", t) for t in "abc" for n in range(2)))

    assert lived.gate.admit("w") == 5

    assert Counter(r.tenant for r in lived.store.get_many(armed(lived))) in (
        {"a": 2, "b": 2, "c": 1},
        {"a": 2, "b": 1, "c": 2},
        {"a": 1, "b": 2, "c": 2},
    )


def test_priority_then_age_inside_a_tenant(lived: Life) -> None:
    """High goes before normal before low; among equals the older; an hour of age outweighs a step of priority."""
    ready(lived, *(new(f"{p}{n}", priority=p) for p in ("low", "normal", "high") for n in range(2)))
    line = lived.redis.zrange(lived.keys.line("default"), 0, -1, withscores=True)

    assert [name[:-1] for name, _ in line] == ["high", "high", "normal", "normal", "low", "low"]
    ages = {r.id: r.created_at for r in lived.store.newest((State.READY,))}
    lift = {"high": HOUR, "norm": 0, "low0": -HOUR, "low1": -HOUR}
    assert [score for _, score in line] == [ages[name] - lift[name[:4]] for name, _ in line]
    assert lived.gate.admit("w") == 5
    assert lived.redis.zrange(lived.keys.line("default"), 0, -1) == [line[-1][0]]


def test_stale_uploads_are_made_again_before_anything_is_bought(lived: Life) -> None:
    """A job whose files lie at the vendor for too long goes back to the start of the chain, unbought."""
    ready(lived, new("old"), new("young"))
    stale = lived.store.now() - int(lived.settings.upload_ttl * 1000) - 1
    lived.redis.hset(lived.keys.job("old"), "uploaded_at", stale)

    assert lived.gate.admit("w") == 1

    record = lived.store.get("old")
    assert (record.state, record.purchases) == (REFRESH.to[State.READY], ())
    assert lived.store.get("old").events[-1].note == "its uploads are too old: uploading again"
    assert [c.job_id for c in lived.store.claim("upload", room=9, lease=20)] == ["old"]


def test_after_its_deadline_a_job_is_not_bought(lived: Life) -> None:
    """A deadline in the past fails the job with reason `deadline`, not charged; one in the future does not."""
    now = lived.store.now()
    ready(lived, new("late", deadline=now - 1), new("early", deadline=now + HOUR))

    assert lived.gate.admit("w") == 1

    record = lived.store.get("late")
    message = "the caller's deadline passed before it was bought"
    assert (record.state, record.purchases) == (EXPIRE.to[State.READY], ())
    assert record.failure == Failure(reason="deadline", message=message, charged="no")
    assert armed(lived) == ["early"]


@pytest.mark.parametrize("name", ["not_sent", "refused_again"])
def test_a_second_purchase_needs_the_first_one_closed(lived: Life, name: str) -> None:
    """An open purchase never gets a second beside it; once it is closed, the next one has a nonce of its own."""
    first = lived.reach("submitting", "j1").nonce
    forged = ADMIT.for_lua() | {"to": {State.SUBMITTING: State.READY}}
    lived.store.scripts.run("move", {"id": "j1", "call": "x", "move": forged})
    assert lived.store.get("j1").state is State.READY

    assert lived.gate.admit("w") == 0
    assert [p.nonce for p in lived.store.get("j1").purchases] == [first]

    lived.move(name, "j1")
    assert lived.gate.admit("w") == 1
    book = lived.store.get("j1").purchases
    assert [p.status for p in book] == [
        Purchase.NOT_SENT if name == "not_sent" else Purchase.REFUSED,
        Purchase.OPEN,
    ]
    assert book[1].nonce != first


def test_a_server_short_of_memory_buys_nothing_new(own: Life) -> None:
    """Above 85 % of maxmemory nothing is admitted, and the gate says why; below it goes on."""
    ready(own, new("j1"))
    used = int(own.redis.info("memory")["used_memory"])

    own.redis.config_set("maxmemory", int(used / 0.95))
    assert own.gate.admit("w") == 0
    status = gate_status(own.store, None)
    assert (status.open, status.reason) == (False, "memory")
    assert re.fullmatch(r"Redis has used \d\d+% of its maxmemory: nothing is bought above 85%", status.message or "")
    own.redis.config_set("maxmemory", used * 2)
    assert own.gate.admit("w") == 1
    assert gate_status(own.store, None).open


# -- send ---------------------------------------------------------------------------------------------------------


def test_exactly_one_of_many_executions_may_send(lived: Life) -> None:
    """Sixteen threads ask at the same moment for the same purchase: one is told `mine`, all others `fenced`."""
    record = lived.reach("armed", "j1")
    barrier = Barrier(16)

    def ask(n: int) -> str:
        barrier.wait()
        return lived.gate.send(record, token=f"token{n}", worker="w").verdict

    with ThreadPoolExecutor(16) as pool:
        verdicts = Counter(pool.map(ask, range(16)))

    assert verdicts == {"mine": 1, "fenced": 15}
    assert lived.store.get("j1").attempts == 1


def test_mine_means_this_execution(lived: Life) -> None:
    """The same token asks again, as redis-py repeats calls: still mine, counted once; another token is fenced off."""
    lived.reach("armed", "j1")
    assert lived.send("j1", "t1") == "mine"
    record = lived.store.get("j1")
    assert record.state is SEND.to[State.ARMED]
    assert record.sent_until == lived.redis.zscore(lived.keys.due("submit"), "j1")
    before = lived.everything()

    assert lived.send("j1", "t1") == "mine"
    assert lived.send("j1", "t2") == "fenced"

    assert lived.everything() == before
    assert (record.attempts, record.purchases[0].sent_at) == (1, record.since)


@pytest.mark.parametrize("situation", ["submit_unknown", "running", "ready, refused", "failed, unknown", "queued"])
def test_no_right_to_send_in_any_other_state(lived: Life, situation: str) -> None:
    """Once a purchase was sent, or is none, even the execution that had the right to send has it no more."""
    lived.reach(situation, "j1")
    before = lived.everything()

    assert lived.send("j1", "token") == "fenced"
    assert lived.send("j1", "token", nonce="0" * 40) == "fenced"
    assert lived.everything() == before


def test_an_arming_that_is_not_durable_yet_waits(lived: Life) -> None:
    """Before 2.1 s have passed nobody may send; the alarm is set to the moment when it is durable."""
    ready(lived, new("j1"))
    assert lived.gate.admit("w") == 1
    record = lived.store.get("j1")

    sending = lived.gate.send(record, token="t", worker="w")

    assert sending.verdict == "wait"
    assert 1.0 < sending.seconds <= EVERYSEC
    assert lived.redis.zscore(lived.keys.due("submit"), "j1") == record.durable_at
    assert lived.store.get("j1") == record


def test_without_a_rate_slot_it_waits_for_the_first_to_come_back(redis_url: str, namespace: str) -> None:
    """With two rate slots taken the third job waits until the first of them comes back, and is sent then."""
    with life(redis_url, namespace, submit_rate=(2, 10.0), max_in_flight=5) as lived:
        for n in range(2):
            lived.reach("armed", f"j{n}")
        assert [lived.send("j0"), lived.send("j1")] == ["mine", "mine"]
        sent = lived.redis.zrange(lived.keys.rate, 0, -1, withscores=True)
        lived.redis.delete(lived.keys.rate)  # as if they had come back when it was armed
        lived.reach("armed", "j2")
        lived.redis.zadd(lived.keys.rate, dict(sent))
        assert lived.move("record_task", "j0").ok
        back = lived.redis.zrange(lived.keys.rate, 0, 0, withscores=True)[0]

        assert back[0].startswith("j0:")
        assert lived.send("j2") == "wait"
        assert lived.redis.zscore(lived.keys.due("submit"), "j2") == pytest.approx(back[1], abs=5)
        assert lived.redis.zcard(lived.keys.rate) == 2

        lived.time_passes()
        assert lived.send("j2") == "mine"


def test_the_gate_is_asked_again_at_the_last_moment(lived: Life) -> None:
    """Paused since it was armed, uploads grown stale, a deadline passed: no right to send, nothing written."""
    for field, value in {"uploaded_at": 1, "deadline": 1}.items():
        lived.reach("armed", field)
        lived.redis.hset(lived.keys.job(field), field, value)
        before = lived.everything()
        assert lived.send(field) == "refused"
        assert lived.everything() == before

    lived.reach("armed", "j1")
    lived.store.pause("no_credits", "", seconds=60)
    assert lived.send("j1") == "refused"
    lived.store.resume()
    assert lived.send("j1") == "mine"


def test_a_planned_stop_disarms_what_was_not_sent(lived: Life) -> None:
    """Before the server is restarted armed jobs go back in line with their purchase closed; a sent one stays."""
    lived.reach("submitting", "sent")
    lived.reach("armed", "a1")
    lived.reach("armed", "a2")

    assert close_for_restart(lived.store) == 2

    records = {r.id: r for r in lived.store.get_many(["sent", "a1", "a2"])}
    assert {name: r.state for name, r in records.items()} == {
        "sent": State.SUBMITTING,
        "a1": State.READY,
        "a2": State.READY,
    }
    assert [p.status for name in ("a1", "a2") for p in records[name].purchases] == [Purchase.NOT_SENT] * 2
