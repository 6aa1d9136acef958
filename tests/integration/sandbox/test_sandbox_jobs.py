"""createTask, recordInfo and credits, as the vendor's contract has them."""

from __future__ import annotations

import asyncio
import json
import re
import time
from urllib.parse import urlsplit

import pytest
import requests
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from motionq_ops.sandbox.answers import Answer
from motionq_ops.sandbox.clock import Agenda, Clock
from motionq_ops.sandbox.edge import Asked, Edge
from motionq_ops.sandbox.ledger import Ledger
from motionq_ops.sandbox.settings import Settings
from motionq_ops.sandbox.vendor import Vendor
from support import eventually

NO_CREDITS = "Credits insufficient : Your current balance isn’t enough to run this request. Please top up to continue."
BAD_MODEL = (
    "The model name you specified is not supported. Please verify your input and use one of the supported models "
    "provided by KIE."
)
BAD_KEY = (
    "Unauthorized – Authentication failed. Please check that your Authorization and Content-Type headers are "
    "correctly set."
)


def test_create_answers_two_equal_hex_ids(client):
    """A task's answer is HTTP 200 with 32 hex digits, taskId equal to recordId."""
    answer = client.create()
    assert (answer["code"], answer["msg"], set(answer["data"])) == (200, "success", {"taskId", "recordId"})
    assert re.fullmatch("[0-9a-f]{32}", answer["data"]["taskId"])
    assert answer["data"]["recordId"] == answer["data"]["taskId"]


def test_life_of_a_task(client, sandbox):
    """waiting, generating, success in this order, with the recorded fields; times in ms, costTime in seconds."""
    sandbox.settings(speed=1.0)
    filmed = client.make(callback=None, mode="1080p")  # the film is made once; a busy machine takes its time over it
    sandbox.advance(110)
    eventually(lambda: client.record(filmed)["state"] == "success", timeout=60, interval=0.2)
    before = int(time.time() * 1000)
    task = client.make(callback=None, mode="1080p")
    first = client.record(task)
    assert {**first, "createTime": 0, "param": ""} == {
        "taskId": task, "model": "kling-2.6/motion-control", "state": "waiting", "param": "", "resultJson": "",
        "failCode": None, "failMsg": None, "costTime": None, "completeTime": None, "createTime": 0,
        "successFlag": 0, "response": None, "creditsConsumed": 0.0,
    }  # fmt: skip
    assert before <= first["createTime"] <= int(time.time() * 1000)
    sandbox.advance(50)
    assert client.record(task)["state"] == "generating"
    sandbox.advance(60)
    last = client.record(task)
    assert (last["state"], last["costTime"], last["successFlag"]) == ("success", 100, 1)
    assert last["completeTime"] == first["createTime"] + 100_000
    assert last["createTime"] == first["createTime"]
    assert json.loads(last["resultJson"]) == last["response"] == {"resultUrls": [sandbox.task(task)["resultUrl"]]}
    assert re.search(rf"/k/{task}_0_\d+_\d{{4}}\.mp4$", last["response"]["resultUrls"][0])
    assert last["creditsConsumed"] == 180.0


def test_speed_shortens_the_wait_but_not_the_story(client, sandbox):
    """At speed 1000 a generation of 100 s ends after 0.1 s and still says 100 s."""
    started = time.monotonic()
    data = client.ended(client.make())
    assert time.monotonic() - started >= 0.1
    assert (data["costTime"], data["completeTime"] - data["createTime"]) == (100, 100_000)


def test_param_is_json_within_json_by_default(client):
    """The echo holds model, callBackUrl and the input as a string of JSON, keys in another order."""
    body_input = {"prompt": "ä dance", "input_urls": ["http://127.0.0.1:9/h.png"]}
    task = client.make(image=body_input["input_urls"][0], prompt="ä dance", callback="http://127.0.0.1:9/x", odd=7)
    echo = json.loads(client.record(task)["param"])
    assert (echo["model"], echo["callBackUrl"]) == ("kling-2.6/motion-control", "http://127.0.0.1:9/x")
    assert isinstance(echo["input"], str)
    assert json.loads(echo["input"]) == {
        **body_input, "video_urls": ["http://127.0.0.1:9/dance.mp4"], "mode": "720p", "odd": 7,
    }  # fmt: skip
    assert list(json.loads(echo["input"])) != ["prompt", "input_urls", "video_urls", "mode", "odd"]


def test_switches_of_the_record(client, sandbox):
    """Older and newer shapes: param once encoded, "" and null exchanged, no new fields."""
    sandbox.settings(param="single", fail_fields="empty", result_json="null", new_fields=False)
    data = client.record(client.make())
    assert json.loads(data["param"])["input"]["prompt"] == "a dance"
    assert (data["failCode"], data["failMsg"], data["resultJson"]) == ("", "", None)
    assert not {"successFlag", "response", "creditsConsumed"} & set(data)


