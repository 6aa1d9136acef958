"""Every named fault does what its name says: on the wire, and to the vendor's books."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from motionq_ops.sandbox.answers import MESSAGES
from motionq_ops.sandbox.faults import FAULTS
from motionq_ops.sandbox.process import SandboxFailed

CREATE = "/api/v1/jobs/createTask"


def raw_create(client, body, timeout=10.0) -> tuple[int, bytes]:
    """POST createTask over a bare socket; returns status and body, or raises what the socket says."""
    place = urlsplit(client.sandbox.url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=timeout)
    with contextlib.closing(connection):
        headers = {**client.headers, "Content-Type": "application/json"}
        connection.request("POST", CREATE, json.dumps(body), headers)
        with contextlib.closing(connection.getresponse()) as answer:
            return answer.status, answer.read()


def made(sandbox) -> int:
    return sandbox.summary()["tasks_made"]


@pytest.mark.parametrize(
    ("fault", "options", "error", "tasks"),
    [
        ("drop_before", {}, http.client.RemoteDisconnected, 0),
        ("drop_after", {}, http.client.RemoteDisconnected, 1),
        ("reset", {}, ConnectionResetError, 0),
        ("reset", {"made": True}, ConnectionResetError, 1),
        ("cut_json", {}, http.client.IncompleteRead, 1),
        ("hang", {}, TimeoutError, 0),
        ("hang", {"made": True}, TimeoutError, 1),
    ],
)
def test_lost_answers(client, sandbox, body_of, fault, options, error, tasks):
    """The connection ends as named, and the task exists (and is charged) exactly when it should."""
    sandbox.add_fault(fault, "createTask", **options)
    with pytest.raises(error) as caught:
        raw_create(client, body_of(), timeout=0.5 if fault == "hang" else 10.0)
    assert caught.type is error
    assert (made(sandbox), client.credit()) == (tasks, 1000.0 - 110.0 * tasks)
    (line,) = sandbox.ledger("createTask")
    assert (line["fault"], bool(line["taskId"]), line["prompt"]) == (fault, bool(tasks), "a dance")
    assert (line["code"], line["http"]) == ((200, 200) if fault == "cut_json" else (None, None))
    assert client.create()["code"] == 200


def test_cut_answer_begins_like_the_whole(client, sandbox, body_of):
    """cut_json sends the first half of the genuine answer."""
    sandbox.add_fault("cut_json", "createTask")
    with pytest.raises(http.client.IncompleteRead) as caught:
        raw_create(client, body_of())
    part = caught.value.partial
    assert part.startswith(b'{"code":200,"msg":"success","data":{"taskId":"')
    assert caught.value.expected in (len(part), len(part) + 1)


@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [
        ("html_502", 502, b"<!DOCTYPE html>"),
        ("html_503", 503, b"<!DOCTYPE html>"),
        ("http_408", 408, b"<!DOCTYPE html>"),
        ("http_524", 524, b"<!DOCTYPE html>"),
        ("http_500_empty", 500, b""),
    ],
)
@pytest.mark.parametrize("did", [False, True])
def test_answers_without_an_envelope(client, sandbox, body_of, fault, status, kind, did):
    """HTTP errors without an envelope; with ``made`` the task was made all the same."""
    sandbox.add_fault(fault, "createTask", made=did)
    answered, body = raw_create(client, body_of())
    assert (answered, body[: len(kind) or None]) == (status, kind)
    assert made(sandbox) == int(did)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 422, 429, 433, 455, 500, 501, 502, 503, 505])
def test_true_http_statuses(client, sandbox, body_of, status):
    """http_N: the status is N and so is the envelope's code."""
    sandbox.add_fault(f"http_{status}", "createTask")
    answered, body = raw_create(client, body_of())
    assert (answered, json.loads(body)["code"], made(sandbox)) == (status, status, 0)


@pytest.mark.parametrize("code", sorted(MESSAGES))
@pytest.mark.parametrize("call", ["createTask", "recordInfo"])
def test_codes(client, sandbox, code, call):
    """code_N: HTTP 200, code N, the real message, nothing done."""
    task = client.make()
    sandbox.add_fault(f"code_{code}", call)
    answer = client.create() if call == "createTask" else client.read(task)
    assert (answer["code"], answer["msg"]) == (code, MESSAGES[code])
    assert answer.get("data") is None
    assert made(sandbox) == 1
    assert client.read(task)["code"] == 200


def test_code_with_own_message(client, sandbox):
    """``msg`` replaces the message."""
    sandbox.add_fault("code_500", "createTask", msg="This field is required")
    assert client.create() == {"code": 500, "msg": "This field is required", "data": None}


def test_codes_of_uploads_and_credit(client, sandbox):
    """The same codes for the upload host (its envelope has ``success``) and for the credit endpoint."""
    sandbox.add_fault("code_500", "upload")
    answer = client.upload("a.png", b"1").json()
    assert answer == {"success": False, "code": 500, "msg": MESSAGES[500]}
    sandbox.add_fault("code_455", "credit")
    assert client.credit() is None
    assert client.credit() == 1000.0


