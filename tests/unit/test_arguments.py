"""The library with arguments that make no sense: one sentence that names the argument, before anything is connected."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from motionq import InvalidJob, MotionQueue, Request, Settings
from motionq.verbs.submitting import in_words_of_options

NOW = datetime(2031, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def queue(tmp_path: Path) -> MotionQueue:
    """Nobody listens at its address: a call that connects would raise QueueUnavailable."""
    return MotionQueue(settings=Settings(redis_url="redis://127.0.0.1:1/0", data_dir=tmp_path))


@pytest.mark.parametrize(
    ("call", "kind", "sentence"),
    [
        (lambda q: q.get(None), TypeError, "job_id: must be text, not None"),
        (lambda q: q.get(b"j1"), TypeError, "job_id: must be text, not bytes"),
        (lambda q: q.cancel(17), TypeError, "job_id: must be text, not int"),
        (lambda q: q.replay(None), TypeError, "job_id: must be text, not None"),
        (lambda q: q.attach("j1", None), TypeError, "task_id: must be text, not None"),
        (lambda q: q.wait(None), TypeError, "job_id: must be text, not None"),
        (lambda q: q.wait("j1", timeout="5s"), TypeError, "timeout: must be a number of seconds or None, not str"),
        (lambda q: q.wait("j1", timeout=True), TypeError, "timeout: must be a number of seconds or None, not bool"),
        (lambda q: q.wait("j1", timeout=-1), ValueError, "timeout: must not be less than 0, and -1 is"),
        (lambda q: q.wait("j1", timeout=float("nan")), ValueError, "timeout: must not be less than 0, and nan is"),
        (lambda q: q.watch("j1"), TypeError, "job_ids: must be several texts (a list), not str"),
        (lambda q: q.watch(["j1", None]), TypeError, "job_ids: must be text, not None"),
        (lambda q: q.list(limit="5"), TypeError, "limit: must be a whole number or None, not str"),
        (lambda q: q.list(limit=0), ValueError, "limit: must be 1 or more, and 0 is not"),
        (lambda q: q.list(labels=["a=b"]), TypeError, "labels: must map names to values, not be list"),
        (lambda q: q.list(states=7), TypeError, "states: must be several states (a list), not int"),
        (lambda q: q.list(task_id=7), TypeError, "task_id: must be text, not int"),
        (lambda q: q.pause(7), TypeError, "message: must be text, not int"),
        (lambda q: q.submit_many({"image": "a"}), TypeError, "requests: must be several requests (a list), not dict"),
        (lambda q: q.submit_many(None), TypeError, "requests: must be several requests (a list), not NoneType"),
        (lambda _: MotionQueue(redis_url=7), TypeError, "redis_url: must be text, not int"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_argument_is_named(
    queue: MotionQueue, call: Callable[[Any], object], kind: type[Exception], sentence: str
) -> None:
    """The wrong type is a TypeError, a senseless value a ValueError, each in one sentence."""
    with pytest.raises(kind) as caught:
        call(queue)
    assert str(caught.value) == sentence


def closed() -> io.BytesIO:
    file = io.BytesIO(b"x")
    file.close()
    return file


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"image": closed()}, "image: the file object given is closed"),
        ({"image": 7}, "image: must be a path, bytes, a binary file object or a web address"),
        ({"image": io.StringIO("x")}, "image: the file object given gives text, open it in binary mode ('rb')"),
        ({"prompt": b"dance"}, "prompt: must be text"),
        ({"labels": ["a"]}, "labels: must map names to values"),
        ({"deadline": "2h"}, "deadline: must be a datetime or a timedelta"),
        ({"deadline": timedelta.max}, "deadline: is out of range"),
    ],
)
def test_a_wrong_request_is_an_invalid_job(queue: MotionQueue, given: dict[str, Any], sentence: str) -> None:
    """What is wrong with a request is always an InvalidJob, and nothing is staged."""
    with pytest.raises(InvalidJob) as caught:
        queue.submit(**({"image": b"x", "video": b"x"} | given))
    assert str(caught.value) == sentence


@pytest.mark.parametrize("deadline", [NOW, NOW - timedelta(hours=2), timedelta(0), timedelta(hours=-2)])
def test_a_deadline_that_is_over_is_refused(deadline: datetime | timedelta) -> None:
    """A job that could never be bought is no job: the sentence has the deadline and the time by which it is over."""
    request = Request(image=b"x", video=b"x", deadline=deadline)
    moment = deadline if isinstance(deadline, datetime) else NOW + deadline
    with pytest.raises(InvalidJob) as caught:
        request.check_deadline(NOW)
    at = f"{moment:%Y-%m-%dT%H:%M}:00.000Z"
    assert str(caught.value) == f"deadline: {at} is over, it is 2031-05-01T12:00:00.000Z now"
    assert (caught.value.field, caught.value.value, caught.value.limit) == ("deadline", at, "2031-05-01T12:00:00.000Z")
    Request(image=b"x", video=b"x", deadline=NOW + timedelta(seconds=1)).check_deadline(NOW)


@pytest.mark.parametrize("key", [None, "k"])
def test_a_deadline_that_is_over_waits_for_the_key(key: str | None) -> None:
    """Without a key it is refused at once; with one the job may be there since the deadline lay ahead."""
    request = Request(image=b"x", video=b"x", deadline=timedelta(hours=-1), idempotency_key=key)
    if key is None:
        with pytest.raises(InvalidJob, match=r"^deadline: \S+ is over, it is \S+ now$"):
            request.check()
    else:
        assert request.check().name == request.model


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("idempotency_key: 201 characters, allowed are 1 to 200", "key: 201 characters, allowed are 1 to 200"),
        ("labels: name 'idempotency_key:' must be short", "label: name 'idempotency_key:' must be short"),
        ("image: with pass_url it must be a web address", "image: with --pass-url it must be a web address"),
        ("tenant: 'labels:' must be 1 to 100 letters", "tenant: 'labels:' must be 1 to 100 letters"),
    ],
)
def test_the_command_line_says_the_names_of_options(said: str, shown: str) -> None:
    """People read the option they typed; `field`, which programs read, keeps the library's name."""
    error = in_words_of_options(InvalidJob(said, field="idempotency_key", limit=200, value=201))
    assert (str(error), error.field, error.limit, error.value) == (shown, "idempotency_key", 200, 201)
