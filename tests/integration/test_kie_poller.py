"""Hundreds of looks at once over real HTTP: concurrent, bounded in number and time, never raising for one task."""

from __future__ import annotations

import json
import os
import shutil
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr

from motionq_worker.kie.account import USER_AGENT, KieAccount
from motionq_worker.kie.errors import CallRefused, KeyRefused, RateLimited, Unavailable
from motionq_worker.kie.messages import Phase, Reading
from motionq_worker.kie.poller import Looks, Poller

THREAD_NAME = "motionq-poller"


def read_many(poller: Poller, task_ids: Sequence[str], timeout: float) -> Looks:
    """Whole readings of many tasks, when all have come, in the order in which they were asked for."""
    found: Looks = {}
    for looks in poller.arrivals(task_ids, timeout, frozenset(task_ids)):
        found |= looks
    return {task_id: found[task_id] for task_id in task_ids}


class Vendor(ThreadingHTTPServer):
    """Answers recordInfo; the task ID says how."""

    daemon_threads = False
    request_queue_size = 512

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.looks: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.connections = 0
        self.release = threading.Event()  # lets the hanging answers go
        self.hanging = threading.Semaphore(0)  # one for each answer that hangs
        self.meeting: threading.Barrier | None = None  # answers wait until so many are open at once

    def get_request(self) -> tuple[object, object]:  # type: ignore[override]
        self.connections += 1
        return super().get_request()

    def handle_error(self, *_: object) -> None:
        """A client that went away is part of these tests."""


