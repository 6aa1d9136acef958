"""A record that this version can't read is left alone, said once, and stops nobody else."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from motionq.contract.errors import MotionQueueError
from motionq.contract.states import State
from support.life import Life, life
from support.lines import new, ready

BROKEN = {
    "purchases": '[{"nonce": "hush',
    "spec": '{"prompt": "hush"',
    "labels": "hush",
    "state": "hush",  # of a newer version
}
NAMED_BY_LUA = ("purchases", "state")  # what the gate reads

pytestmark = [pytest.mark.redis_server, pytest.mark.parametrize("field", BROKEN)]


@pytest.fixture
def lived(redis_url: str, namespace: str, field: str) -> Iterator[Life]:
    """Two jobs in one line; the record of the one in front, `broken`, is damaged."""
    with life(redis_url, namespace) as jobs:
        ready(jobs, new("broken", priority="high"))
        ready(jobs, new("sound"))
        jobs.redis.hset(jobs.keys.job("broken"), field, BROKEN[field])
        yield jobs


def test_reading_many_leaves_it_out(lived: Life, field: str, caplog: pytest.LogCaptureFixture) -> None:
    """`get_many` and `newest` give the others, and one line of the log names the job and nothing of its content."""
    with caplog.at_level(logging.ERROR):
        assert [r.id for r in lived.store.get_many(["broken", "sound"])] == ["sound"]
    (line,) = caplog.messages
    assert line.startswith("the record of job broken (schema 1) can't be read: ")
    assert "hush" not in line

    assert [r.id for r in lived.store.newest()] == ["sound"]
    with pytest.raises(MotionQueueError, match=r"^the record of job broken \(schema 1\) can't be read: \w+$"):
        lived.store.get("broken")


def test_the_gate_passes_it_by(lived: Life, field: str) -> None:
    """The next in line is armed, again and again; what the gate can't read is never bought and keeps its place."""
    assert lived.gate.admit("w") == (1 if field in NAMED_BY_LUA else 2)
    assert lived.store.get("sound").state is State.ARMED
    ready(lived, new("next"))
    assert lived.gate.admit("w") == 1
    assert lived.store.get("next").state is State.ARMED

    waiting = ["broken"] if field in NAMED_BY_LUA else []
    assert lived.redis.zrange(lived.keys.line("default"), 0, -1) == waiting


def test_whoever_has_time_is_not_held_up_either(lived: Life, field: str) -> None:
    """A job of low priority stands far behind in its line: what can't be read goes behind it, and it is armed."""
    lived.gate.admit("w")
    ready(lived, new("patient", priority="low"))

    assert lived.gate.admit("w") == 1
    assert lived.store.get("patient").state is State.ARMED


def test_it_is_forgotten_in_its_time(lived: Life, field: str) -> None:
    """A finished record that can't be read is dropped like any other."""
    lived.reach("failed, unbought", "over", tenant="other")
    lived.redis.hset(lived.keys.job("over"), field, BROKEN[field])
    lived.redis.zadd(lived.keys.ended, {"over": 1})

    assert lived.store.scripts.run("forget", {"limit": 9}) == 1

    assert not lived.redis.exists(lived.keys.job("over"))
    assert lived.redis.zscore(lived.keys.state("failed"), "over") is None
