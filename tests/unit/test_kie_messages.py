"""Reading and writing kie.ai's messages: recorded shapes, documented shapes, and what lies between."""

from __future__ import annotations

import json

import pytest

from motionq_worker.kie.messages import (
    Phase,
    Reading,
    create_task_body,
    parse_reading,
)

TASK = "0123456789abcdef0123456789abcdef"
ASKED = {
    "prompt": "Tanz, 踊れ",
    "input_urls": ["https://files.example/a.png"],
    "video_urls": ["https://files.example/b.mp4"],
    "mode": "720p",
    "character_orientation": "video",
}
CALLBACK = "https://me.example/callbacks/kie/job/nonce"


def param(*, twice: bool) -> str:
    return json.dumps(
        {"input": json.dumps(ASKED) if twice else ASKED, "model": "kling-2.6/motion-control", "callBackUrl": CALLBACK}
    )


def record(**changes: object) -> dict[str, object]:
    """A finished record in the recorded shape."""
    return {
        "taskId": TASK,
        "model": "kling-2.6/motion-control",
        "state": "success",
        "param": param(twice=True),
        "resultJson": json.dumps({"resultUrls": ["https://cdn.example/k/1.mp4"]}),
        "failCode": None,
        "failMsg": None,
        "costTime": 125,
        "createTime": 1_760_000_000_000,
        "completeTime": 1_760_000_125_000,
        "creditsConsumed": 110.0,
        **changes,
    }


def reading(**changes: object) -> Reading:
    found = parse_reading(record(**changes), TASK)
    assert found is not None
    return found


def test_the_recorded_shape_is_read_whole() -> None:
    """Every field of a success, with param encoded twice."""
    assert reading() == Reading(
        task_id=TASK,
        state="success",
        phase=Phase.SUCCESS,
        model="kling-2.6/motion-control",
        prompt="Tanz, 踊れ",
        mode="720p",
        orientation="video",
        image_urls=("https://files.example/a.png",),
        video_urls=("https://files.example/b.mp4",),
        callback_url=CALLBACK,
        result_urls=("https://cdn.example/k/1.mp4",),
        fail_code=None,
        fail_message=None,
        cost_seconds=125.0,
        created_ms=1_760_000_000_000,
        completed_ms=1_760_000_125_000,
        credits=110.0,
    )


@pytest.mark.parametrize("given", [param(twice=True), param(twice=False), json.loads(param(twice=False))])
def test_param_may_be_encoded_twice_once_or_not_at_all(given: object) -> None:
    """Recordings and older documents differ; the purchase is recognised in all of them."""
    assert reading(param=given) == reading()


@pytest.mark.parametrize("given", [None, "", "{", "[]", 7, "null", '{"input":"{"}', '{"input":[]}'])
def test_an_unreadable_param_leaves_the_echo_empty(given: object) -> None:
    """Nothing is invented about what was asked, and the state still counts."""
    found = reading(param=given)
    assert (found.prompt, found.image_urls, found.video_urls, found.callback_url) == (None, (), (), None)
    assert found.phase is Phase.SUCCESS


@pytest.mark.parametrize(
    ("state", "phase"),
    [
        ("waiting", Phase.RUNNING),
        ("queuing", Phase.RUNNING),
        ("generating", Phase.RUNNING),
        ("success", Phase.SUCCESS),
        ("SUCCESS ", Phase.SUCCESS),
        ("fail", Phase.FAIL),
        ("moderating", Phase.RUNNING),
        ("", Phase.RUNNING),
        (None, Phase.RUNNING),
        (1, Phase.RUNNING),
    ],
)
def test_only_the_state_decides(state: object, phase: Phase) -> None:
    """A filled resultJson, fail code or successFlag beside another state means nothing; unknown states run."""
    assert reading(state=state, failCode="500", successFlag=1).phase is phase


@pytest.mark.parametrize("given", ["", None, "null", "{", "[]", {}, '{"resultUrls":null}', '{"resultUrls":[7,""]}'])
def test_a_success_without_addresses_is_still_a_success(given: object) -> None:
    """The caller decides what a success without a video is."""
    found = reading(resultJson=given)
    assert (found.phase, found.result_urls) == (Phase.SUCCESS, ())


