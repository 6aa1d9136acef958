"""Batches against jobs that are there already, and a storage that takes nothing: in this process, on a real server."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from motionq import IdempotencyConflict, InvalidJob, InvalidSettings, MotionQueue, Settings
from motionq.cli import app
from motionq.contract.states import State
from motionq.output import run

MEDIA = Path(__file__).parents[1] / "media"
FILES = {"image": str(MEDIA / "astronaut.png"), "video": str(MEDIA / "bigbuckbunny.mp4")}

Run = Callable[..., tuple[int, list[str], list[str]]]


@pytest.fixture
def motionq(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    redis_url: str,
    namespace: str,
) -> Run:
    """The command line in this process: exit code, lines of stdout, lines of stderr."""
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "MOTIONQ_REDIS_URL": redis_url,
        "MOTIONQ_NAMESPACE": namespace,
        "MOTIONQ_DATA_DIR": str(tmp_path / "data"),
    }.items():
        monkeypatch.setenv(name, value)

    def call(*words: str) -> tuple[int, list[str], list[str]]:
        code = run(app, words)
        printed = capsys.readouterr()
        return code, printed.out.splitlines(), printed.err.splitlines()

    return call


def batch(folder: Path, *lines: dict[str, str]) -> str:
    path = folder / "jobs.jsonl"
    path.write_text("".join(f"{json.dumps(FILES | line)}\n" for line in lines), encoding="utf-8")
    return str(path)


def test_every_taken_key_is_told_with_its_line(motionq: Run, queue: MotionQueue, tmp_path: Path) -> None:
    """All lines are held against the jobs on record before one is enqueued; of many conflicts twenty are told."""
    jobs = queue.submit_many([FILES | {"idempotency_key": f"k{n}"} for n in range(22)])
    taken = [{"key": f"k{n}", "mode": "1080p"} for n in range(22)]
    good = ({"key": "new"}, {"key": "k0", "tenant": "other"})
    code, out, err = motionq("submit", "--batch", batch(tmp_path, *good, *taken))
    assert (code, out) == (1, [])
    assert err[0] == (
        f"motionq: line 3: idempotency key 'k0' already belongs to job {jobs[0].id}, which asks for something else"
    )
    assert [line.split()[2] for line in err[:20]] == [f"{n}:" for n in range(3, 23)]
    assert err[20:] == [
        "motionq: and 2 more (--json tells all)",
        "motionq: nothing was enqueued: 22 of 24 lines are bad",
    ]
    code, out, err = motionq("submit", "--batch", str(tmp_path / "jobs.jsonl"), "--json")
    errors = [json.loads(line)["error"] for line in out]
    assert {(e["kind"], e["field"], e["limit"]) for e in errors} == {("idempotency_conflict", "idempotency_key", None)}
    assert [e["value"] for e in errors] == [job.id for job in jobs]
    assert len(queue.list(limit=None)) == 22


def test_the_library_names_all_requests(queue: MotionQueue) -> None:
    """A conflict has the place, the key and the job of each request; two requests of one call are no jobs yet."""
    first = queue.submit(**FILES, idempotency_key="k")
    asked = [FILES, FILES | {"idempotency_key": "k", "mode": "1080p"}]
    with pytest.raises(IdempotencyConflict) as caught:
        queue.submit_many(asked)
    (conflict,) = caught.value.conflicts
    assert (conflict.request, conflict.key, conflict.job_id, caught.value.job_id) == (2, "k", first.id, first.id)
    assert str(caught.value).startswith(f"request 2: idempotency key 'k' already belongs to job {first.id}, ")
    with pytest.raises(IdempotencyConflict) as caught:
        queue.submit_many([FILES | {"idempotency_key": "n", "mode": mode} for mode in ("720p", "1080p")])
    assert str(caught.value) == (
        "request 2: idempotency key 'n' already belongs to request 1, which asks for something else"
    )
    assert len(queue.list()) == 1


def test_a_line_whose_deadline_is_over(motionq: Run, queue: MotionQueue, tmp_path: Path) -> None:
    """It is refused with its line, with a key too, unless the key is that of a job: that one is given."""
    over = {"deadline": "2020-01-01T00:00:00Z"}
    code, out, err = motionq("submit", "--batch", batch(tmp_path, over, {"key": "new"}, over | {"key": "k"}))
    assert (code, out) == (2, [])
    assert err[0].startswith("motionq: line 1: deadline: 2020-01-01T00:00:00.000Z is over, it is 20")
    assert err[1:] == ["motionq: nothing was enqueued: 1 of 3 lines is bad"]
    code, out, err = motionq("submit", "--batch", batch(tmp_path, {"key": "new"}, over | {"key": "k"}))
    assert (code, out) == (2, [])
    assert err[0].startswith("motionq: line 2: deadline: 2020-01-01T00:00:00.000Z is over, it is 20")
    assert queue.list() == []
    job = queue.submit(**FILES, idempotency_key="k", deadline=datetime.now(UTC) + timedelta(hours=1))
    again = queue.submit(**FILES, idempotency_key="k", deadline=datetime(2020, 1, 1, tzinfo=UTC))
    assert again.id == job.id


def test_a_deadline_that_is_over_is_one_line(motionq: Run, queue: MotionQueue) -> None:
    """On the command line as in the library: refused with 2, nothing enqueued."""
    words = ("submit", "--image", FILES["image"], "--video", FILES["video"])
    code, out, err = motionq(*words, "--deadline", "2020-01-01T00:00:00Z")
    assert (code, out, len(err)) == (2, [], 1)
    assert err[0].startswith("motionq: deadline: 2020-01-01T00:00:00.000Z is over, it is 20")
    assert queue.list() == []


def test_the_option_is_named_as_it_was_typed(motionq: Run) -> None:
    """People read `key`, programs `idempotency_key`."""
    words = ("submit", "--image", FILES["image"], "--video", FILES["video"], "--key", "k" * 201)
    assert motionq(*words) == (2, [], ["motionq: key: 201 characters, allowed are 1 to 200"])
    _, (out,), _ = motionq(*words, "--json")
    assert json.loads(out)["error"]["field"] == "idempotency_key"


@pytest.mark.parametrize(
    ("words", "limit", "value"),
    [
        (("submit", "--image", "a.png", "--video", "b.mp4", "--deadline", "tomorrow"), None, "tomorrow"),
        (("submit", "--image", "a.png", "--video", "b.mp4", "--label", "red"), None, ["red"]),
        (("list", "--state", "bogus"), list(State), "bogus"),
        (("list", "--since", "1x"), None, "1x"),
        (("wait", "--all", "--timeout", "1q"), None, "1q"),
    ],
)
def test_a_value_that_can_not_be_read_is_in_the_json(
    motionq: Run, words: tuple[str, ...], limit: object, value: object
) -> None:
    """Programs get what was given, and all that would have been allowed where that is a list."""
    code, (line,), err = motionq(*words, "--json")
    error, field = json.loads(line)["error"], words[-2].removeprefix("--")
    assert (code, err, error.pop("message").partition(":")[0]) == (2, [], field)
    assert error == {"kind": "usage", "field": field, "limit": limit, "value": value}


def test_an_option_of_the_address_that_is_not_known_is_one_line(motionq: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistyped option of REDIS_URL ends a command with 2, not with a traceback."""
    monkeypatch.setenv("MOTIONQ_REDIS_URL", "redis://:hush@127.0.0.1:1/0?foo=bar")
    said = "motionq: REDIS_URL: its query has an option that is not known: foo"
    assert motionq("list") == (2, [], [said])


def test_a_storage_that_takes_nothing_is_named(
    motionq: Run, queue: MotionQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where files can't be staged the setting is named, with 2, since nothing was sent."""
    (tmp_path / "file").touch()
    url = f"file://{tmp_path}/file/staging"
    monkeypatch.setenv("MOTIONQ_STAGING_URL", url)
    words = ("submit", "--image", FILES["image"], "--video", FILES["video"])
    said = f"MOTIONQ_STAGING_URL: {url} takes no files: Not a directory"
    assert motionq(*words) == (2, [], [f"motionq: {said}"])
    settings = Settings(redis_url="redis://127.0.0.1:1", staging_url=url)
    with MotionQueue(settings=settings) as broken, pytest.raises(InvalidSettings) as caught:
        broken.submit(**FILES)
    assert str(caught.value) == said
    assert queue.list() == []


def test_what_is_found_while_staging_names_its_request(queue: MotionQueue) -> None:
    """The place in the list is in the sentence and in `request`; nothing is enqueued."""
    with pytest.raises(InvalidJob) as caught:
        queue.submit_many([FILES, FILES | {"image": "gone.png"}])
    assert (caught.value.request, str(caught.value)) == (2, "request 2: image: no such file: gone.png")
    assert queue.list() == []