@pytest.mark.parametrize("status", [307, 308])
def test_following_a_redirect_buys(client, sandbox, body_of, status):
    """The POST itself makes nothing; a client that follows 307/308 sends it again, and that one is charged."""
    sandbox.add_fault(f"redirect_{status}", "createTask", times=2)
    answer = client.post(CREATE, body_of())
    assert (answer.status_code, answer.headers["Location"]) == (status, sandbox.url + CREATE)
    assert (made(sandbox), client.credit()) == (0, 1000.0)
    followed = client.post(CREATE, body_of(), allow_redirects=True)
    assert (followed.json()["code"], made(sandbox), client.credit()) == (200, 1, 890.0)
    assert [line["fault"] for line in sandbox.ledger("createTask")] == [f"redirect_{status}"] * 2 + [None]


@pytest.mark.parametrize("status", [301, 302, 303])
def test_following_a_redirect_by_get_buys_nothing(client, sandbox, body_of, status):
    """After 301/302/303 usual clients ask by GET, which the address refuses."""
    sandbox.add_fault(f"redirect_{status}", "createTask")
    followed = client.post(CREATE, body_of(), allow_redirects=True)
    assert (followed.status_code, [past.status_code for past in followed.history]) == (405, [status])
    assert made(sandbox) == 0


def test_lies(client, sandbox):
    """Code 500 though the task was made; a success without an ID; the ID of an earlier task."""
    sandbox.add_fault("lie_500", "createTask")
    assert client.create() == {"code": 500, "msg": MESSAGES[500], "data": None}
    sandbox.add_fault("no_task_id", "createTask")
    assert client.create() == {"code": 200, "msg": "success", "data": None}
    assert made(sandbox) == 2
    first, second = sandbox.ledger("createTask")
    assert first["taskId"] != second["taskId"]
    sandbox.add_fault("task_bound_elsewhere")
    assert client.create()["data"]["taskId"] == second["taskId"]
    assert made(sandbox) == 2
    assert sandbox.ledger("createTask")[-1]["taskId"] is None


def test_no_credits_under_500(client, sandbox):
    """The no-credits text may come under code 500."""
    sandbox.add_fault("credits_500")
    assert client.create() == {"code": 500, "msg": MESSAGES[402], "data": None}
    assert made(sandbox) == 0


def test_slow(client, sandbox):
    """slow: the work is done at once, the answer comes after so many seconds on the wall clock."""
    sandbox.add_fault("slow", "createTask", seconds=0.4)
    started = time.monotonic()
    assert client.create()["code"] == 200
    assert 0.4 <= time.monotonic() - started < 3


def test_garbage(client, sandbox, body_of):
    """garbage: HTTP 200 without JSON."""
    sandbox.add_fault("garbage", "createTask")
    assert raw_create(client, body_of()) == (200, b"upstream connect error")
    assert made(sandbox) == 1


def test_faults_of_reading(client, sandbox):
    """A null record, an unknown state, and a lost answer can happen to recordInfo."""
    task = client.make()
    sandbox.add_fault("null_record")
    assert client.read(task) == {"code": 422, "msg": "recordInfo is null", "data": None}
    sandbox.add_fault("strange_state", state="reviewing")
    assert client.record(task)["state"] == "reviewing"
    sandbox.add_fault("drop_after", "recordInfo")
    with pytest.raises(requests.ConnectionError):
        client.read(task)
    assert client.record(task)["taskId"] == task


def test_failed_generation(client, sandbox):
    """fail_generation: the given failCode and failMsg, after the given time, refunded."""
    sandbox.add_fault("fail_generation", code=400, msg="No valid characters detected in the video", seconds=30)
    data = client.ended(client.make())
    assert (data["state"], data["failCode"], data["failMsg"], data["costTime"], data["resultJson"]) == (
        "fail", "400", "No valid characters detected in the video", 30, "",
    )  # fmt: skip
    assert (data["successFlag"], data["creditsConsumed"], client.credit()) == (3, 0.0, 1000.0)


def test_time_out_that_flips(client, sandbox):
    """fail_524_flip: failed with 524 at 1,200 s and refunded; 60 s later a success, charged again."""
    sandbox.settings(speed=1.0)
    sandbox.add_fault("fail_524_flip", "createTask")
    task = client.make()
    sandbox.advance(1199)
    assert client.record(task)["state"] == "generating"
    sandbox.advance(2)
    data = client.ended(task)
    assert (data["state"], data["failCode"], data["failMsg"]) == ("fail", "524", "generate task timeout")
    assert client.credit() == 1000.0
    sandbox.advance(60)
    data = client.record(task)
    assert (data["state"], data["failCode"], data["costTime"], client.credit()) == ("success", None, 1260, 890.0)
    totals = sandbox.summary()
    assert (totals["charged"], totals["refunded"], totals["held"], totals["burnt"]) == (220.0, 110.0, 0.0, 110.0)