@pytest.mark.parametrize(
    "more",
    [
        {"resultJson": {"resultUrls": ["https://cdn.example/k/1.mp4"]}},
        {"resultJson": "", "response": {"resultUrls": ["https://cdn.example/k/1.mp4"]}},
        {"resultJson": None, "response": '{"resultUrls":["https://cdn.example/k/1.mp4"]}'},
        {"resultJson": '{"resultUrls":"https://cdn.example/k/1.mp4"}'},
        {"resultJson": '{"resultUrls":["javascript:x","https://cdn.example/k/1.mp4"]}'},
    ],
)
def test_addresses_are_found_in_old_and_new_fields(more: dict[str, object]) -> None:
    """resultJson as string or object, or the newer `response`; only http(s) addresses count."""
    assert reading(**more).result_urls == ("https://cdn.example/k/1.mp4",)


@pytest.mark.parametrize(("given", "code"), [(None, None), ("", None), ("524", "524"), (400, "400"), (True, None)])
def test_the_fail_code_varies(given: object, code: str | None) -> None:
    """null, "", a string and a number were all seen."""
    assert reading(failCode=given).fail_code == code


def test_the_fail_message_is_safe_to_show() -> None:
    """Addresses in the vendor's words lose their query strings."""
    found = reading(failMsg="can't fetch https://b.example/v.mp4?X-Amz-Signature=abc now")
    assert found.fail_message == "can't fetch https://b.example/v.mp4?… now"
    assert reading(failMsg="").fail_message is None


@pytest.mark.parametrize(
    ("given", "number"), [(0.0, 0.0), (5, 5.0), ("7.5", 7.5), (None, None), ("", None), (True, None), (-1, None)]
)
def test_numbers_are_lenient(given: object, number: float | None) -> None:
    """Optional numbers may be missing, null or text; nonsense is None."""
    found = reading(costTime=given, creditsConsumed=given)
    assert (found.cost_seconds, found.credits) == (number, number)


def test_missing_optional_fields_are_none() -> None:
    """Recordings before mid-2026 have no creditsConsumed; a bare record is enough."""
    assert parse_reading({"taskId": TASK, "state": "waiting"}, TASK) == Reading(TASK, "waiting", Phase.RUNNING)


def test_the_callback_spelling_of_credits_is_read() -> None:
    """Callback pages say consumeCredits."""
    bare = {"taskId": TASK, "state": "success", "consumeCredits": 12}
    found = parse_reading(bare, TASK)
    assert found is not None
    assert found.credits == 12.0


@pytest.mark.parametrize("named", [{"taskId": "other"}, {}, {"taskId": None}, {"taskId": 5}])
def test_a_record_that_names_another_task_is_no_reading(named: dict[str, object]) -> None:
    """A result is only taken from a record of the very task."""
    assert parse_reading({**named, "state": "success"}, TASK) is None


def test_the_request_has_exactly_the_vendors_fields() -> None:
    """Unknown fields are ignored silently and charged all the same: there are none."""
    body = create_task_body(
        model="kling-2.6/motion-control",
        image_url="https://files.example/a.png",
        video_url="https://files.example/b.mp4",
        prompt="Tanz",
        mode="1080p",
        orientation="image",
        callback_url=CALLBACK,
    )
    assert body == {
        "model": "kling-2.6/motion-control",
        "callBackUrl": CALLBACK,
        "input": {
            "prompt": "Tanz",
            "input_urls": ["https://files.example/a.png"],
            "video_urls": ["https://files.example/b.mp4"],
            "character_orientation": "image",
            "mode": "1080p",
        },
    }


def test_absent_prompt_and_callback_are_left_out() -> None:
    """None is not sent as null."""
    body = create_task_body(
        model="m", image_url="i", video_url="v", prompt=None, mode="720p", orientation="video", callback_url=None
    )
    assert body == {
        "model": "m",
        "input": {"input_urls": ["i"], "video_urls": ["v"], "character_orientation": "video", "mode": "720p"},
    }
