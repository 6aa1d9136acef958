"""The upload host and what becomes of uploads."""

from __future__ import annotations

import base64
import re
import socket
from pathlib import Path

import pytest
import requests

MISSING = ("422", "Your media file is unavailable, please replace it.")


def test_answer_shape(client, sandbox):
    """The recorded shape, and the file under its downloadUrl."""
    answer = client.upload("a.png", b"12345")
    body = answer.json()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", body["data"].pop("uploadedAt"))
    assert (answer.status_code, body) == (200, {
        "success": True, "code": 200, "msg": "File uploaded successfully",
        "data": {
            "success": True, "fileName": "a.png", "filePath": "kieai/100001/motionq/a.png", "fileSize": 5,
            "downloadUrl": f"{sandbox.files_url}/kieai/100001/motionq/a.png", "mimeType": "image/png",
        },
    })  # fmt: skip
    assert requests.get(body["data"]["downloadUrl"], timeout=5).content == b"12345"


def test_name_is_invented(client):
    """Without a file name the vendor makes one of the time and a random part."""
    body = {"base64Data": base64.b64encode(b"x").decode(), "uploadPath": "a/b"}
    data = client.post("/api/file-base64-upload", body).json()["data"]
    assert re.fullmatch(r"\d{13}-[0-9a-f]{8}(\.\w+)?", data["fileName"])
    assert data["filePath"] == f"kieai/100001/a/b/{data['fileName']}"


def test_base64_and_url(client):
    """The two other ways in give the same answer."""
    first = client.post(
        "/api/file-base64-upload",
        {
            "base64Data": "data:image/png;base64," + base64.b64encode(b"pic").decode(),
            "uploadPath": "p",
            "fileName": "b",
        },
    ).json()["data"]
    assert (first["fileSize"], first["mimeType"]) == (3, "image/png")
    second = client.post(
        "/api/file-url-upload", {"fileUrl": first["downloadUrl"], "uploadPath": "p", "fileName": "c.png"}
    ).json()["data"]
    assert requests.get(second["downloadUrl"], timeout=5).content == b"pic"


def test_same_name_overwrites(client):
    """A second file of the same name takes the first one's place; the accounts' names are apart."""
    first, second = client.upload("a.png", b"one").json(), client.upload("a.png", b"two").json()
    assert first["data"]["downloadUrl"] == second["data"]["downloadUrl"]
    assert requests.get(first["data"]["downloadUrl"], timeout=5).content == b"two"


def test_refusals(client, sandbox):
    """No uploadPath: code 400; bad key: 401; HTTP 200 unless the switch says otherwise."""
    answer = client.upload("a.png", b"1", path=None)
    assert (answer.status_code, answer.json()) == (
        200, {"success": False, "code": 400, "msg": "Missing required parameter: uploadPath"},
    )  # fmt: skip
    client.key = "wrong"
    refused = {"success": False, "code": 401, "msg": "Authentication failed: Invalid API Key"}
    assert client.upload("a.png", b"1").json() == refused
    sandbox.settings(upload_http_errors=True)
    answer = client.upload("a.png", b"1")
    assert (answer.status_code, answer.json()) == (401, refused)


@pytest.mark.parametrize(
    ("way", "body", "code", "msg"),
    [
        ("base64", {"base64Data": "no base64!"}, 400, "Base64 decoding failed: Invalid Base64 format"),
        ("base64", {}, 400, "Missing required parameter: base64Data"),
        ("url", {"fileUrl": "http://127.0.0.1:9/a.png"}, 500, "Internal server error"),
        ("url", {"fileUrl": "http://[/a.png"}, 500, "Internal server error"),
        ("url", {}, 400, "Missing required parameter: fileUrl"),
    ],
)
def test_each_fault_of_an_upload_has_its_own_words(client, sandbox, way, body, code, msg):
    """What is missing, what can't be decoded and what can't be fetched are told apart, and all are in the ledger."""
    answer = client.post(f"/api/file-{way}-upload", {"uploadPath": "p", "fileName": "a.png"} | body)
    assert (answer.status_code, answer.json()) == (200, {"success": False, "code": code, "msg": msg})
    (line,) = sandbox.ledger("upload")
    assert (line["code"], line["http"], line["fileName"]) == (code, 200, "a.png")