def test_new_task_is_unknown_for_a_moment(client, sandbox):
    """recordInfo is null at first, and for another account's task or an unknown one for ever."""
    sandbox.settings(null_seconds=10.0, speed=1.0)
    null = {"code": 422, "msg": "recordInfo is null", "data": None}
    task = client.make()
    assert client.read(task) == null
    sandbox.advance(11)
    assert client.record(task)["state"] == "waiting"
    assert client.read("0" * 32) == null


def test_tasks_are_private(client, other):
    """Another account can't read a task."""
    task = client.make()
    assert other.read(task)["msg"] == "recordInfo is null"
    assert client.record(task)["taskId"] == task


def test_records_end_after_two_months(client, sandbox):
    """After 60 simulated days a record is gone; after 14 days its result is."""
    data = client.ended(client.make())
    url = data["response"]["resultUrls"][0]
    sandbox.advance(13.9 * 86_400)
    assert requests.get(url, timeout=5).status_code == 200
    sandbox.advance(0.2 * 86_400)
    assert requests.get(url, timeout=5).status_code == 404
    assert client.record(data["taskId"])["state"] == "success"
    sandbox.advance(47 * 86_400)
    assert client.read(data["taskId"])["msg"] == "recordInfo is null"


@pytest.mark.parametrize(
    ("changes", "msg"),
    [
        ({"input_urls": None}, "input_urls is required"),
        ({"video_urls": None}, "video_urls is required"),
        ({"video_urls": []}, "video_urls is required"),
        ({"input_urls": ["http://a/1", "http://a/2"]}, "Value must be within the specified range"),
        ({"mode": "pro"}, "mode is not within the range of allowed options"),
        ({"character_orientation": "left"}, "character_orientation is not within the range of allowed options"),
        ({"prompt": "x" * 2501}, "The text length cannot exceed the maximum limit"),
    ],
)
def test_validation(client, sandbox, changes, msg):
    """A wrong input is refused with the vendor's words under code 500 (or 422), and nothing is made or charged."""
    assert client.create(**changes) == {"code": 500, "msg": msg, "data": None}
    sandbox.settings(validation_code=422)
    assert client.create(**changes) == {"code": 422, "msg": msg, "data": None}
    assert (sandbox.summary()["tasks_made"], client.credit()) == (0, 1000.0)


def test_what_validation_lets_through(client):
    """Unknown fields are ignored, mode and orientation may be missing, 2,500 characters are allowed."""
    task = client.make(mode=None, keep_original_sound="yes", prompt="x" * 2500)
    assert client.record(task)["state"] in ("waiting", "generating", "success")


def test_unknown_model(client):
    """An unknown model is code 422 with the recorded text."""
    assert client.create(model="kling-9/motion") == {"code": 422, "msg": BAD_MODEL, "data": None}


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "http://[/a", "http://a]/b", "http://", "https://host:port/a", "http://host:99999/a"]
)
def test_bad_media_address(client, sandbox, body_of, url):
    """A media URL that is no web address is the recorded server exception: HTTP 200, code 500, and in the ledger."""
    for changes in ({"image": url}, {"video": url}):
        answer = client.post("/api/v1/jobs/createTask", body_of(**changes))
        refused = {"code": 500, "msg": "Server exception, please try again later", "data": None}
        assert (answer.status_code, answer.json()) == (200, refused)
    assert [(line["code"], line["http"]) for line in sandbox.ledger("createTask")] == [(500, 200)] * 2
    assert (sandbox.summary()["tasks_made"], client.credit()) == (0, 1000.0)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[" * 100_000, b'{"model": NaN}', b'{"model": 1e999}', b"\xff", b"5", b'{"model": ["x"]}']
)
def test_a_body_that_is_no_order_is_refused_in_the_envelope(client, sandbox, body):
    """Whatever comes in is answered with HTTP 200 and a code, and leaves its line in the ledger."""
    url = f"{sandbox.url}/api/v1/jobs/createTask"
    answer = client.session.post(url, data=body, headers=client.headers, timeout=10)
    assert (answer.status_code, answer.json()["code"] in (422, 500)) == (200, True)
    (line,) = sandbox.ledger("createTask")
    assert (line["code"], line["http"], line["taskId"]) == (answer.json()["code"], 200, None)


def test_a_price_list_without_the_mode_is_a_refusal(client, sandbox):
    """A mode that the switched price list does not have is refused with the vendor's words."""
    sandbox.settings(prices={"kling-2.6/motion-control": {"720p": 1.0}})
    assert client.create(mode="1080p")["msg"] == "mode is not within the range of allowed options"


