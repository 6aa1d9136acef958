"""How the command line reads values, shows them, and ends."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest
from redis.exceptions import ResponseError
from rich.console import Console

from motionq import words
from motionq.contract.errors import (
    ActionRefused,
    IdempotencyConflict,
    InvalidJob,
    InvalidSettings,
    JobNotFound,
    KeyConflict,
    QueueUnavailable,
    WaitTimeout,
)
from motionq.contract.job import Event, Failure, Job, JobSpec, Result, StagedSource, UrlSource
from motionq.contract.states import State
from motionq.live import Look, progress_line, table_of, what_goes_on
from motionq.output import Code, WrongUsage, clean, code_of, error_object, report, wants_json, worst
from motionq.tables import detail, list_of, span

NOW = datetime(2031, 5, 1, 12, tzinfo=UTC)


def job(state: State = State.RUNNING, **fields: object) -> Job:
    spec = JobSpec(
        image=StagedSource(sha256="a" * 64, size=791555, media_type="image/png", name="hero.png"),
        video=UrlSource(url="https://cdn.example/dance.mp4?X-Amz-Signature=secret"),
        prompt="she\n[red]waves[/red]\x1b[2J",
    )
    known: dict[str, object] = {
        "id": "01jb2m4c6e8g0j2m4p6r8t0v2x",
        "state": state,
        "tenant": "default",
        "labels": {"order": "17"},
        "priority": "normal",
        "spec": spec,
        "created_at": NOW - timedelta(seconds=100),
        "updated_at": NOW - timedelta(seconds=30),
    }
    return Job.model_validate(known | fields)


@pytest.mark.parametrize(
    ("text", "seconds"), [("20", 20), ("20s", 20), ("45m", 2700), ("2h", 7200), ("30d", 2592000), ("0.5s", 0.5)]
)
def test_durations(text: str, seconds: float) -> None:
    """Durations carry a unit, and a bare number is seconds."""
    assert words.duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "abc", "-5s", "5 weeks", "99999999999d", "nan", "1e9"])
def test_what_is_no_duration(text: str) -> None:
    """Anything else is refused with an example."""
    with pytest.raises(ValueError, match=r"is not a duration: write 20s, 45m, 2h or 30d"):
        words.duration(text)


def test_moments() -> None:
    """A moment is a duration from now, or a time with its zone; a time without one is refused."""
    assert words.moment("45m") == timedelta(minutes=45)
    assert words.moment("2031-05-01T14:00:00+02:00") == NOW
    assert words.moment("2031-05-01T12:00:00Z") == NOW
    with pytest.raises(ValueError, match="needs its time zone"):
        words.moment("2031-05-01T12:00:00")
    with pytest.raises(ValueError, match="is out of range"):
        words.moment("0001-01-01T00:00:00+02:00")


def test_labels() -> None:
    """A label is name=value; the value may hold further equals signs, the name may be given once."""
    assert words.labels(["a=b", "c=d=e", "f="]) == {"a": "b", "c": "d=e", "f": ""}
    for pairs in (["a"], ["=b"], ["a=b", "a=c"]):
        with pytest.raises(ValueError):
            words.labels(pairs)


def test_the_worst_code_wins() -> None:
    """Several jobs end with 5 > 3 > 4 > 1 > 0, whatever their order."""
    order = [Code.UNREACHABLE, Code.NOT_FOUND, Code.TIMEOUT, Code.FAILED, Code.DONE]
    assert [int(code) for code in order] == [5, 3, 4, 1, 0]
    for at in range(len(order)):
        assert {worst(some) for some in permutations(order[at:])} == {order[at]}
    assert worst([]) == 0


@pytest.mark.parametrize(
    ("error", "code", "shown"),
    [
        (
            InvalidJob("mode: no", field="mode", limit=["720p"], value="4k"),
            2,
            {"kind": "invalid_job", "field": "mode", "limit": ["720p"], "value": "4k", "message": "mode: no"},
        ),
        (
            WrongUsage("since: no", field="since", limit=["2h"], value="1x"),
            2,
            {"kind": "usage", "field": "since", "limit": ["2h"], "value": "1x", "message": "since: no"},
        ),
        (
            InvalidSettings("X is not set"),
            2,
            {"kind": "invalid_settings", "field": None, "limit": None, "value": None, "message": "X is not set"},
        ),
        (
            JobNotFound("j1"),
            3,
            {"kind": "not_found", "field": "job", "limit": None, "value": "j1", "message": "no job j1"},
        ),
        (
            WaitTimeout("late"),
            4,
            {"kind": "timeout", "field": None, "limit": None, "value": None, "message": "late"},
        ),
        (
            QueueUnavailable("gone"),
            5,
            {"kind": "queue_unavailable", "field": None, "limit": None, "value": None, "message": "gone"},
        ),
        (
            ResponseError("MISCONF\nno disk"),
            5,
            {
                "kind": "queue_unavailable",
                "field": None,
                "limit": None,
                "value": None,
                "message": "the queue's server refused: MISCONF no disk",
            },
        ),
        (
            ActionRefused("bought"),
            1,
            {"kind": "refused", "field": None, "limit": None, "value": None, "message": "bought"},
        ),
        (
            IdempotencyConflict([KeyConflict(1, "k", "j1")]),
            1,
            {
                "kind": "idempotency_conflict",
                "field": "idempotency_key",
                "limit": None,
                "value": "j1",
                "message": "idempotency key 'k' already belongs to job j1, which asks for something else",
            },
        ),
        (
            PermissionError(13, "Permission denied", "/staging"),
            1,
            {
                "kind": "system",
                "field": None,
                "limit": None,
                "value": None,
                "message": "/staging: Permission denied",
            },
        ),
    ],
)
def test_every_error_has_its_code_and_json(error: Exception, code: int, shown: dict[str, object]) -> None:
    """Each kind of error has one exit code, and a JSON form that always has the same five keys."""
    assert code_of(error) == code
    assert error_object(error) == {"error": shown}


def test_a_fault_of_motionq_itself_is_raised() -> None:
    """A bug keeps its traceback: it must not look like a failed job."""
    fault = ZeroDivisionError()
    assert code_of(fault) is None
    with pytest.raises(ZeroDivisionError):
        report(fault, as_json=True)


def test_json_is_wanted_only_as_an_option() -> None:
    """`--json` after `--` is an argument."""
    assert wants_json(["status", "x", "--json"])
    assert not wants_json(["status", "--", "--json"])


def test_what_is_shown_is_one_clean_line() -> None:
    """Line breaks and control characters of a caller's text never reach the terminal."""
    assert clean("a\nb\t c\x1b[2J\udcff") == "a b c?[2J?"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (-3, "0 s"), (8.4, "8 s"), (60, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_spans(seconds: float | None, text: str) -> None:
    """A length of time has at most two units."""
    assert span(seconds) == text
    assert span(3 * 86400 + 4 * 3600) == "3 d 4 h"


def test_the_detail_shows_everything_but_secrets() -> None:
    """A job's page has its files, failure and history; no query string, no control character, no markup is lost."""
    events = (
        Event(at=NOW, state="queued", step="submitted"),
        Event(at=NOW + timedelta(seconds=2.5), state="failed", step="upload", worker="w1", note="too short"),
    )
    failure = Failure(reason="invalid_media", code="422", message="2 s video", charged="no")
    assert detail(job(State.FAILED, failure=failure, events=events)).splitlines() == [
        "job       01jb2m4c6e8g0j2m4p6r8t0v2x",
        "state     failed",
        "image     hero.png (image/png, 791,555 bytes)",
        "video     https://cdn.example/dance.mp4?…",
        "prompt    she [red]waves[/red]?[2J",
        "model     kling-2.6/motion-control, 720p, orientation video",
        "tenant    default, priority normal",
        "labels    order=17",
        "created   2031-05-01T11:58:20.000Z",
        "updated   2031-05-01T11:59:30.000Z",
        "task      -",
        "attempts  0",
        "failure   invalid_media: 2 s video (code 422)",
        "charged   no",
        "",
        "AT                        AFTER   STATE   STEP       WORKER  NOTE",
        "2031-05-01T12:00:00.000Z  +0.0 s  queued  submitted  -       -",
        "2031-05-01T12:00:02.500Z  +2.5 s  failed  upload     w1      too short",
    ]


def test_the_list_has_stable_columns() -> None:
    """Without a terminal nothing is cut or wrapped, and an empty cell is a dash. AGE runs on, TOOK does not."""
    done = job(State.SUCCEEDED, task_id="t1", labels={}, result=Result(file="/results/" + "x" * 200))
    table, left_out = list_of([done, job(eta_seconds=40)], NOW)
    assert left_out == ()
    assert [re.split(r"  +", line) for line in table.splitlines()] == [
        ["JOB", "STATE", "AGE", "TOOK", "LEFT", "TENANT", "LABELS", "TASK", "OUTCOME"],
        [done.id, "succeeded", "1 min 40 s", "1 min 10 s", "-", "default", "-", "t1", f"/results/{'x' * 200}"],
        [done.id, "running", "1 min 40 s", "-", "40 s", "default", "order=17", "-", "-"],
    ]


@pytest.mark.parametrize(
    ("width", "left_out"),
    [
        (200, ()),
        (130, ("TASK",)),
        (110, ("TASK", "LABELS")),
        (90, ("TASK", "LABELS", "OUTCOME")),
        (60, ("TASK", "LABELS", "OUTCOME", "TENANT", "LEFT", "TOOK")),
        (20, ("TASK", "LABELS", "OUTCOME", "TENANT", "LEFT", "TOOK", "AGE")),
    ],
)
def test_a_narrow_list_leaves_columns_out(width: int, left_out: tuple[str, ...]) -> None:
    """What does not fit is left out, the longest words first; IDs and states stand whole, each job's in one line."""
    jobs = [
        job(State.SUBMIT_UNKNOWN, labels={"a" * 10: "b" * 10}),
        job(State.FAILED, task_id="f" * 32, failure=Failure(reason="invalid_media", message="too short " * 20)),
    ]
    table, missing = list_of(jobs, NOW, width)
    assert missing == left_out
    lines = table.splitlines()
    assert [line.split()[:2] for line in lines if line.startswith("01jb")] == [
        [job_.id, job_.state.value] for job_ in jobs
    ]
    if width > 42:
        assert max(map(len, lines)) <= width
        assert set(lines[0].split()) == {
            *("JOB", "STATE", "AGE", "TOOK", "LEFT", "TENANT", "LABELS", "TASK", "OUTCOME")
        } - set(left_out)


def test_a_line_of_progress() -> None:
    """Without a terminal a change is one line with the seconds so far, the ETA, and why the job waits."""
    assert progress_line(Look(job(), NOW)) == "01jb2m4c6e8g0j2m4p6r8t0v2x running, 1 min 40 s"
    assert progress_line(Look(job(eta_seconds=125), NOW)).endswith(" running, 1 min 40 s, about 2 min 5 s left")
    closed = Look(job(State.READY, eta_seconds=125), NOW, "gate closed: no credits")
    assert progress_line(closed).endswith(" ready, 1 min 40 s: gate closed: no credits")


def test_the_live_table_runs_on_between_looks() -> None:
    """Ten seconds after a look the table shows ten seconds more and an ETA of ten seconds less."""
    earlier = NOW - timedelta(seconds=10)
    looks = [
        Look(job(eta_seconds=40), earlier, "uploaded"),
        Look(job(State.READY, eta_seconds=40), NOW, "gate closed: no credits"),
        *[Look(job(), NOW)] * 20,
    ]
    rows = _drawn(looks, 120)
    assert rows[0] == ["JOB", "STATE", "TIME", "LEFT", "NOTE"]
    assert rows[1] == [looks[0].job.id, "running", "1 min 40 s", "about 30 s", "uploaded"]
    assert rows[2] == [looks[0].job.id, "ready", "1 min 40 s", "-", "gate closed: no credits"]
    assert len(rows) == 22
    assert rows[-1] == ["and 2 more"]


def test_a_narrow_live_table_keeps_the_reason() -> None:
    """On 66 columns the time that is left gives way to why the job waits; ID and state are never cut."""
    look = Look(job(State.READY, eta_seconds=40), NOW, "gate closed: no credits")
    assert _drawn([look], 66) == [
        ["JOB", "STATE", "TIME", "NOTE"],
        [look.job.id, "ready", "1 min 40 s", "gate closed: no"],
        ["credits"],
    ]
    assert _drawn([look], 40) == [["JOB", "STATE"], [look.job.id, "ready"]]


def _drawn(looks: list[Look], width: int) -> list[list[str]]:
    console = Console(file=io.StringIO(), width=width)
    with console.capture() as captured:
        console.print(table_of(looks, NOW, width))
    return [re.split(r"  +", line.strip()) for line in captured.get().splitlines()]


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (1, "interrupted, the job goes on: motionq wait j1"),
        (3, "interrupted, 3 jobs go on: motionq wait j1 j2 j3"),
        (500, "interrupted, 500 jobs go on: motionq wait --all (j1, j2, j3, …)"),
    ],
)
def test_what_goes_on_is_counted(count: int, said: str) -> None:
    """Ctrl+C says how many jobs go on and how to wait again; of many only the first are named."""
    assert what_goes_on([f"j{n}" for n in range(1, count + 1)]) == said
