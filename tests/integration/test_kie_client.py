"""The free calls over real HTTP: uploads in flat memory, credits, a single look, direct addresses."""

from __future__ import annotations

import email
import email.policy
import hashlib
import io
import json
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import pytest
from pydantic import SecretStr

from motionq_worker.kie.account import USER_AGENT, KieAccount
from motionq_worker.kie.client import KieClient, UploadedFile
from motionq_worker.kie.errors import (
    KeyRefused,
    KieFault,
    RateLimited,
    SourceBroken,
    Unavailable,
    UploadRefused,
)
from motionq_worker.kie.messages import Phase

TASK = "0123456789abcdef0123456789abcdef"
DOWNLOAD = "https://tempfile.example/kieai/7/motionq/hero.png"


@dataclass
class Call:
    """One request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Vendor:
    """Answers every request alike and keeps what it got; bodies above `keep` bytes are only hashed."""

    url: str = ""
    status: int = 200
    answer: object = None
    location: str = ""
    keep: int = 1_000_000
    hang_up_early: bool = False
    calls: list[Call] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    clients: list[KieClient] = field(default_factory=list)  # to be closed with it


def says(code: int, msg: str = "success", **more: object) -> dict[str, object]:
    return {"code": code, "msg": msg, **more}


def stored(size: int, **changes: object) -> dict[str, object]:
    """The recorded answer to an upload."""
    data = {
        "success": True,
        "fileName": "hero.png",
        "filePath": "kieai/7/motionq/hero.png",
        "downloadUrl": DOWNLOAD,
        "fileSize": size,
        "mimeType": "image/png",
        "uploadedAt": "2026-09-01T00:00:00.000Z",
    }
    return says(200, "File uploaded successfully", success=True, data={**data, **changes})


@contextmanager
def serving(vendor: Vendor) -> Iterator[Vendor]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10
        protocol_version = "HTTP/1.1"

        def take(self) -> None:
            if vendor.hang_up_early:
                self.close_connection = True
            else:
                self._keep(int(self.headers.get("Content-Length", 0)))
            body = vendor.answer if isinstance(vendor.answer, bytes) else json.dumps(vendor.answer).encode()
            self.send_response(vendor.status)
            if vendor.location:
                self.send_header("Location", vendor.location)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _keep(self, length: int) -> None:
            digest, kept = hashlib.sha256(), bytearray()
            while length and (block := self.rfile.read(min(65536, length))):
                length -= len(block)
                digest.update(block)
                kept += block[: max(0, vendor.keep - len(kept))]
            vendor.calls.append(Call(self.command, self.path, dict(self.headers), bytes(kept)))
            vendor.digests.append(digest.hexdigest())

        do_GET = do_POST = take

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Clients hang up in some tests: nothing to print."""

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        vendor.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield vendor
        finally:
            for opened in vendor.clients:
                opened.close()
            server.shutdown()
            thread.join()


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    with serving(Vendor()) as running:
        yield running


def client(vendor: Vendor, **changes: float) -> KieClient:
    times = {"connect_timeout": 5.0, "read_timeout": 5.0, **changes}
    vendor.clients.append(KieClient(KieAccount(vendor.url, vendor.url + "/up", SecretStr("sk-17"), **times)))
    return vendor.clients[-1]


def upload(vendor: Vendor, source: object, size: int, progress: Callable[[int], None] | None = None) -> UploadedFile:
    return client(vendor).upload(
        source,  # type: ignore[arg-type]
        size=size,
        file_name="hero.png",
        upload_path="motionq/2026",
        mime="image/png",
        progress=progress,
    )


# ---- uploads ----


def test_an_upload_is_the_form_that_the_vendor_expects(vendor: Vendor, tmp_path: Path) -> None:
    """uploadPath, fileName and the file's exact bytes with their type; the answer becomes an UploadedFile."""
    content = bytes(range(256)) * 1000 + b"\r\n--x"
    (tmp_path / "staged").write_bytes(content)
    vendor.answer = stored(len(content))
    assert upload(vendor, tmp_path / "staged", len(content)) == UploadedFile(
        DOWNLOAD, len(content), "hero.png", "kieai/7/motionq/hero.png"
    )
    (call,) = vendor.calls
    assert (call.method, call.target) == ("POST", "/up/api/file-stream-upload")
    assert (call.headers["Authorization"], call.headers["User-Agent"]) == ("Bearer sk-17", USER_AGENT)
    form = email.message_from_bytes(
        f"Content-Type: {call.headers['Content-Type']}\r\n\r\n".encode() + call.body, policy=email.policy.HTTP
    )
    parts = {part.get_param("name", header="content-disposition"): part for part in form.iter_parts()}
    assert list(parts) == ["uploadPath", "fileName", "file"]
    assert parts["uploadPath"].get_payload() == "motionq/2026"
    assert parts["fileName"].get_payload() == "hero.png"
    assert (parts["file"].get_filename(), parts["file"].get_content_type()) == ("hero.png", "image/png")
    assert content in call.body