def test_half_a_character_hurts_nobody(client, sandbox):
    """A lone surrogate in a prompt comes back as a question mark, in the record and in the ledger."""
    task = client.make(prompt="a\ud800b")
    assert json.loads(json.loads(client.record(task)["param"])["input"])["prompt"] == "a?b"
    assert [line["prompt"] for line in sandbox.ledger("createTask")] == ["a?b"]


def test_a_fault_of_the_sandbox_is_in_the_ledger(capfd):
    """What goes wrong in the sandbox itself is a true HTTP 500, a line in the ledger and a traceback on stderr."""

    async def breaks(asked: Asked) -> Answer:
        raise ZeroDivisionError("a slip")

    async def ask() -> tuple[int, bytes, list[dict[str, object]]]:
        clock, ledger = Clock(), Ledger()
        edge = Edge(Vendor(Settings(), ["key"], 1.0, clock, Agenda(clock), 1), ledger, None)
        app = web.Application()

        async def handle(request: web.Request) -> web.StreamResponse:
            return await edge.serve(request, edge.note(request, "credit"), breaks)

        app.router.add_get("/", handle)
        async with TestServer(app) as server, TestClient(server) as client:
            answer = await client.get("/")
            return answer.status, await answer.read(), ledger.entries()

    status, body, (line,) = asyncio.run(ask())
    assert (status, body) == (500, b"")
    assert (line["call"], line["code"], line["http"]) == ("credit", 500, 500)
    assert "ZeroDivisionError: a slip" in capfd.readouterr().err


def test_files_are_on_another_host_than_the_api(client, sandbox):
    """Results and uploads are handed out under another name than the API's, as the vendor's are."""
    upload = client.upload("a.png", b"1").json()["data"]["downloadUrl"]
    (result,) = client.ended(client.make())["response"]["resultUrls"]
    assert {urlsplit(url).netloc for url in (upload, result)} == {sandbox.files_host} == {f"localhost:{sandbox.port}"}
    assert urlsplit(sandbox.url).hostname == "127.0.0.1"
    assert [requests.get(url, timeout=5).status_code for url in (upload, result)] == [200, 200]


@pytest.mark.parametrize("key", ["", "wrong"])
def test_keys_are_checked(client, key):
    """A bad key is HTTP 200 with code 401 and no data, for every call."""
    client.key = key
    refused = {"code": 401, "msg": BAD_KEY}
    assert client.create() == client.read("x") == refused
    answer = client.post("/api/v1/common/download-url", {"url": "x"})
    assert (answer.status_code, answer.json()) == (200, refused)


def test_credits_are_held_and_given_back(client, other, sandbox):
    """A task holds its price at once; a failed one is refunded in full, a good one is burnt; accounts are apart."""
    sandbox.settings(speed=1.0)
    assert (client.credit(), isinstance(client.credit(), float)) == (1000.0, True)
    sandbox.add_fault("fail_generation")
    bad, good = client.make(), client.make(mode="1080p")
    assert client.credit() == 1000.0 - 110.0 - 180.0
    assert sandbox.summary()["held"] == 290.0
    sandbox.advance(101)
    assert (client.ended(bad)["state"], client.ended(good)["state"]) == ("fail", "success")
    assert (client.credit(), other.credit()) == (820.0, 1000.0)
    totals = sandbox.summary()
    assert (totals["charged"], totals["refunded"], totals["held"], totals["burnt"]) == (290.0, 110.0, 0.0, 180.0)


def test_price_follows_the_driver(client, sandbox):
    """The hold is credits per second x the uploaded video's seconds (5.28 s: 6, or 5 when rounded down)."""
    video = client.upload_sample("bigbuckbunny.mp4")
    sandbox.settings(speed=1.0)
    client.make(video=video)
    assert client.credit() == 1000.0 - 6 * 11
    sandbox.settings(billing="floor")
    client.make(video=video, mode="1080p", model="kling-3.0/motion-control")
    assert client.credit() == 1000.0 - 66.0 - 5 * 27
    sandbox.settings(billing="exact", prices={"kling-2.6/motion-control": {"720p": 100.0}})
    client.make(video=video)
    assert client.credit() == pytest.approx(1000.0 - 66.0 - 135.0 - 528.0)


def test_no_credits(client, sandbox):
    """Too few credits: code 402 with the exact text, no task; with more credits it works."""
    sandbox.set_credits(109.5)
    assert client.create() == {"code": 402, "msg": NO_CREDITS, "data": None}
    assert (sandbox.summary()["tasks_made"], client.credit()) == (0, 109.5)
    sandbox.set_credits(110.0)
    assert client.create()["code"] == 200
    assert client.credit() == 0.0