def test_an_upload_that_breaks_off_is_in_the_ledger(client, sandbox, wait):
    """A client that goes away in the middle leaves a line without an answer, and no file."""
    head = (
        "POST /api/file-stream-upload HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
        f"Authorization: Bearer {client.key}\r\nContent-Type: multipart/form-data; boundary=b\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\nhalf of'
    )
    with socket.create_connection(("127.0.0.1", sandbox.port)) as line:
        line.sendall(head.encode())
    (entry,) = wait(lambda: sandbox.ledger("upload"))
    assert (entry["code"], entry["http"], "filePath" in entry) == (None, None, False)


def test_uploads_expire(client, sandbox):
    """After 24 simulated hours the file is gone, and a task that names it fails with 422 and is refunded."""
    image = client.upload("a.png", b"1").json()["data"]["downloadUrl"]
    sandbox.advance(23.9 * 3600)
    assert requests.get(image, timeout=5).status_code == 200
    sandbox.advance(0.2 * 3600)
    assert requests.get(image, timeout=5).status_code == 404
    data = client.ended(client.make(image=image))
    assert (data["state"], data["failCode"], data["failMsg"]) == ("fail", *MISSING)
    assert (client.credit(), data["costTime"]) == (1000.0, 15)


def test_lost_upload(client, sandbox):
    """upload_lost: the answer is good, the file is not there."""
    sandbox.add_fault("upload_lost")
    answer = client.upload("a.png", b"1").json()
    assert answer["code"] == 200
    data = client.ended(client.make(image=answer["data"]["downloadUrl"]))
    assert (data["failCode"], data["failMsg"]) == MISSING


@pytest.mark.parametrize(
    ("image", "video", "msg"),
    [
        (None, b"no video", "File type not supported"),
        (b"no picture", None, "Image recognition failed"),
    ],
)
def test_unreadable_media(client, sandbox, image, video, msg):
    """What can't be decoded makes the task fail with 400."""
    sandbox.settings(render="real")
    image_url = client.upload("x.png", image).json()["data"]["downloadUrl"] if image else None
    video_url = client.upload("x.mp4", video).json()["data"]["downloadUrl"] if video else None
    data = client.ended(
        client.make(
            image=image_url or client.upload_sample("astronaut.png"),
            video=video_url or client.upload_sample("bigbuckbunny.mp4"),
        )
    )
    assert (data["state"], data["failCode"], data["failMsg"]) == ("fail", "400", msg)


def test_unreachable_foreign_media(client, sandbox):
    """A media URL elsewhere that can't be fetched makes the task fail with 422."""
    sandbox.settings(render="real")
    data = client.ended(client.make())
    assert (data["failCode"], data["failMsg"]) == MISSING


def test_discarded_uploads(client, sandbox):
    """With discard_uploads bytes are counted and thrown away, and tasks succeed all the same."""
    sandbox.settings(discard_uploads=True, render="real")
    url = client.upload("a.mp4", b"0" * 300_000).json()["data"]["downloadUrl"]
    assert requests.get(url, timeout=5).status_code == 404
    assert client.ended(client.make(image=url, video=url))["state"] == "success"
    (upload,) = sandbox.summary()["uploads"]
    assert (upload["bytes"], upload["fileName"], upload["code"]) == (300_000, "a.mp4", 200)


def test_upload_rate(client, sandbox):
    """upload_rate slows a connection down to so many bytes per second."""
    sandbox.settings(upload_rate=500_000.0)
    answer = client.upload("a.mp4", b"0" * 200_000)
    assert answer.json()["data"]["fileSize"] == 200_000
    assert answer.elapsed.total_seconds() >= 0.4


def test_memory_stays_flat(client, sandbox):
    """A large upload is written to disk as it comes: the sandbox's memory grows by less than a third of it."""
    peak = _peak_kib(sandbox.pid)
    size = 60 * 1024 * 1024
    assert client.upload("large.mp4", bytes(size)).json()["data"]["fileSize"] == size
    assert (_peak_kib(sandbox.pid) - peak) * 1024 < size / 3


def _peak_kib(pid: int) -> int:
    if not (status := Path(f"/proc/{pid}/status")).exists():
        pytest.skip("needs /proc")
    return int(re.search(r"VmHWM:\s+(\d+)", status.read_text()).group(1))
