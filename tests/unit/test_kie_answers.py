"""What each answer of kie.ai means: the tables that decide about money."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from motionq_worker.kie.answers import TaskMade, free_answer, purchase_answer, record_answer
from motionq_worker.kie.errors import (
    CallRefused,
    KeyRefused,
    KieFault,
    Meaning,
    RateLimited,
    Refusal,
    Refused,
    Unavailable,
    Unknown,
    UploadRefused,
)
from motionq_worker.kie.messages import Phase, Reading

TASK = "0123456789abcdef0123456789abcdef"


def envelope(code: object, msg: object = "words", **more: object) -> bytes:
    return json.dumps({"code": code, "msg": msg, **more}).encode()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, envelope(200, "success", data={"taskId": TASK, "recordId": TASK})),
        (200, envelope(200, "success", data={"task_id": TASK})),
        (200, envelope(200, "success", data={"recordId": TASK})),
        (200, envelope(200, "success", taskId=TASK)),
        (200, envelope("200", "success", data={"taskId": TASK})),
        (200, envelope(500, "Server exception, please try again later", data={"taskId": TASK})),
        (502, envelope(502, "bad gateway", data={"taskId": TASK})),
        (307, envelope(200, "success", data={"taskId": TASK})),
        (200, json.dumps({"data": {"taskId": TASK}}).encode()),
        (None, envelope(200, "success", data={"taskId": TASK})),
    ],
)
def test_a_task_id_in_hand_is_never_dropped(status: int | None, body: bytes) -> None:
    """Whatever code or status stands beside it, a task ID means that a task was made."""
    assert purchase_answer(status, body) == TaskMade(TASK)


def test_a_task_id_counts_even_when_reading_broke_off_after_it() -> None:
    """The whole object arrived, then the connection broke: the task is known."""
    body = envelope(200, "success", data={"taskId": TASK})
    assert purchase_answer(200, body, problem="timed out") == TaskMade(TASK)


@pytest.mark.parametrize(
    ("status", "code", "msg", "refusal"),
    [
        (200, 401, "Unauthorized – Authentication failed. Please check …", Refusal.KEY_REFUSED),
        (401, 401, "You do not have access permissions", Refusal.KEY_REFUSED),
        (200, 401, "The API key is not authorized to use this model", Refusal.KEY_REFUSED),
        (200, 403, "forbidden", Refusal.KEY_REFUSED),
        (200, 402, "Credits insufficient : Your current balance isn’t enough to run", Refusal.NO_CREDITS),
        (200, 500, "Credits insufficient : Your current balance isn’t enough to run", Refusal.NO_CREDITS),
        (200, 422, "Insufficient credits", Refusal.NO_CREDITS),
        (200, 404, "not found", Refusal.NOT_FOUND),
        (200, 422, "The model name you specified is not supported. Please verify", Refusal.INVALID),
        (422, 422, "mode is not within the range of allowed options", Refusal.INVALID),
        (200, 422, "This field is required", Refusal.INVALID),
        (200, 400, "bad", Refusal.INVALID),
        (413, 413, "too large", Refusal.INVALID),
        (200, 429, "Your call frequency is too high. Please try again later.", Refusal.RATE),
        (429, 429, "slow down", Refusal.RATE),
        (200, 500, "Your call frequency is too high. Please try again later.", Refusal.RATE),
        (200, 433, "limit", Refusal.KEY_CAP),
        (200, 455, "maintenance", Refusal.MAINTENANCE),
        (200, 500, "Server exception, please try again later", Refusal.SERVER_ERROR),
        (200, 500, "", Refusal.SERVER_ERROR),
        (500, 500, "Internal Server Error", Refusal.SERVER_ERROR),
        (502, 500, "Internal Server Error", Refusal.SERVER_ERROR),
        (200, 500, "This field is required", Refusal.SERVER_ERROR),
        (200, 500, "input_urls is required", Refusal.INVALID),
        (200, 500, "mode is not within the range of allowed options", Refusal.INVALID),
        (200, 500, "Value must be within the specified range", Refusal.INVALID),
        (200, 500, "The text length cannot exceed the maximum limit", Refusal.INVALID),
        (200, 501, "generation failed", Refusal.GENERATION_FAILED),
        (200, 505, "feature disabled", Refusal.FEATURE_DISABLED),
        (200, "402", "Credits insufficient", Refusal.NO_CREDITS),
    ],
)
def test_an_envelope_without_a_task_is_a_refusal(status: int, code: object, msg: str, refusal: Refusal) -> None:
    """The vendor's own words that no task was made, sorted by what they mean."""
    fault = purchase_answer(status, envelope(code, msg, data=None))
    assert isinstance(fault, Refused)
    assert (fault.code, fault.refusal, fault.message) == (int(str(code)), refusal, msg)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (None, b""),
        (200, b""),
        (200, b"<html>welcome</html>"),
        (200, b'{"code":200,"msg":"success","data":{"ta'),
        (200, envelope(200, "success")),
        (200, envelope(200, "success", data=None)),
        (200, envelope(200, "success", data={"taskId": ""})),
        (200, envelope(200, "success", data={"taskId": None})),
        (200, envelope(200, "success", data={"taskId": 17})),
        (200, envelope(200, "success", data={"taskId": "two words"})),
        (200, envelope(200, "success", data={"taskId": "x" * 201})),
        (200, b'[{"code":401,"msg":"no"}]'),
        (200, b'{"code":401}'),
        (200, b'{"code":401,"msg":null}'),
        (200, b'{"code":true,"msg":"no"}'),
        (200, b'{"code":null,"msg":"no"}'),
        (200, b'{"code":401.5,"msg":"no"}'),
        (200, b'{"msg":"no"}'),
        (200, b"[" * 100_000),
        (200, b'{"code":' + b"9" * 5000 + b',"msg":"no"}'),
        (500, b'{"timestamp":1,"status":500,"error":"Internal Server Error","path":"/api"}'),
        (502, b"<html>502 Bad Gateway</html>"),
        (503, b"service unavailable"),
        (524, b"<html>a timeout occurred</html>"),
        (408, b""),
        (401, b"<html>log in</html>"),
        (301, b""),
        (307, envelope(401, "no")),
        (200, envelope(408, "upstream gave nothing in 10 minutes")),
        (408, envelope(500, "Request Timeout")),
        (504, envelope(500, "gateway time-out")),
        (524, envelope(500, "time-out")),
        (200, envelope(502, "bad gateway")),
        (200, envelope(503, "service unavailable")),
        (200, envelope(504, "gateway time-out")),
        (200, envelope(524, "time-out")),
        (200, envelope(0, "what")),
        (200, envelope(999, "what")),
        (None, envelope(401, "no status line came")),
    ],
)
def test_everything_else_after_sending_is_unknown(status: int | None, body: bytes) -> None:
    """An answer that does not clearly say "no task" leaves open whether one exists."""
    assert isinstance(purchase_answer(status, body), Unknown)


