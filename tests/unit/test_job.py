"""What a job is to its callers: a frozen request with a digest, and one JSON object."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import ValidationError

from motionq.contract.errors import ActionRefused, InvalidJob, JobFailed
from motionq.contract.job import (
    SCHEMA_VERSION,
    Event,
    Failure,
    Job,
    JobSpec,
    Result,
    StagedSource,
    UrlSource,
    iso,
    spec_from,
)
from motionq.contract.record import event_from, from_hash, to_job
from motionq.contract.states import Purchase, State

IMAGE = StagedSource(sha256="a" * 64, size=10, media_type="image/png", name="hero.png")
VIDEO = UrlSource(url="https://host/dance.mp4?X-Amz-Signature=abc&versionId=7")
SPEC = JobSpec(image=IMAGE, video=VIDEO, prompt="dances")
# INTERFACE: a job object always has every key.
KEYS = [
    "id",
    "state",
    "tenant",
    "labels",
    "priority",
    "spec",
    "task_id",
    "created_at",
    "updated_at",
    "attempts",
    "result",
    "failure",
    "eta_seconds",
    "events",
]


def _job(**given: Any) -> Job:
    fields: dict[str, Any] = {
        "id": "j1",
        "state": State.QUEUED,
        "tenant": "default",
        "labels": {},
        "priority": "normal",
        "spec": SPEC,
        "created_at": 1_700_000_000_123,
        "updated_at": 1_700_000_001_000,
    }
    return Job.model_validate(fields | given)


# -- the request ----------------------------------------------------------------------------------------------------


def test_a_spec_can_not_be_changed() -> None:
    """A request is what it was when it was made."""
    with pytest.raises(ValidationError, match="frozen"):
        SPEC.prompt = "sings"  # type: ignore[misc]


def test_an_unknown_field_is_refused() -> None:
    """A misspelt option would be ignored by the vendor and charged: it is refused by name."""
    with pytest.raises(InvalidJob, match=r"^promt: unknown field$") as caught:
        spec_from({"image": IMAGE, "video": VIDEO, "promt": "dances"})
    assert caught.value.field == "promt"


def test_a_field_of_the_wrong_type_is_named() -> None:
    """The error names the field and says what it should be."""
    with pytest.raises(InvalidJob, match=r"^prompt: input should be a valid string$") as caught:
        spec_from({"image": IMAGE, "video": VIDEO, "prompt": 7})
    assert (caught.value.field, caught.value.value) == ("prompt", "7")


def test_an_error_never_shows_what_signs_an_address() -> None:
    """A refused source may be a presigned address: neither the sentence nor the value carries its query."""
    with pytest.raises(InvalidJob) as caught:
        spec_from({"image": "https://host/a.png?X-Amz-Signature=abc", "video": VIDEO})
    assert "abc" not in f"{caught.value} {caught.value.value}"


def test_the_same_content_is_the_same_request() -> None:
    """What a file is called, and where it lay, does not count; its content does."""
    renamed = SPEC.model_copy(update={"image": IMAGE.model_copy(update={"name": "copy of hero.png"})})
    edited = SPEC.model_copy(update={"image": IMAGE.model_copy(update={"sha256": "b" * 64})})

    assert renamed.digest() == SPEC.digest()
    assert edited.digest() != SPEC.digest()
    assert len(SPEC.digest()) == 64


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("https://host/dance.mp4?X-Amz-Signature=other&versionId=7", True),
        ("https://HOST/dance.mp4?versionId=7&X-Amz-Date=2031&X-Amz-Expires=60", True),
        ("https://host/dance.mp4?versionId=7&Signature=x&Expires=1&Key-Pair-Id=k", True),
        ("https://host/dance.mp4?versionId=7&sig=x&se=1&sv=2&st=3", True),
        ("https://host/dance.mp4?versionId=7#part", True),
        ("https://host/dance.mp4?versionId=8&X-Amz-Signature=abc", False),
        ("https://host/Dance.mp4?versionId=7&X-Amz-Signature=abc", False),
        ("https://host2/dance.mp4?versionId=7&X-Amz-Signature=abc", False),
    ],
)
def test_a_new_signature_makes_no_new_request(url: str, same: bool) -> None:
    """The same object signed again is the same request; another object, version or host is another."""
    assert (SPEC.model_copy(update={"video": UrlSource(url=url)}).digest() == SPEC.digest()) is same


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "sings"},
        {"prompt": None},
        {"mode": "1080p"},
        {"orientation": "image"},
        {"model": "x"},
        {"pass_url": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_option_counts(change: dict[str, object]) -> None:
    """Each option is part of the request."""
    assert SPEC.model_copy(update=change).digest() != SPEC.digest()


def test_callers_see_no_query() -> None:
    """What is shown of a presigned address ends at its path, in `public`, in JSON, in repr and in str."""
    shown = [str(SPEC.public()), str(_job().to_json()), repr(SPEC), str(SPEC), repr(_job()), repr(VIDEO)]

    assert SPEC.public()["video"] == {"url": "https://host/dance.mp4?…"}
    assert SPEC.public()["image"] == IMAGE.model_dump()
    assert [text for text in shown if "X-Amz" in text or "abc" in text] == []


# -- the job object -------------------------------------------------------------------------------------------------


def test_a_job_object_has_every_key() -> None:
    """Absent values are null, never missing."""
    data = _job().to_json()

    assert list(data) == KEYS
    assert {k: data[k] for k in ("task_id", "result", "failure", "eta_seconds")} == dict.fromkeys(
        ("task_id", "result", "failure", "eta_seconds")
    )
    assert (data["state"], data["attempts"], data["events"]) == ("queued", 0, [])


def test_what_is_inside_has_every_key_too() -> None:
    """Result, failure and events are whole objects."""
    data = _job(
        result=Result(file="f", vendor_urls_expire_at=datetime(2031, 5, 1, tzinfo=UTC)),
        failure=Failure(reason="refused"),
        events=(Event(at=1_700_000_000_123, state="queued"),),
    ).to_json()

    assert data["result"] == {
        "file": "f",
        "files": [],
        "vendor_urls": [],
        "vendor_urls_expire_at": "2031-05-01T00:00:00.000Z",
        "credits": None,
        "generation_seconds": None,
    }
    assert data["failure"] == {"reason": "refused", "code": None, "message": "", "charged": "no"}
    assert data["events"] == [
        {"at": "2023-11-14T22:13:20.123Z", "state": "queued", "step": None, "worker": None, "note": None}
    ]


def test_times_are_utc_with_milliseconds() -> None:
    """A time of any zone is shown in UTC, with three digits of a second, also when they are zero."""
    assert _job().to_json()["created_at"] == "2023-11-14T22:13:20.123Z"
    assert _job().to_json()["updated_at"] == "2023-11-14T22:13:21.000Z"
    assert (
        iso(datetime(2031, 5, 1, 2, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=2)))) == "2031-05-01T00:00:00.999Z"
    )


@pytest.mark.parametrize("state", State)
def test_done_and_raise_for_failure(state: State) -> None:
    """Failed and cancelled jobs raise, with the failure in one line; so do those of which nobody knows yet."""
    job = _job(state=state, failure=Failure(reason="refused", message="no such model"))

    assert job.done is (state in ("succeeded", "failed", "cancelled"))
    sentence = {State.FAILED: "j1: refused: no such model", State.CANCELLED: "j1: cancelled"}.get(state)
    if state is State.SUCCEEDED:
        assert job.raise_for_failure() is job
    elif sentence is None:
        with pytest.raises(ActionRefused) as refused:
            job.raise_for_failure()
        assert str(refused.value) == f"job j1 is {state}: whether it fails is known when it has ended"
    else:
        with pytest.raises(JobFailed) as caught:
            job.raise_for_failure()
        assert str(caught.value) == sentence


# -- from the hash ----------------------------------------------------------------------------------------------------


def test_a_record_is_read_from_its_hash() -> None:
    """What Redis holds as text becomes numbers, a spec, a book of purchases; fields of a newer version are ignored."""
    purchase = '{"nonce":"n1","status":"open","armed_at":5,"sent_at":6,"new_field":1}'
    raw = {
        "state": "submitting",
        "tenant": "t",
        "priority": "high",
        "labels": '{"a": "b"}',
        "spec": SPEC.model_dump_json(exclude_none=True),
        "created_at": "1700000000123",
        "updated_at": "1700000000124",
        "since": "1700000000124",
        "nonce": "n1",
        "purchases": f"[{purchase}]",
        "failure": '{"reason":"some","charged":"unknown"}',
        "field_of_a_newer_version": "x",
    }
    record = from_hash("j1", raw)

    assert (record.state, record.labels, record.spec) == (State.SUBMITTING, {"a": "b"}, SPEC)
    assert record.purchase is not None
    assert (record.purchase.status, record.purchase.sent_at, record.purchase.task_id) == (Purchase.OPEN, 6, None)
    assert record.failure == Failure(reason="some", charged="unknown")
    assert (record.deadline, record.turns, record.task_id, record.result) == (0, 0, "", None)
    assert to_job(record).created_at == datetime(2023, 11, 14, 22, 13, 20, 123_000, tzinfo=UTC)


def test_what_a_record_leaves_out_keeps_its_meaning() -> None:
    """Records leave defaults out: under schema 1 these stay as they are, whatever `submit` takes by default."""
    assert SCHEMA_VERSION == 1
    assert {name: field.default for name, field in JobSpec.model_fields.items() if not field.is_required()} == {
        "prompt": None,
        "model": "kling-2.6/motion-control",
        "mode": "720p",
        "orientation": "video",
        "pass_url": False,
    }
    raw = {"state": "queued", "tenant": "t", "spec": JobSpec(image=IMAGE, video=VIDEO).model_dump_json()}
    assert from_hash("j1", raw).priority == "normal"


def test_the_capability_of_the_callback_is_not_in_a_repr() -> None:
    """Whoever knows a nonce can name a task for its purchase: a record in a log must not tell it."""
    raw = {"state": "armed", "tenant": "t", "priority": "low", "spec": SPEC.model_dump_json(), "nonce": "s3cret"}
    record = from_hash("j1", raw | {"purchases": '[{"nonce":"s3cret","status":"open","armed_at":5}]'})

    assert record.purchase is not None
    assert "s3cret" not in repr(record)


def test_an_event_is_read_from_its_line() -> None:
    """Empty parts of a line are absent."""
    event = event_from('[1700000000123,"running","submit","","task T1"]')

    assert event.model_dump(mode="json") == {
        "at": "2023-11-14T22:13:20.123Z",
        "state": "running",
        "step": "submit",
        "worker": None,
        "note": "task T1",
    }