def test_a_file_object_is_uploaded_with_progress(vendor: Vendor) -> None:
    """Progress grows in small steps to the file's size, counting the file's bytes alone; the file stays open."""
    content = b"x" * 200_000
    vendor.answer = stored(len(content))
    seen: list[int] = []
    with io.BytesIO(content) as file:
        upload(vendor, file, len(content), seen.append)
        assert not file.closed
    assert (seen[0], seen[-1]) == (pytest.approx(16384, abs=1024), 200_000)
    assert all(0 <= later - earlier <= 16384 for earlier, later in pairwise(seen))
    assert vendor.digests == [hashlib.sha256(vendor.calls[0].body).hexdigest()]


def test_a_file_object_is_sent_from_where_it_stands_and_no_further(vendor: Vendor) -> None:
    """`size` bytes from the current position, though the file is longer."""
    vendor.answer = stored(3)
    file = io.BytesIO(b"0123456789")
    file.seek(2)
    upload(vendor, file, 3)
    assert b"\r\n\r\n234\r\n--" in vendor.calls[0].body


def test_memory_stays_flat_during_an_upload(vendor: Vendor, tmp_path: Path) -> None:
    """64 MB go out with less than 1 MB of memory, the stand-in's share included."""
    size = 64 * 1024 * 1024
    with (tmp_path / "large").open("wb") as file:
        file.truncate(size)
    vendor.answer, vendor.keep = stored(size), 0
    tracemalloc.start()
    try:
        upload(vendor, tmp_path / "large", size)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


def test_an_empty_body_is_not_confused_with_a_missing_file(vendor: Vendor) -> None:
    """Size 0 sends a form with an empty file."""
    vendor.answer = stored(0)
    assert upload(vendor, io.BytesIO(b""), 0).size == 0


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (stored(9), Unavailable),
        (stored(10, success=False), Unavailable),
        (stored(10, downloadUrl=None), Unavailable),
        (stored(10, downloadUrl="file:///etc/passwd"), Unavailable),
        (stored(10, downloadUrl="https://h.example/a\r\nX: y"), Unavailable),
        (says(200, data=None), Unavailable),
        (says(500, "Server exception, please try again later"), Unavailable),
        (b"<html>hello</html>", Unavailable),
        (says(400, "Missing required parameter: uploadPath"), UploadRefused),
        (says(401, "Authentication failed: Invalid API Key"), KeyRefused),
        (says(429, "Your call frequency is too high."), RateLimited),
    ],
)
def test_an_upload_counts_only_when_the_vendor_kept_the_whole_file(
    vendor: Vendor, answer: object, kind: type[KieFault]
) -> None:
    """Another size, a missing address, a refusal: each is its fault, none is a file."""
    vendor.answer = answer
    with pytest.raises(KieFault) as caught:
        upload(vendor, io.BytesIO(b"0123456789"), 10)
    assert type(caught.value) is kind


def test_an_upload_without_a_size_in_the_answer_is_accepted(vendor: Vendor) -> None:
    """Only a size that differs speaks against the file."""
    answer = stored(10)
    del answer["data"]["fileSize"]  # type: ignore[attr-defined]
    vendor.answer = answer
    assert upload(vendor, io.BytesIO(b"0123456789"), 10).size == 10


def test_a_file_that_is_too_short_is_not_the_vendors_fault(vendor: Vendor, tmp_path: Path) -> None:
    """The upload ends with a word about the file, and so does one of a file that is not there."""
    with pytest.raises(SourceBroken, match="ends 5 bytes before its 15 bytes"):
        upload(vendor, io.BytesIO(b"0123456789"), 15)
    with pytest.raises(SourceBroken, match="No such file"):
        upload(vendor, tmp_path / "missing", 15)


