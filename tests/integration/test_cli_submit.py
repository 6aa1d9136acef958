"""`motionq submit` as its users meet it: a real command, a real server, real files."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from motionq import MotionQueue
from support import eventually
from support.by_hand import fail, succeed
from support.command import Command

MEDIA = Path(__file__).parents[1] / "media"
PNG, MP4 = str(MEDIA / "astronaut.png"), str(MEDIA / "bigbuckbunny.mp4")
FILES = ("--image", PNG, "--video", MP4)
ID = re.compile(r"[0-9a-z]{26}")
JOB_KEYS = [
    *("id", "state", "tenant", "labels", "priority", "spec", "task_id"),
    *("created_at", "updated_at", "attempts", "result", "failure", "eta_seconds", "events"),
]


# -- submit -----------------------------------------------------------------------------------------------------------
def test_submit_prints_the_id_alone(motionq: Command, queue: MotionQueue) -> None:
    """stdout is the job's ID and nothing else, the hint goes to stderr, and every option arrives in the record."""
    options = "--mode 1080p --orientation image --tenant shop --label a=b --label c=d --priority high --deadline 2h"
    answer = motionq("submit", *FILES, "--prompt", "she waves", *options.split())
    assert answer.code == 0
    job_id = answer.out.removesuffix("\n")
    assert ID.fullmatch(job_id)
    assert answer.err == f"motionq: to wait for it: motionq wait {job_id}\n"
    record = queue.store.get(job_id)
    spec = record.spec
    assert (spec.prompt, spec.mode, spec.orientation) == ("she waves", "1080p", "image")
    assert (record.tenant, record.labels, record.priority) == ("shop", {"a": "b", "c": "d"}, "high")
    assert 7190 < (record.deadline - record.created_at) / 1000 < 7201


def test_the_same_key_gives_the_same_job(motionq: Command, queue: MotionQueue) -> None:
    """Running a submission with a key again finds its job; the key with another request is refused with 1."""
    first, again = (motionq("submit", *FILES, "--key", "k", "--json") for _ in range(2))
    assert (first.code, again.code) == (0, 0)
    assert list(first.jsons[0]) == JOB_KEYS
    assert first.jsons[0]["id"] == again.jsons[0]["id"]
    other = motionq("submit", *FILES, "--key", "k", "--mode", "1080p", "--json")
    assert other.code == 1
    assert (other.error["kind"], other.error["value"]) == ("idempotency_conflict", first.jsons[0]["id"])
    assert len(queue.list()) == 1


def test_submit_wait_ends_with_the_file(motionq: Command, queue: MotionQueue) -> None:
    """`submit --wait` prints the video's place when the job has succeeded."""
    process = motionq.start("submit", *FILES, "--wait", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with process:
        (job,) = eventually(queue.list, timeout=30)
        succeed(queue, job.id)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out.decode()) == (0, f"/results/{job.id}.mp4\n")
    assert err.decode().splitlines()[0] == f"motionq: enqueued {job.id}"
    assert f"{job.id} succeeded" in err.decode().splitlines()[-1]