def test_a_refusal_that_was_cut_is_not_believed() -> None:
    """Of an answer that broke off only a task ID counts, whatever else it seems to say."""
    fault = purchase_answer(200, envelope(402, "Credits insufficient"), problem="connection reset")
    assert isinstance(fault, Unknown)
    assert (fault.message, fault.candidate) == ("connection reset", None)


def test_a_cut_answer_offers_its_task_id_as_a_candidate() -> None:
    """A complete ID in a cut answer is kept, to be verified by a reading."""
    body = b'{"code":200,"msg":"success","data":{"taskId":"' + TASK.encode() + b'","recor'
    fault = purchase_answer(200, body, problem="the answer was cut")
    assert isinstance(fault, Unknown)
    assert fault.candidate == TASK
    cut = purchase_answer(200, body[:60], problem="the answer was cut")
    assert isinstance(cut, Unknown)
    assert cut.candidate is None


def test_what_each_refusal_asks_for() -> None:
    """Pauses concern the account, a server error may be bought again, the rest is final."""
    pauses = {"key_refused", "no_credits", "rate", "key_cap", "maintenance", "feature_disabled"}
    assert {refusal.value for refusal in Refusal if refusal.meaning is Meaning.PAUSE} == pauses
    assert [refusal for refusal in Refusal if refusal.meaning is Meaning.REPEATABLE] == [Refusal.SERVER_ERROR]
    assert Refused("x", refusal=Refusal.NO_CREDITS).meaning is Meaning.PAUSE
    assert Refused("x").meaning is Meaning.FINAL


def test_an_echoed_key_is_not_in_the_fault() -> None:
    """The account's key never leaves through an error text."""
    fault = purchase_answer(200, envelope(401, "key sk-secret-17 is unknown"), secrets=("sk-secret-17",))
    assert isinstance(fault, Refused)
    assert str(fault) == "kie.ai refused: 401 key … is unknown"


statuses = st.none() | st.integers(min_value=100, max_value=999)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
json_values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
names = st.sampled_from(["code", "msg", "data", "taskId", "state", "param", "resultJson", "input", "createTime"])
vendor_like = st.recursive(scalars, lambda inner: st.dictionaries(names, inner), max_leaves=12)
bodies = st.binary(max_size=300) | (json_values | vendor_like).map(lambda value: json.dumps(value).encode())


