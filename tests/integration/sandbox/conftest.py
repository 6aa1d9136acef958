"""One sandbox process for all tests of this folder, put back to its beginning before each; and a plain client."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from motionq_ops.sandbox.process import SandboxProcess

HMAC_KEY = "hook-secret"
MODEL = "kling-2.6/motion-control"
MEDIA = Path(__file__).parents[2] / "media"


@dataclass
class Client:
    """Speaks to the sandbox as any customer would: the vendor's addresses only."""

    sandbox: SandboxProcess
    session: requests.Session
    key: str = "key-one"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def post(self, path: str, body: Any, **options: Any) -> requests.Response:
        options = {"timeout": 10, "allow_redirects": False, **options}
        return self.session.post(self.sandbox.url + path, json=body, headers=self.headers, **options)

    def create(self, **changes: Any) -> dict[str, Any]:
        """Ask for a task; returns the envelope."""
        return self.post("/api/v1/jobs/createTask", order(**changes)).json()

    def make(self, **changes: Any) -> str:
        """Make a task; returns its ID."""
        answer = self.create(**changes)
        assert answer["code"] == 200, answer
        return answer["data"]["taskId"]

    def read(self, task_id: str) -> dict[str, Any]:
        """Return recordInfo's envelope."""
        path = "/api/v1/jobs/recordInfo"
        return self.session.get(
            self.sandbox.url + path, params={"taskId": task_id}, headers=self.headers, timeout=10
        ).json()

    def record(self, task_id: str) -> dict[str, Any]:
        """Return recordInfo's data."""
        return self.read(task_id)["data"]

    def ended(self, task_id: str) -> dict[str, Any]:
        """Return the data once the task has ended."""
        until(lambda: self.sandbox.task(task_id)["record"]["state"] in ("success", "fail"))
        return self.record(task_id)

    def credit(self) -> Any:
        """Return the credit endpoint's data."""
        return self.session.get(self.sandbox.url + "/api/v1/chat/credit", headers=self.headers, timeout=10).json()[
            "data"
        ]

    def upload(self, name: str, content: bytes, path: str | None = "motionq") -> requests.Response:
        """Send one file as multipart."""
        fields = {"fileName": name} | ({"uploadPath": path} if path is not None else {})
        return self.session.post(
            self.sandbox.url + "/api/file-stream-upload",
            data=fields,
            files={"file": (name, content)},
            headers=self.headers,
            timeout=10,
        )

    def upload_sample(self, name: str) -> str:
        """Upload one of the sample media; returns its downloadUrl."""
        return self.upload(name, (MEDIA / name).read_bytes()).json()["data"]["downloadUrl"]


def order(
    *,
    image: str = "http://127.0.0.1:9/hero.png",
    video: str = "http://127.0.0.1:9/dance.mp4",
    model: Any = MODEL,
    callback: str | None = None,
    **values: Any,
) -> dict[str, Any]:
    """Return a createTask body; None leaves an input field out."""
    given = {"prompt": "a dance", "input_urls": [image], "video_urls": [video], "mode": "720p", **values}
    body = {"model": model, "input": {name: value for name, value in given.items() if value is not None}}
    return body | ({"callBackUrl": callback} if callback else {})


def until(condition: Callable[[], Any], seconds: float = 15.0) -> Any:
    """Return the condition's value once it is true; fails after the deadline."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.01)
    return value


@dataclass
class Receiver:
    """A callback address: keeps what came in; answers with the statuses in ``replies``, then 200."""

    url: str = ""
    calls: list[tuple[dict[str, str], dict[str, Any], float]] = field(default_factory=list)
    replies: list[int] = field(default_factory=list)


@pytest.fixture(scope="session")
def process() -> Iterator[SandboxProcess]:
    with SandboxProcess(api_keys=("key-one", "key-two"), hmac_key=HMAC_KEY, credits=1000.0) as running:
        yield running


@pytest.fixture
def sandbox(process: SandboxProcess) -> SandboxProcess:
    """The sandbox in a fast, plain mood: no films, a generation takes 100 s, 1 s on the wall clock is 1000 s."""
    process.reset()
    process.settings(render="none", duration=100.0, speed=1000.0, null_seconds=0.0, rate_limit="off", read_limit=0)
    return process


@pytest.fixture
def client(sandbox: SandboxProcess) -> Iterator[Client]:
    with requests.Session() as session:
        session.trust_env = False
        yield Client(sandbox, session)


@pytest.fixture
def other(sandbox: SandboxProcess) -> Iterator[Client]:
    """The second account's client."""
    with requests.Session() as session:
        session.trust_env = False
        yield Client(sandbox, session, "key-two")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    box = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            box.calls.append((dict(self.headers), body, time.monotonic()))
            self.send_response(box.replies.pop(0) if box.replies else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        box.url = f"http://127.0.0.1:{server.server_port}/hook"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield box
        server.shutdown()
        thread.join()


@dataclass
class Elsewhere:
    """Somebody else's web server over the sample media: what was asked of it, in order."""

    url: str = ""
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    place = Elsewhere()

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            place.asked.append(self.path)
            super().do_GET()

        def log_message(self, *args: Any) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(MEDIA))) as server:
        place.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield place
        server.shutdown()
        thread.join()


@pytest.fixture
def wait() -> Callable[..., Any]:
    """``wait(condition)``: its value once it is true."""
    return until


@pytest.fixture
def body_of() -> Callable[..., dict[str, Any]]:
    """Build a createTask body."""
    return order


@pytest.fixture
def media() -> Path:
    """The folder of the sample media."""
    return MEDIA