def test_time_out_that_stays(client, sandbox):
    """fail_524 stays failed."""
    sandbox.add_fault("fail_524")
    task = client.make()
    sandbox.advance(5000)
    assert (client.ended(task)["failCode"], client.credit()) == ("524", 1000.0)


def test_silent_task(client, sandbox):
    """silent: waiting for ever, and the credits stay held."""
    sandbox.add_fault("silent")
    task = client.make()
    sandbox.advance(30 * 86_400)
    assert (client.record(task)["state"], sandbox.summary()["held"]) == ("waiting", 110.0)


def test_duration_of_one_task(client, sandbox):
    """duration sets the length of the generation of the tasks that match."""
    sandbox.add_fault("duration", seconds=7, match={"prompt": "quick"}, times=None)
    assert client.ended(client.make(prompt="a quick dance"))["costTime"] == 7
    assert client.ended(client.make())["costTime"] == 100


def test_faults_of_results(client, sandbox):
    """Results can be missing, forbidden, half a file, a page, empty, or cut on the way; then whole again."""
    url = client.ended(client.make())["response"]["resultUrls"][0]
    whole = requests.get(url, timeout=5).content
    sandbox.control("POST", "/sandbox/faults", [
        {"call": "result", "fault": name}
        for name in ("result_404", "result_403", "result_cut", "result_html", "result_empty", "cut_json")
    ])  # fmt: skip
    answers = [requests.get(url, timeout=5) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [404, 403, 200, 200, 200]
    assert (answers[2].content, answers[4].content) == (whole[: len(whole) // 2], b"")
    assert answers[3].content.startswith(b"<!DOCTYPE html>")
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        requests.get(url, timeout=5)
    assert requests.get(url, timeout=5).content == whole


def test_drop_after_an_upload(client, sandbox):
    """drop_after: the file is stored, the answer lost."""
    sandbox.add_fault("drop_after", "upload")
    with pytest.raises(requests.ConnectionError):
        client.upload("a.png", b"123")
    assert requests.get(f"{sandbox.files_url}/kieai/100001/motionq/a.png", timeout=5).content == b"123"


def test_times_skip_and_match(client, sandbox):
    """A rule waits for ``skip`` requests that match, strikes ``times`` times, then is gone; others pass."""
    sandbox.add_fault("code_455", "createTask", times=2, skip=1, match={"prompt": "jump", "model": "2.6"})
    prompts = ["walk", "a jump", "a jump", "walk", "a jump", "a jump"]
    assert [client.create(prompt=prompt)["code"] for prompt in prompts] == [200, 200, 455, 200, 455, 200]
    assert sandbox.control("GET", "/sandbox/faults")["rules"] == []


def test_standing_rule_until_cleared(client, sandbox):
    """times null: always, until the rules are cleared."""
    sandbox.add_fault("code_401", "createTask", times=None)
    assert [client.create()["code"] for _ in range(3)] == [401, 401, 401]
    sandbox.clear_faults()
    assert client.create()["code"] == 200


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"fault": "explode"}, "unknown fault 'explode'; known: callback_alternate, "),
        ({"fault": "reset"}, "reset needs a call: createTask, "),
        ({"fault": "lie_500", "call": "upload"}, "lie_500 can't happen to 'upload'; it can to: createTask"),
        ({"fault": "slow", "call": "upload", "second": 3}, "unknown option of slow: second; known: seconds"),
        ({"fault": "silent", "match": {"colour": "red"}}, "unknown match: colour; known: "),
        ({"fault": "silent", "times": 0}, "times is a whole number from 1 or null, not 0"),
        ({"fault": "silent", "match": ["red"]}, 'match is like {"prompt": "part of it"}, not '),
        ({"fault": "slow", "call": "credit", "seconds": "5"}, "seconds of slow is a number of at least zero, not '5'"),
        (["silent"], "a rule is like "),
    ],
)
def test_wrong_rules_are_refused(sandbox, rule, words):
    """A wrong rule is refused with a sentence that says what is right; nothing is added."""
    with pytest.raises(SandboxFailed) as caught:
        sandbox.control("POST", "/sandbox/faults", rule)
    assert str(caught.value).startswith(words)
    assert sandbox.control("GET", "/sandbox/faults")["rules"] == []


def test_every_fault_is_documented():
    """docs/sandbox.md names every fault in its table, and no other."""
    page = (Path(__file__).parents[3] / "docs" / "sandbox.md").read_text(encoding="utf-8")
    table = page.partition("<!-- faults -->")[2].partition("<!-- end -->")[0]
    named = {line.split("`")[1] for line in table.splitlines() if line.startswith("| `")}
    assert named == set(FAULTS)
