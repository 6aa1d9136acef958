"""A disk that takes long to sync: what motionq says is safe survives a loss of power all the same."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from motionq.contract.durability import EVERYSEC
from motionq.durable import safely
from motionq_ops.redis_server import RedisServer, find_server_binary
from support import eventually
from support.aof import appended, lose_power
from support.life import Life, life
from support.slow_disk import COMPILER, SlowDisk, slow_disk

pytestmark = [
    pytest.mark.redis_server,
    pytest.mark.skipif(COMPILER is None, reason="needs a C compiler (cc), for a disk that can be held up"),
]


@pytest.fixture
def disk(server: RedisServer, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SlowDisk]:
    """A server of this test's own, of the same kind as the shared one."""
    kind = request.node.callspec.params["server"]
    binary = find_server_binary() if kind == "valkey" else Path(str(shutil.which("redis-server")))
    with slow_disk(tmp_path / "disk", Path(binary)) as mine:
        yield mine


@pytest.fixture
def own(disk: SlowDisk) -> Iterator[Life]:
    """Jobs on that server."""
    with life(disk.server.url, "motionq") as jobs:
        jobs.gate.disk_patience = 0.0
        yield jobs


def test_a_purchase_is_not_sent_before_its_arming_is_on_the_disk(own: Life, disk: SlowDisk) -> None:
    """The sync that began with the arming hangs: old enough, the purchase waits; sent, no loss of power takes it."""
    own.reach("ready", "j1")
    disk.hold()
    assert own.gate.admit("w") == 1
    record = own.store.get("j1")
    eventually(lambda: disk.busy() and own.store.now() > record.durable_at)
    assert disk.safe() < appended(disk.server)
    assert [own.send("j1") for _ in range(3)] == ["wait"] * 3

    disk.release()
    eventually(lambda: own.send("j1") == "mine")
    lose_power(disk.server, kept=disk.safe())
    assert [(p.nonce, p.status) for p in own.store.get("j1").purchases] == [(record.nonce, "open")]


def test_nothing_is_armed_while_the_disk_syncs(own: Life, disk: SlowDisk) -> None:
    """Else nobody could tell which sync took the arming along. It goes on when the sync is over."""
    own.reach("ready", "j1")
    disk.hold()
    own.redis.set("motionq:kick", "1")
    eventually(disk.busy)
    assert own.gate.admit("w") == 0

    disk.release()
    eventually(lambda: own.gate.admit("w") == 1)


def test_what_a_person_was_told_is_safe(own: Life, disk: SlowDisk) -> None:
    """The answer waits for as long as the sync hangs; when it comes, a loss of power does not take the write away."""
    disk.hold()

    def promise() -> int:
        with safely(own.store) as written:
            own.redis.set("motionq:promised", "1")
            written.append(own.store.now())
        return disk.safe()

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(promise)
        eventually(lambda: own.redis.exists("motionq:promised") and disk.busy())
        late = own.store.now() + EVERYSEC * 1500
        eventually(lambda: own.store.now() > late)
        assert not answer.done()
        disk.release()
        lose_power(disk.server, kept=answer.result(20))
    assert own.redis.get("motionq:promised") == "1"