@given(statuses, bodies)
@example(200, b"\xff\xfe\x00")
@example(200, b'{"code":500,"msg":"\\ud800"}')
def test_any_bytes_are_an_outcome_of_a_purchase(status: int | None, body: bytes) -> None:
    """No answer makes the reading of it fail, and no words of it break the UTF-8 of a record."""
    outcome = purchase_answer(status, body)
    assert isinstance(outcome, TaskMade | Refused | Unknown)
    str(outcome).encode("utf-8")


@given(statuses, bodies)
@example(200, b'{"code":200,"msg":"","data":{"taskId":"T","state":"fail","failMsg":"\\udfff"}}')
def test_any_bytes_are_a_reading_or_a_fault(status: int | None, body: bytes) -> None:
    """recordInfo's answers raise nothing but KieFault, and readings can be stored."""
    try:
        reading = record_answer(status, body, "T")
    except KieFault as fault:
        str(fault).encode("utf-8")
    else:
        repr(reading).encode("utf-8")


@given(statuses, bodies)
def test_any_bytes_are_data_or_a_fault_of_a_free_call(status: int | None, body: bytes) -> None:
    """Free calls raise nothing but the faults of free calls, and give data only for code 200."""
    try:
        free_answer(status, body)
    except (Unavailable, RateLimited, KeyRefused, CallRefused):
        return
    assert int(json.loads(body)["code"]) == 200


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, envelope(401, "no"), KeyRefused),
        (401, b"no", KeyRefused),
        (200, envelope(403, "no"), KeyRefused),
        (403, b"<html>blocked</html>", Unavailable),
        (200, envelope(429, "slow"), RateLimited),
        (429, b"", RateLimited),
        (200, envelope(422, "url is wrong"), UploadRefused),
        (400, envelope(400, "Missing required parameter: uploadPath"), UploadRefused),
        (200, envelope(500, "fileName is required"), UploadRefused),
        (413, b"<html>too large</html>", UploadRefused),
        (200, envelope(455, "maintenance"), Unavailable),
        (200, envelope(433, "cap"), Unavailable),
        (200, envelope(500, "Server exception"), Unavailable),
        (200, envelope(408, "nothing"), Unavailable),
        (500, b"", Unavailable),
        (502, b"<html>", Unavailable),
        (404, b"<html>", Unavailable),
        (302, envelope(200, "success", data=1), Unavailable),
        (None, b"", Unavailable),
    ],
)
def test_faults_of_free_calls(status: int | None, body: bytes, kind: type[KieFault]) -> None:
    """Free calls tell "later" from "slower", "the key" and "never"."""
    with pytest.raises(KieFault) as caught:
        free_answer(status, body, refused=UploadRefused)
    assert type(caught.value) is kind


def test_a_free_call_that_broke_off_is_repeated() -> None:
    """A cut answer is no answer, also when it looks whole."""
    with pytest.raises(Unavailable, match="timed out"):
        free_answer(200, envelope(200, "success", data=5), problem="timed out")


@pytest.mark.parametrize(
    "body",
    [envelope(422, "recordInfo is null", data=None), envelope(404, "not found"), envelope(500, "recordInfo is null")],
)
def test_an_unknown_task_is_a_reading(body: bytes) -> None:
    """Right after its creation a task may not be visible: no fault."""
    assert record_answer(200, body, TASK) == Reading(task_id=TASK, state="", phase=Phase.NOT_VISIBLE)


def test_a_page_with_404_says_nothing_about_the_task() -> None:
    """A wrong address or a firewall must not look like "the vendor does not know this task"."""
    with pytest.raises(Unavailable):
        record_answer(404, b"<html>no such page</html>", TASK)


def test_a_record_of_another_task_is_refused() -> None:
    """A reading must name the task that was asked for."""
    body = envelope(200, "success", data={"taskId": "other", "state": "success"})
    with pytest.raises(Unavailable, match="another task"):
        record_answer(200, body, TASK)


def test_a_failed_task_under_code_501_is_read() -> None:
    """The vendor's callbacks put 501 beside a failed task; the record decides."""
    body = envelope(501, "Playground task failed.", data={"taskId": TASK, "state": "fail", "failCode": "500"})
    assert record_answer(200, body, TASK).phase is Phase.FAIL


def test_other_refusals_of_a_reading_are_call_faults() -> None:
    """A 422 that is not "recordInfo is null" is about the call, not about the task."""
    with pytest.raises(CallRefused):
        record_answer(200, envelope(422, "taskId is required"), TASK)
