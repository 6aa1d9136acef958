"""When a write is safe, asked of real servers: by their own configuration, and with a real replica."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis import Redis

from motionq.contract.durability import EVERYSEC, replicas_have_it, server_identity, settles_after
from motionq_ops.redis_server import RedisServer, free_port
from support import eventually
from support.life import Life, life
from support.own_server import own_server

pytestmark = pytest.mark.redis_server


@pytest.fixture
def master(server: RedisServer, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    """A server of this test's own, which replicas can reach."""
    options = {"repl-diskless-sync-delay": "0"}
    with own_server(request, tmp_path / "master", port=free_port(), options=options) as mine:
        yield mine


@pytest.fixture
def own(master: RedisServer) -> Iterator[Life]:
    """Jobs on that server."""
    with life(master.url, "motionq") as jobs:
        yield jobs


def test_a_write_is_durable_by_the_servers_own_configuration(own: Life) -> None:
    """everysec: 2.1 s; always: at once; no: when the kernel writes; without an append-only file there is no waiting."""
    assert settles_after(own.redis) == EVERYSEC == 2.1
    for policy, seconds in {"always": 0.0, "no": 35.0, "everysec": 2.1}.items():
        own.redis.config_set("appendfsync", policy)
        assert settles_after(own.redis) == seconds
    own.redis.config_set("appendonly", "no")
    assert settles_after(own.redis) == 0.0


def test_who_may_not_ask_takes_the_slower(own: Life, master: RedisServer) -> None:
    """A user without CONFIG, as hosted servers give, waits as for everysec even where each write is synced."""
    own.redis.config_set("appendfsync", "always")
    own.redis.acl_setuser("limited", enabled=True, passwords=["+p"], keys=["*"], commands=["+@all", "-config"])

    with Redis.from_url(master.url, username="limited", password="p", decode_responses=True) as limited:
        assert settles_after(limited) == EVERYSEC


def test_an_armed_job_names_its_server(own: Life, master: RedisServer) -> None:
    """Lua and Python call a server by the same name, and after a restart by another."""
    first = server_identity(own.redis)
    assert own.reach("armed", "j1").armed_under == first

    master.restart()

    assert server_identity(own.redis) != first
    assert own.send("j1") == "other_server"


def test_every_replica_must_have_it(
    own: Life, master: RedisServer, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Without replicas it is so; with one, only while that one keeps up: a replica that stands still says no."""
    assert replicas_have_it(own.redis, own.keys)
    assert own.everything() == {}

    options = {"replicaof": f"127.0.0.1 {master.port}"}
    with own_server(request, tmp_path / "replica", options=options) as replica, ExitStack() as awake:
        copied = awake.enter_context(Redis.from_url(replica.url, decode_responses=True))
        eventually(lambda: copied.info("replication")["master_link_status"] == "up", 20)
        own.create("j1")
        assert replicas_have_it(own.redis, own.keys)
        assert copied.hget(own.keys.job("j1"), "state") == "queued"
        assert 0 < own.redis.pttl(own.keys.replicated) <= 60_000

        assert replica.pid is not None
        os.kill(replica.pid, signal.SIGSTOP)
        awake.callback(os.kill, replica.pid, signal.SIGCONT)
        assert not replicas_have_it(own.redis, own.keys)
        os.kill(replica.pid, signal.SIGCONT)
        assert eventually(lambda: replicas_have_it(own.redis, own.keys))
