"""ops/deploy/redis: the list of users loads on every kind of server, and holds what the scripts and workers use."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from motionq.contract.connection import client_of
from motionq.contract.durability import EVERYSEC, settles_after
from motionq.contract.keys import SPAN, Keys
from motionq.contract.store import JobStore
from motionq_ops.exporter.reading import read
from motionq_ops.redis_server import find_server_binary, free_port
from motionq_worker.startup import look_at_the_server
from support.waiting import eventually

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "ops" / "deploy" / "redis"
PROGRAMS: dict[str, Callable[[], Path]] = {
    "valkey-server": find_server_binary,
    "redis-server": lambda: Path(str(shutil.which("redis-server"))),
}


class Guarded:
    """A server that ops/deploy/redis/start.sh has started; `url` is the user motionq's address."""

    def __init__(self, folder: Path, program: str) -> None:
        bin_dir = folder / "bin"
        bin_dir.mkdir()
        for tool in ("sh", "sed", "sha256sum", "cut", "mktemp", "dirname"):
            (bin_dir / tool).symlink_to(str(shutil.which(tool)))
        (bin_dir / program).symlink_to(PROGRAMS[program]())
        self.port = free_port()
        environment = {"PATH": str(bin_dir), "TMPDIR": str(folder), "REDIS_PASSWORD": "p", "REDIS_ADMIN_PASSWORD": "a"}
        words = ["--dir", str(folder), "--port", str(self.port), "--bind", "127.0.0.1"]
        with (folder / "server.log").open("wb") as log:
            self.process = subprocess.Popen(
                [FOLDER / "start.sh", *words],
                env=environment | {"MOTIONQ_NAMESPACE": "tests.x"},
                stdout=log,
                stderr=log,
            )
        self.admin = Redis(port=self.port, username="admin", password="a", decode_responses=True)
        self.url = f"redis://motionq:p@127.0.0.1:{self.port}/0"
        eventually(self._answers)

    def _answers(self) -> bool:
        try:
            return bool(self.admin.ping())
        except RedisError:
            return False

    def stop(self) -> None:
        self.admin.close()
        self.process.terminate()
        self.process.wait(10)


@pytest.fixture(scope="module", params=list(PROGRAMS))
def guarded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    running = Guarded(tmp_path_factory.mktemp("guarded"), request.param)
    yield running
    running.stop()


@pytest.fixture
def store(guarded: Guarded) -> Iterator[JobStore]:
    with client_of(guarded.url) as redis:
        yield JobStore(redis, Keys("tests.x"))


def test_the_configuration_is_the_one_that_is_promised(guarded: Guarded) -> None:
    """Append-only file, a sync a second, no eviction; the user `default` is off, the exporter has its password."""
    wanted = {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction", "save": ""}

    assert {name: guarded.admin.config_get(name)[name] for name in wanted} == wanted
    assert guarded.admin.acl_getuser("default")["enabled"] is False
    assert sorted(guarded.admin.acl_users()) == ["admin", "default", "exporter", "motionq"]
    with client_of(guarded.url.replace("motionq:p", "exporter:p")) as exporter:
        assert exporter.time()


def test_the_exporter_sees_figures_and_no_job(guarded: Guarded, store: JobStore) -> None:
    """Everything that it shows is within its rights; a job's record, a list's content and the settings are not."""
    keys = store.keys
    store.redis.zadd(keys.tenants, {"a": 1})
    store.redis.zadd(keys.line("a"), {"01job": 1})
    store.redis.rpush(keys.queue("check"), "a message")
    store.redis.zadd(keys.unsettled, {"01job": store.now()})
    store.redis.hset(keys.job("01job"), mapping={"spec": "a prompt", "tenant": "a"})
    store.redis.hset(keys.by_tenant, "ready a", 2)
    store.redis.hset(keys.ends(store.now() // SPAN), "failed a", 3)
    guarded.admin.acl_log_reset()
    with client_of(guarded.url.replace("motionq:p", "exporter:p")) as exporter:
        seen = read(JobStore(exporter, keys))
        assert guarded.admin.acl_log() == []
        for forbidden in (
            lambda: exporter.hgetall(keys.job("01job")),
            lambda: exporter.hget(keys.job("01job"), "spec"),
            lambda: exporter.hget(keys.job("01job"), "tenant"),
            lambda: exporter.hincrby(keys.by_tenant, "ready a", 1),
            lambda: exporter.lrange(keys.queue("check"), 0, -1),
            lambda: exporter.lrange(keys.orphans, 0, -1),
            lambda: exporter.hgetall(keys.durations),
            lambda: exporter.config_get("*"),
            lambda: exporter.scan(),
        ):
            with pytest.raises(NoPermissionError):
                forbidden()

    assert (seen.lines, seen.queues["check"], seen.unsettled) == ({"a": 1}, 1, 1)
    assert (seen.by_tenant["ready"], seen.ended["failed"]) == ({"a": 2}, {"a": 3})
    assert seen.memory["maxmemory_policy"] == "noeviction"


def test_the_namespace_is_the_users_own(guarded: Guarded, store: JobStore) -> None:
    """Keys and channels of another namespace are out of reach."""
    rights = guarded.admin.acl_getuser("motionq")

    assert rights["keys"] == ["~tests.x:*"]
    assert rights["channels"] == ["&tests.x:/0.celery.pidbox", "&tests.x:/0.celeryev/*"]


def test_a_worker_has_nothing_to_complain_about(store: JobStore, caplog: pytest.LogCaptureFixture) -> None:
    """At its start a worker finds all that it asks for: no warning."""
    with caplog.at_level(logging.WARNING):
        look_at_the_server(store, "api.kie.ai")

    assert caplog.messages == []


def test_a_server_that_keeps_its_settings_secret_is_used_all_the_same(
    guarded: Guarded, store: JobStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Where CONFIG GET is not allowed (managed servers) a worker says what follows, and takes the safe time."""
    guarded.admin.execute_command("ACL", "SETUSER", "motionq", "-config")
    try:
        with caplog.at_level(logging.INFO, "motionq_worker"):
            look_at_the_server(store, "api.kie.ai")
        assert settles_after(store.redis) == EVERYSEC
    finally:
        guarded.admin.execute_command("ACL", "SETUSER", "motionq", "+config|get")

    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("the queue's server does not say when it writes to its disk")


def test_every_command_of_the_scripts_is_permitted() -> None:
    """What a Lua script calls is in the list of the user motionq, so that no script stops half-way."""
    scripts = (ROOT / "producer" / "motionq" / "contract" / "lua").glob("*.lua")
    called = {
        name for path in scripts for name in re.findall(r"redis\.p?call\('(\w+)'", path.read_text(encoding="utf-8"))
    }
    line = next(
        line for line in (FOLDER / "users.acl").read_text(encoding="utf-8").splitlines() if "motionq on" in line
    )

    assert "ZADD" in called
    assert [name for name in sorted(called) if f" +{name.lower()} " not in f"{line} "] == []


def test_without_a_password_nothing_starts(tmp_path: Path) -> None:
    """A server that everybody could use is not started."""
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)}
    run = subprocess.run([FOLDER / "start.sh"], env=environment, capture_output=True, text=True, timeout=10)

    assert run.returncode != 0
    assert "REDIS_PASSWORD: is not set" in run.stderr


def test_nobody_is_let_in_with_the_empty_password(guarded: Guarded) -> None:
    """The hash in the list is that of the password, not of nothing."""
    with client_of(f"redis://motionq:@127.0.0.1:{guarded.port}/0") as redis, pytest.raises(AuthenticationError):
        redis.ping()