def test_submit_wait_of_a_failed_job(motionq: Command, queue: MotionQueue) -> None:
    """`submit --wait --json` ends with 1 and the job object of the failed job."""
    process = motionq.start("submit", *FILES, "--wait", "--json", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with process:
        (job,) = eventually(queue.list, timeout=30)
        fail(queue, job.id)
        out, _ = process.communicate(timeout=30)
    shown = json.loads(out)
    assert process.returncode == 1
    assert shown["id"] == job.id
    assert shown["failure"] == {"reason": "invalid_media", "code": None, "message": "2 s video", "charged": "no"}
    assert [event["state"] for event in shown["events"]] == ["queued", "uploading", "failed"]


# -- bad input --------------------------------------------------------------------------------------------------------
@pytest.fixture
def bad_files(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "large.png").write_bytes(Path(PNG).read_bytes() + bytes(11 * 1024 * 1024))
    (tmp_path / "empty.mp4").touch()


@pytest.mark.usefixtures("bad_files")
@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--image", "no.png", "--video", MP4], "image: no such file: no.png"),
        (["--image", "text.png", "--video", MP4], "image: text.png is a text file, .* takes JPEG, PNG, WebP"),
        (["--image", "large.png", "--video", MP4], r"image: large.png has 12,\d+,\d+ bytes, the limit is .*"),
        (["--image", PNG, "--video", "empty.mp4"], "video: empty.mp4 is empty"),
        (["--image", PNG], "video: give --video FILE or URL .*"),
        ([*FILES, "--prompt", "x" * 2501], "prompt: 2501 characters, the limit is 2500"),
        ([*FILES, "--mode", "4k"], "mode: '4k' is not one of 720p, 1080p"),
        ([*FILES, "--priority", "urgent"], "priority: 'urgent' is not one of low, normal, high"),
        ([*FILES, "--deadline", "soon"], "deadline: 'soon' is neither a duration .*"),
        ([*FILES, "--label", "red"], "label: 'red' is not a label: write name=value"),
        (
            [*FILES, "--promt", "x"],
            r"No such option: --promt: did you mean --prompt\? \(see `motionq submit --help`\)",
        ),
        ([*FILES, "--quality", "4k"], r"No such option: --quality \(see `motionq submit --help`\)"),
        (
            ["--image", "ftp://u:secret@x.example/a.png?sig=secret", "--video", MP4],
            r"image: ftp://x\.example/a\.png\?… is not an http or https address",
        ),
        ([*FILES, "--batch", "jobs.csv"], "batch: --image does not go with --batch, .*"),
        (["--batch", "jobs.csv"], "batch: can't read jobs.csv: No such file or directory"),
    ],
)
def test_bad_input_is_one_clear_line(motionq: Command, queue: MotionQueue, args: list[str], message: str) -> None:
    """Each bad input ends with 2, says one line on stderr, and enqueues nothing."""
    answer = motionq("submit", *args)
    assert (answer.code, answer.out) == (2, "")
    assert re.fullmatch(f"motionq: {message}\n", answer.err)
    assert queue.list() == []


def test_bad_input_as_json(motionq: Command) -> None:
    """With `--json` the error is an object on stdout, with field, limit and value, and stderr is silent."""
    answer = motionq("submit", *FILES, "--mode", "4k", "--json")
    assert (answer.code, answer.err) == (2, "")
    assert answer.error == {
        "kind": "invalid_job",
        "field": "mode",
        "limit": ["720p", "1080p"],
        "value": "4k",
        "message": "mode: '4k' is not one of 720p, 1080p",
    }
    usage = motionq("submit", "--promt", "x", "--json")
    assert (usage.code, usage.err) == (2, "")
    assert (usage.error["kind"], usage.error["field"]) == ("usage", "promt")


@pytest.mark.parametrize(
    ("env", "code", "message"),
    [
        (
            {"REDIS_URL": "redis://:secret@127.0.0.1:1/0"},
            5,
            "the queue's server can't be reached: start one with `motionq up --sandbox`, or set REDIS_URL",
        ),
        (
            {"REDIS_URL": ""},
            5,
            "no queue server is known: start one with `motionq up --sandbox`, or set REDIS_URL",
        ),
        (
            {"MOTIONQ_SUMBIT_RATE": "5/1s"},
            2,
            "MOTIONQ_SUMBIT_RATE is no setting of motionq: did you mean MOTIONQ_SUBMIT_RATE?",
        ),
        (
            {"CELERY_BROKER_URL": "redis://:secret@other/0"},
            2,
            "CELERY_BROKER_URL names another server than REDIS_URL, and Celery would use it: unset it",
        ),
    ],
)
def test_a_bad_environment_is_one_clear_line(motionq: Command, env: dict[str, str], code: int, message: str) -> None:
    """An unreachable server ends with 5, a mistyped setting or foreign broker with 2; no password is printed."""
    answer = motionq("submit", *FILES, **env)
    assert (answer.code, answer.out, answer.err) == (code, "", f"motionq: {message}\n")


def test_the_settings_of_a_dotenv_file_count(motionq: Command) -> None:
    """`./.env` is read by the command line: its server is used, and its mistyped names are refused."""
    (motionq.folder / ".env").write_text("OTHER=1\nMOTIONQ_TENNANT=x\n")
    answer = motionq("list")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("motionq: MOTIONQ_TENNANT is no setting of motionq")
    (motionq.folder / ".env").write_text(f"OTHER=1\nREDIS_URL={motionq.env.pop('REDIS_URL')}\n")
    assert motionq("list").code == 0