def test_an_upload_that_the_vendor_stops_listening_to(vendor: Vendor) -> None:
    """An early refusal, connection closed over unread bytes: its words if they arrive, else try again later."""
    vendor.hang_up_early, vendor.status, vendor.answer = True, 401, says(401, "Invalid API Key")
    with pytest.raises((KeyRefused, Unavailable)):
        upload(vendor, io.BytesIO(bytes(30_000_000)), 30_000_000)
    assert vendor.calls == []


class ClaimLost(Exception):
    """What a caller may raise."""


@pytest.mark.parametrize("own", [ClaimLost(), OSError(5, "disk"), TimeoutError(), BrokenPipeError(), Unavailable()])
def test_the_caller_can_end_an_upload(vendor: Vendor, own: Exception) -> None:
    """An exception of `progress` (the claim was lost) reaches the caller as it is, also one that a network has too."""

    def progress(sent: int) -> None:
        if sent:
            raise own

    vendor.answer = stored(200_000)
    with pytest.raises(type(own)) as caught:
        upload(vendor, io.BytesIO(bytes(200_000)), 200_000, progress)
    assert caught.value is own
    assert (own.__cause__, own.__context__) == (None, None)


@pytest.mark.parametrize(
    "names",
    [
        {"file_name": 'a".png'},
        {"file_name": "a\r\nb"},
        {"file_name": "../a"},
        {"file_name": ""},
        {"upload_path": "/motionq"},
        {"upload_path": "motionq/"},
        {"upload_path": "a//b"},
        {"mime": "image/png\r\nX: y"},
    ],
)
def test_names_that_would_break_the_form_are_refused(vendor: Vendor, names: dict[str, str]) -> None:
    """Nothing is sent under a name that could leave its field."""
    good = {"file_name": "a.png", "upload_path": "motionq", "mime": "image/png"}
    with pytest.raises(ValueError, match="can be sent"):
        client(vendor).upload(io.BytesIO(b"x"), size=1, **{**good, **names})
    assert vendor.calls == []


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_the_key_does_not_follow_a_redirect(vendor: Vendor, status: int) -> None:
    """Uploads and readings stop at a redirect: another host never sees the key."""
    with serving(Vendor(answer=stored(1))) as other:
        vendor.status, vendor.answer, vendor.location = status, b"", other.url
        with pytest.raises(Unavailable):
            upload(vendor, io.BytesIO(b"x"), 1)
        with pytest.raises(Unavailable):
            client(vendor).read(TASK)
        assert (len(vendor.calls), other.calls) == (2, [])


# ---- small calls ----


@pytest.mark.parametrize(("data", "balance"), [(5916.25, 5916.25), (0, 0.0), (80, 80.0)])
def test_credits(vendor: Vendor, data: object, balance: float) -> None:
    """The balance is a number, whole or not."""
    vendor.answer = says(200, data=data)
    assert client(vendor).credits() == balance
    assert [(call.method, call.target) for call in vendor.calls] == [("GET", "/api/v1/chat/credit")]


@pytest.mark.parametrize("data", [None, "many", True, {}])
def test_a_balance_that_is_no_number_is_unavailable(vendor: Vendor, data: object) -> None:
    """No balance is invented."""
    vendor.answer = says(200, data=data)
    with pytest.raises(Unavailable):
        client(vendor).credits()


def test_one_look(vendor: Vendor) -> None:
    """recordInfo is asked with the quoted task ID, and its state comes back."""
    vendor.answer = says(200, data={"taskId": "a/b&c", "state": "generating"})
    reading = client(vendor).read("a/b&c")
    assert (reading.task_id, reading.state, reading.phase) == ("a/b&c", "generating", Phase.RUNNING)
    assert vendor.calls[0].target == "/api/v1/jobs/recordInfo?taskId=a%2Fb%26c"


def test_a_look_at_an_unknown_task(vendor: Vendor) -> None:
    """ "recordInfo is null" is a reading."""
    vendor.answer = says(422, "recordInfo is null", data=None)
    assert client(vendor).read(TASK).phase is Phase.NOT_VISIBLE


def test_an_unreachable_vendor_is_unavailable(vendor: Vendor) -> None:
    """Free calls are tried again later, whatever broke."""
    gone = KieClient(KieAccount("http://a..b", "http://a..b", SecretStr("sk-17"), 1.0, 1.0))
    for call in (gone.credits, lambda: gone.read(TASK)):
        with pytest.raises(Unavailable):
            call()