def test_create_rate(client, other, sandbox):
    """Within the window each account gets its calls, the next is code 429, however fast the simulated clock."""
    sandbox.settings(rate_limit="20/10")
    sandbox.set_credits(10_000.0)
    codes = [client.create()["code"] for _ in range(23)]
    assert codes == [200] * 20 + [429] * 3
    assert client.create()["msg"] == "Your call frequency is too high. Please try again later."
    assert other.create()["code"] == 200
    assert sandbox.summary()["tasks_made"] == 21


def test_create_window_reopens(client, sandbox, wait):
    """Once the window has passed, calls are let in again; refused calls took no place."""
    sandbox.settings(rate_limit="2/1")
    assert [client.create()["code"] for _ in range(3)] == [200, 200, 429]
    wait(lambda: client.create()["code"] == 200, 5)
    first, *_, last = sandbox.ledger("createTask")
    assert last["arrival"] - first["arrival"] >= 1.0


def test_window_in_the_ledger_counts_arrivals(client, sandbox):
    """The ledger's largest window counts what was asked, not what was let in."""
    sandbox.settings(rate_limit="2/10")
    for _ in range(5):
        client.create()
    totals = sandbox.summary()
    assert (totals["creates_asked"], totals["max_creates_in_window"], totals["tasks_made"]) == (5, 5, 2)


def test_read_rate(client, sandbox, wait):
    """More than ten reads of one task in a second are code 429; another task is not concerned."""
    sandbox.settings(read_limit=10)
    one, two = client.make(), client.make()
    assert [client.read(one)["code"] for _ in range(10)] == [200] * 10
    wait(lambda: client.read(one)["code"] == 429)
    assert client.read(two)["code"] == 200


def test_own_limit_of_the_vendor(client, sandbox):
    """A generation that would take longer than 1,200 s fails with 524 and costs nothing."""
    sandbox.settings(duration=5000.0)
    task = client.make()
    sandbox.advance(1201)
    data = client.ended(task)
    assert (data["state"], data["failCode"], data["failMsg"], data["costTime"], data["successFlag"]) == (
        "fail", "524", "generate task timeout", 1200, 3,
    )  # fmt: skip
    assert client.credit() == 1000.0


def test_drawn_durations(client, sandbox):
    """Without a fixed duration it is drawn around median + 2 s per driver second (a foreign driver counts 10 s)."""
    sandbox.settings(duration=None, sigma=0.0, median_seconds=30.0)
    assert sandbox.task(client.make())["plan"]["seconds"] == 50.0
    sandbox.settings(sigma=0.15)
    drawn = {sandbox.task(client.make())["plan"]["seconds"] for _ in range(5)}
    assert len(drawn) == 5
    assert all(20.0 < seconds < 125.0 for seconds in drawn)


def test_download_url(client, sandbox):
    """download-url gives a bare URL for the vendor's own files and refuses others."""
    url = client.ended(client.make())["response"]["resultUrls"][0]
    assert client.post("/api/v1/common/download-url", {"url": url}).json()["data"] == url
    foreign = client.post("/api/v1/common/download-url", {"url": "https://example.org/a.mp4"}).json()
    assert foreign == {"code": 422, "msg": "url is wrong", "data": None}


def test_result_host_refuses_urllib(client):
    """The result host answers 403 to urllib's default User-Agent, and the film to others; nothing before the end."""
    url = client.ended(client.make())["response"]["resultUrls"][0]
    refused = requests.get(url, headers={"User-Agent": "Python-urllib/3.11"}, timeout=5)
    film = requests.get(url, timeout=5)
    assert (refused.status_code, film.status_code, film.headers["Content-Type"]) == (403, 200, "video/mp4")
    assert film.content[4:8] == b"ftyp"


def test_result_comes_with_success(client, sandbox):
    """Before the task has ended its result's address answers 404."""
    sandbox.settings(speed=1.0)
    url = sandbox.task(client.make())["resultUrl"]
    assert requests.get(url, timeout=5).status_code == 404
    sandbox.advance(101)
    assert requests.get(url, timeout=5).status_code == 200


def test_ledger_line(client, sandbox, receiver):
    """A createTask line says who asked what, when, from where, with which end; the key is nowhere."""
    task = client.make(callback=receiver.url)
    (line,) = sandbox.ledger("createTask")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("at"))
    assert line.pop("arrival") > 0
    assert 1024 <= line.pop("port") <= 65_535
    assert line == {
        "call": "createTask", "account": "100001", "code": 200, "http": 200, "taskId": task, "fault": None,
        "model": "kling-2.6/motion-control", "mode": "720p", "prompt": "a dance", "callBackUrl": receiver.url,
        "imageUrls": ["http://127.0.0.1:9/hero.png"], "videoUrls": ["http://127.0.0.1:9/dance.mp4"],
    }  # fmt: skip
    assert "key-one" not in json.dumps(sandbox.control("GET", "/sandbox/ledger"))