# -- batch ------------------------------------------------------------------------------------------------------------
def test_a_batch_is_enqueued_in_its_order(motionq: Command, queue: MotionQueue) -> None:
    """Paths are relative to the batch file, IDs come in the order of lines, and lines without a key are warned of."""
    folder = motionq.folder / "orders"
    folder.mkdir()
    (folder / "hero.png").symlink_to(PNG)
    (folder / "dance.mp4").symlink_to(MP4)
    (folder / "jobs.csv").write_text(
        "image,video,key,label.order,mode\nhero.png,dance.mp4,k1,1,\nhero.png,dance.mp4,,2,1080p\n"
    )
    answer = motionq("submit", "--batch", "orders/jobs.csv")
    assert answer.code == 0
    assert answer.err.splitlines() == [
        "motionq: 1 of 2 lines have no key: running the batch again buys them again",
        "motionq: to wait for them: motionq wait --all",
    ]
    jobs = [queue.get(job_id) for job_id in answer.out.splitlines()]
    assert [(job.labels, job.spec.mode) for job in jobs] == [({"order": "1"}, "720p"), ({"order": "2"}, "1080p")]


def test_a_batch_from_stdin(motionq: Command, queue: MotionQueue) -> None:
    """`--batch -` reads jsonl with paths relative to the current folder, and prints a job object for each line."""
    (motionq.folder / "hero.png").symlink_to(PNG)
    lines = [{"image": "hero.png", "video": MP4, "key": key} for key in ("k1", "k2", "k1")]
    answer = motionq("submit", "--batch", "-", "--json", stdin="\n".join(map(json.dumps, lines)))
    assert answer.code == 0
    ids = [job["id"] for job in answer.jsons]
    assert (ids[0], len(set(ids))) == (ids[2], 2)
    assert {job.id for job in queue.list()} == set(ids)
    assert "no key" not in answer.err


@pytest.mark.usefixtures("bad_files")
def test_a_batch_with_bad_lines_enqueues_nothing(motionq: Command, queue: MotionQueue) -> None:
    """Every bad line is reported with its number and reason, files included; nothing is enqueued or even staged."""
    good = {"image": PNG, "video": MP4}
    lines: list[dict[str, object]] = [
        {**good, "key": "k"},
        {**good, "image": "no.png"},
        {**good, "image": "text.png"},
        {**good, "image": "large.png"},
        {**good, "video": "empty.mp4"},
        {**good, "video": "."},
        {**good, "video": PNG},
        {**good, "colour": "red"},
        {**good, "key": "k", "mode": "1080p"},
        {**good, "key": "k", "tenant": "other", "mode": "1080p"},
    ]
    (motionq.folder / "jobs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    answer = motionq("submit", "--batch", "jobs.jsonl")
    assert (answer.code, answer.out) == (2, "")
    said = answer.err.splitlines()
    expected = [
        "line 2: image: no such file: no.png",
        "line 3: image: text.png is a text file, ",
        "line 4: image: large.png has 12,",
        "line 5: video: empty.mp4 is empty",
        "line 6: video: . is a folder",
        "line 7: video: astronaut.png is a PNG, ",
        "line 8: colour: unknown field",
        "line 9: key: 'k' belongs to line 1, which asks for something else",
        "nothing was enqueued: 8 of 10 lines are bad",
    ]
    assert [line.startswith(f"motionq: {start}") for line, start in zip(said, expected, strict=True)] == [True] * 9
    assert queue.list() == []
    assert not (motionq.folder / "data").exists()
    as_json = motionq("submit", "--batch", "jobs.jsonl", "--json")
    assert as_json.code == 2
    errors = [line["error"] for line in as_json.jsons]
    assert [error["field"] for error in errors if isinstance(error, dict)] == [
        *("image", "image", "image", "video", "video", "video", "colour", "idempotency_key")
    ]


def test_equal_content_under_one_key_is_one_request(motionq: Command, queue: MotionQueue) -> None:
    """Two lines of one key may name different copies of the same file; other content is a fault."""
    for name in ("one.png", "two.png"):
        (motionq.folder / name).write_bytes(Path(PNG).read_bytes())
    (motionq.folder / "other.png").write_bytes(Path(PNG).read_bytes() + b"\0")
    rows = ["one.png", "two.png"]
    table = "image,video,key\n" + "".join(f"{name},{MP4},k\n" for name in rows)
    refused = motionq("submit", "--batch", "-", stdin=f"{table}other.png,{MP4},k\n")
    assert refused.code == 2
    assert refused.err.startswith("motionq: line 4: key: 'k' belongs to line 2, which asks for something else\n")
    assert queue.list() == []
    answer = motionq("submit", "--batch", "-", stdin=table)
    assert answer.code == 0
    assert set(answer.out.split()) == {job.id for job in queue.list()}
    assert len(queue.list()) == 1