class Handler(BaseHTTPRequestHandler):
    """One method for each way of answering."""

    protocol_version = "HTTP/1.1"
    server: Vendor

    def do_GET(self) -> None:
        (task_id,) = parse_qs(urlsplit(self.path).query)["taskId"]
        self.server.looks.append(task_id)
        self.server.headers.append(dict(self.headers))
        if self.server.meeting:
            self.server.meeting.wait(10)
        getattr(self, f"_{task_id.split('-')[0]}", self._record)(task_id)

    def _answer(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _say(self, code: int, msg: str, data: object = None) -> None:
        self._answer(json.dumps({"code": code, "msg": msg, "data": data}).encode())

    def _record(self, task_id: str) -> None:
        self._say(200, "success", {"taskId": task_id, "state": "waiting"})

    def _asked(self, task_id: str) -> None:
        param = json.dumps({"input": json.dumps({"prompt": "a bow"})})
        self._say(200, "success", {"taskId": task_id, "state": "generating", "param": param})

    def _null(self, _: str) -> None:
        self._say(422, "recordInfo is null")

    def _often(self, _: str) -> None:
        self._say(429, "Your call frequency is too high. Please try again later.")

    def _key(self, _: str) -> None:
        self._say(401, "key sk-17 is unknown")

    def _wrong(self, _: str) -> None:
        self._say(422, "taskId is wrong")

    def _other(self, _: str) -> None:
        self._record("another")

    def _html(self, _: str) -> None:
        self._answer(b"<html>502</html>", 502)

    def _away(self, _: str) -> None:
        self._answer(b"", 307, Location=f"http://127.0.0.1:{self.server.server_port}/?taskId=followed")

    def _drop(self, _: str) -> None:
        self.close_connection = True

    def _long(self, _: str) -> None:
        self._answer(b" " * 1_100_000)

    def _hang(self, task_id: str) -> None:
        self.server.hanging.release()
        self.server.release.wait(20)
        self._record(task_id)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    with Vendor() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.release.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def poller(vendor: Vendor) -> Iterator[Poller]:
    running = make_poller(vendor)
    yield running
    running.close()


def make_poller(vendor: Vendor, *, window: int = 300, read_timeout: float = 5.0) -> Poller:
    url = f"http://127.0.0.1:{vendor.server_port}"
    return Poller(KieAccount(url, url, SecretStr("sk-17"), 5.0, read_timeout), window)


def loop_threads() -> int:
    return sum(thread.name == THREAD_NAME for thread in threading.enumerate())


def test_each_task_is_looked_at_once(vendor: Vendor, poller: Poller) -> None:
    """200 tasks, some named twice: one reading each, one request each."""
    ids = [f"task-{number}" for number in range(200)]
    looks = read_many(poller, [*ids, *ids[:50]], 20)
    assert looks == {task_id: Reading(task_id, "waiting", Phase.RUNNING) for task_id in ids}
    assert sorted(vendor.looks) == sorted(ids)
    assert {(sent["Authorization"], sent["User-Agent"]) for sent in vendor.headers} == {("Bearer sk-17", USER_AGENT)}


def test_an_empty_batch_starts_nothing(vendor: Vendor) -> None:
    """The loop's thread starts with the first look."""
    idle = make_poller(vendor)
    assert read_many(idle, [], 5) == {}
    assert loop_threads() == 0
    idle.close()


def test_one_fault_does_not_touch_the_others(vendor: Vendor, poller: Poller) -> None:
    """Each task gets its own outcome: a reading or the fault that its answer means."""
    ids = ["task", "null", "often", "key", "wrong", "other", "html", "away", "drop", "long"]
    looks = read_many(poller, ids, 20)
    assert {task_id: look.phase if isinstance(look, Reading) else type(look) for task_id, look in looks.items()} == {
        "task": Phase.RUNNING,
        "null": Phase.NOT_VISIBLE,
        "often": RateLimited,
        "key": KeyRefused,
        "wrong": CallRefused,
        "other": Unavailable,
        "html": Unavailable,
        "away": Unavailable,
        "drop": Unavailable,
        "long": Unavailable,
    }
    assert "followed" not in vendor.looks
    assert "sk-17" not in str(looks["key"])


def test_the_window_is_used_and_not_exceeded(vendor: Vendor) -> None:
    """With a window of 5, requests are open five at a time: 5 are needed to let any go, a sixth never comes."""
    vendor.meeting = threading.Barrier(5)
    poller = make_poller(vendor, window=5)
    looks = read_many(poller, [f"task-{number}" for number in range(40)], 20)
    poller.close()
    assert all(isinstance(look, Reading) for look in looks.values())
    assert vendor.connections == 5


def test_connections_are_kept_alive(vendor: Vendor, poller: Poller) -> None:
    """Twenty batches one after another use one connection."""
    for number in range(20):
        read_many(poller, [f"task-{number}"], 10)
    assert (len(vendor.looks), vendor.connections) == (20, 1)


def test_one_slow_answer_holds_up_no_other(vendor: Vendor, poller: Poller) -> None:
    """What has come is handed over while the vendor still thinks about the rest; each task comes once."""
    coming = poller.arrivals(["hang", "task-1", "task-2"], 20)
    assert sorted(next(coming)) == ["task-1", "task-2"]
    vendor.release.set()
    assert [sorted(looks) for looks in coming] == [["hang"]]


def test_only_whole_readings_tell_what_was_asked(vendor: Vendor, poller: Poller) -> None:
    """Of a task that still runs the echo of its request is read where it is wanted."""
    wanted = ["asked-1", "asked-2"]
    (looks,) = poller.arrivals(wanted, 20, whole={"asked-2"})
    readings = [look for task_id in wanted if isinstance(look := looks[task_id], Reading)]
    assert [(r.phase, r.prompt) for r in readings] == [(Phase.RUNNING, None), (Phase.RUNNING, "a bow")]


def test_a_batch_ends_in_time(vendor: Vendor, poller: Poller) -> None:
    """What has not answered when the batch's time is over is Unavailable; what has is kept."""
    begun = time.monotonic()
    looks = read_many(poller, ["hang-1", "task", "hang-2"], 0.5)
    assert time.monotonic() - begun < 2
    assert [type(looks[task_id]) for task_id in ("hang-1", "task", "hang-2")] == [Unavailable, Reading, Unavailable]


def test_a_request_ends_in_time(vendor: Vendor) -> None:
    """One silent answer ends by the account's own time-outs, long before a patient batch does."""
    url = f"http://127.0.0.1:{vendor.server_port}"
    poller = Poller(KieAccount(url, url, SecretStr("sk-17"), 0.2, 0.3))
    begun = time.monotonic()
    looks = read_many(poller, ["hang"], 60)
    assert time.monotonic() - begun < 3
    assert str(looks["hang"]) == "kie.ai is not available: timed out"
    poller.close()


def test_an_unreachable_vendor_is_unavailable_for_each_task() -> None:
    """No exception, one fault per task."""
    poller = Poller(KieAccount("http://127.0.0.1:9", "http://127.0.0.1:9", SecretStr("sk-17"), 1.0, 1.0))
    looks = read_many(poller, ["a", "b"], 10)
    poller.close()
    assert {task_id: type(look) for task_id, look in looks.items()} == {"a": Unavailable, "b": Unavailable}


def test_threads_share_one_loop(vendor: Vendor, poller: Poller) -> None:
    """Eight threads at once: one background thread, every batch complete."""
    batches: list[dict[str, object]] = []

    def read(first: int) -> None:
        batches.append(dict(read_many(poller, [f"task-{first + number}" for number in range(20)], 20)))

    threads = [threading.Thread(target=read, args=(20 * number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loop_threads() == 1
    assert sorted(task_id for batch in batches for task_id in batch) == sorted(f"task-{n}" for n in range(160))
    assert all(isinstance(look, Reading) for batch in batches for look in batch.values())


def test_close_ends_open_looks_and_the_thread(vendor: Vendor) -> None:
    """A batch that is under way comes back as Unavailable; afterwards the poller is closed for good."""
    poller = make_poller(vendor, read_timeout=60)
    looks: dict[str, object] = {}
    reading = threading.Thread(target=lambda: looks.update(read_many(poller, ["hang"], 60)))
    reading.start()
    assert vendor.hanging.acquire(timeout=10)
    poller.close()
    reading.join(5)
    assert not reading.is_alive()
    assert type(looks["hang"]) is Unavailable
    assert loop_threads() == 0
    poller.close()
    with pytest.raises(RuntimeError, match="closed"):
        read_many(poller, ["task"], 5)


def test_looks_over_tls(vendor: Vendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same certificates are trusted as for purchases, and no connection is left open."""
    if not (openssl := shutil.which("openssl")):
        pytest.skip("openssl is not installed")
    key, cert = str(tmp_path / "key.pem"), str(tmp_path / "cert.pem")
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    extension = ["-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert]
    subprocess.run([*command, *extension], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    vendor.socket = context.wrap_socket(vendor.socket, server_side=True)
    url = f"https://localhost:{vendor.server_port}"
    stranger = Poller(KieAccount(url, url, SecretStr("sk-17"), 5.0, 5.0))
    assert isinstance(read_many(stranger, ["task"], 10)["task"], Unavailable)
    stranger.close()
    assert vendor.looks == []
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", cert)
    poller = Poller(KieAccount(url, url, SecretStr("sk-17"), 5.0, 5.0))
    assert isinstance(read_many(poller, ["task"], 10)["task"], Reading)
    poller.close()
    assert vendor.looks == ["task"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system can't fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_child_has_its_own_loop(vendor: Vendor, poller: Poller) -> None:
    """Parent and child read through connections of their own, also when a thread was just starting a batch."""
    assert isinstance(read_many(poller, ["task-parent"], 10)["task-parent"], Reading)
    poller._lock.acquire()  # as another thread of the parent may hold it, which does not exist in the child
    child = os.fork()
    if child == 0:
        signal.alarm(15)  # a child that waits for ever ends as a failure
        good = False
        try:
            good = isinstance(read_many(poller, ["task-child"], 10)["task-child"], Reading)
            poller.close()
        finally:
            os._exit(0 if good else 1)
    poller._lock.release()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert isinstance(read_many(poller, ["task-again"], 10)["task-again"], Reading)
    assert (vendor.looks, vendor.connections) == (["task-parent", "task-child", "task-again"], 2)
