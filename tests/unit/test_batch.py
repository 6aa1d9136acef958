"""Batch files become requests, and every bad line is named."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from motionq.batch import Batch, parse
from motionq.contract.errors import InvalidJob
from motionq.request import Request

GOOD = {"image": "a.png", "video": "b.mp4"}


def read(text: str, name: str = "jobs.jsonl") -> Batch:
    return parse(text.encode(), name=name, folder="/jobs")


def faults(batch: Batch) -> dict[int, str]:
    return {line.number: str(line.error) for line in batch.bad}


def test_a_json_line_names_the_options() -> None:
    """Each option of submit has a name in jsonl, and paths are relative to the file's folder."""
    line = {
        "image": "a.png",
        "video": "https://cdn.example/b.mp4?sig=1",
        "prompt": "she waves",
        "mode": "1080p",
        "orientation": "image",
        "model": "kling-3.0/motion-control",
        "key": "order-1",
        "tenant": "shop",
        "labels": {"order": "1"},
        "priority": "high",
        "deadline": "2h",
    }
    batch = read(json.dumps(line) + "\n")
    assert batch.bad == ()
    assert [found.number for found in batch.lines] == [1]
    assert batch.lines[0].request == Request(
        image="/jobs/a.png",
        video="https://cdn.example/b.mp4?sig=1",
        prompt="she waves",
        mode="1080p",
        orientation="image",
        model="kling-3.0/motion-control",
        idempotency_key="order-1",
        tenant="shop",
        labels={"order": "1"},
        priority="high",
        deadline=timedelta(hours=2),
    )


def test_a_csv_says_the_same_as_json_lines() -> None:
    """A csv with label columns and empty cells gives the requests that the same jsonl gives."""
    table = (
        "\ufeffimage,video,prompt,key,label.order,label.shop,deadline,pass-url\r\n"
        'a.png,b.mp4,"two\nlines, one comma",k1,1,,2031-05-01T12:00:00+02:00,\r\n'
        "\r\n"
        "https://x.example/a.png,https://x.example/b.mp4,,,,x,,yes\r\n"
    )
    first = {
        **GOOD,
        "prompt": "two\nlines, one comma",
        "key": "k1",
        "label": {"order": "1"},
        "deadline": "2031-05-01T10:00:00Z",
    }
    second = {
        "image": "https://x.example/a.png",
        "video": "https://x.example/b.mp4",
        "labels": {"shop": "x"},
        "pass_url": True,
    }
    from_csv, from_json = read(table, "jobs.csv"), read(f"{json.dumps(first)}\n\n{json.dumps(second)}")
    assert from_csv.bad == from_json.bad == ()
    assert [line.request for line in from_csv.lines] == [line.request for line in from_json.lines]
    assert [line.number for line in from_csv.lines] == [2, 5]
    assert [line.number for line in from_json.lines] == [1, 3]
    assert from_csv.lines[0].request.deadline == datetime(2031, 5, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "is_json"),
    [('  {"image": "a.png", "video": "b.mp4"}', True), ("image,video\na.png,b.mp4", False)],
)
@pytest.mark.parametrize("name", ["-", "jobs.txt"])
def test_without_an_extension_the_first_character_tells(name: str, text: str, is_json: bool) -> None:
    """Standard input and files of other names are jsonl when they begin with a brace, else csv."""
    batch = read(text, name)
    assert batch.bad == ()
    assert [(line.number, line.request.image) for line in batch.lines] == [(1 if is_json else 2, "/jobs/a.png")]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('{"image": "a.png"}', "video: is required"),
        ('{"image": "", "video": "b.mp4"}', "image: is required"),
        (
            json.dumps({**GOOD, "promt": "x"}),
            "promt: unknown field, did you mean prompt?",
        ),
        (json.dumps({**GOOD, "mode": "4k"}), "mode: '4k' is not one of 720p, 1080p"),
        (json.dumps({**GOOD, "prompt": "x" * 2501}), "prompt: 2501 characters, the limit is 2500"),
        (json.dumps({**GOOD, "key": 17}), "key: must be text"),
        (json.dumps({**GOOD, "tenant": ["x"]}), "tenant: must be text"),
        (json.dumps({**GOOD, "prompt": "\ud800"}), "prompt: holds half a character (a lone surrogate)"),
        (json.dumps({**GOOD, "labels": "a=b"}), 'labels: must be an object like {"name": "value"}'),
        (json.dumps({**GOOD, "labels": {"a": 1}}), "labels: must be text"),
        (json.dumps({**GOOD, "label": {}, "labels": {}}), "labels: is given twice"),
        (json.dumps({**GOOD, "deadline": "soon"}), "deadline: 'soon' is neither a duration (45m, 2h) nor a time "),
        (json.dumps({**GOOD, "deadline": "2031-05-01"}), "deadline: '2031-05-01' needs its time zone: "),
        (json.dumps({**GOOD, "pass_url": "maybe"}), "pass_url: 'maybe' is neither true nor false"),
        (json.dumps({**GOOD, "pass_url": True}), "image: with pass_url it must be a web address"),
        ('{"image": "a.png", "image": "c.png", "video": "b.mp4"}', "image: is given twice"),
        ('["a.png", "b.mp4"]', "a line must be one JSON object: {…}"),
        ('{"image": "a.png",', "not JSON: "),
        ("[" * 100_000, "the line is nested too deeply"),
    ],
)
def test_a_bad_line_is_reported_with_its_number_and_reason(line: str, fault: str) -> None:
    """A bad line does not hide the good one before it, nor another bad one after it."""
    batch = read(f"{json.dumps(GOOD)}\n{line}\n{{}}\n")
    assert [found.number for found in batch.lines] == [1]
    assert sorted(faults(batch)) == [2, 3]
    assert faults(batch)[2].startswith(fault)
    assert faults(batch)[3] == "image: is required"


def test_bad_csv_lines_are_reported() -> None:
    """Missing and surplus cells are faults of their line: a shifted cell must not become another option."""
    batch = read("image,video,prompt\na.png,b.mp4\na.png,b.mp4,x,y\na.png,b.mp4,x\n,b.mp4,x\n", "jobs.csv")
    assert [line.number for line in batch.lines] == [4]
    assert faults(batch) == {
        2: "2 cells, the first line has 3",
        3: "4 cells, the first line has 3",
        5: "image: is required",
    }


@pytest.mark.parametrize(
    ("header", "fault"),
    [
        ("image,video,labels", "labels: in csv each label has a column label.NAME"),
        ("image,video,image", "image: is given twice"),
        ("image,video,label.a,label.a", "label.a: is given twice"),
        ("image,video,colour", "colour: unknown field: the names are image, video, prompt, mode, orientation, "),
    ],
)
def test_a_wrong_column_is_one_fault(header: str, fault: str) -> None:
    """A wrong column is said once, of the first line, and not again for each job."""
    row = ",".join("x" for _ in header.split(","))
    batch = read(f"{header}\n{row}\n{row}\n", "jobs.csv")
    assert batch.lines == ()
    assert list(faults(batch)) == [1]
    assert faults(batch)[1].startswith(fault)


def test_an_unclosed_quote_is_a_fault_of_its_line() -> None:
    """A csv that ends inside quotes is refused where the quote was opened."""
    batch = read('image,video\na.png,b.mp4\na.png,"b.mp4\n', "jobs.csv")
    assert [line.number for line in batch.lines] == [2]
    assert faults(batch) == {3: "not CSV: unexpected end of data"}


@pytest.mark.parametrize("text", ["", "\n \n", "image,video\n"])
def test_a_file_without_jobs_is_refused(text: str) -> None:
    """An empty batch is an error, since somebody expects jobs of it."""
    with pytest.raises(InvalidJob, match=r"^jobs\.csv holds no jobs$"):
        read(text, "jobs.csv")


def test_a_file_that_is_not_text_is_refused() -> None:
    """Another encoding is not guessed: a prompt would be bought with wrong letters."""
    with pytest.raises(InvalidJob, match=r"^jobs\.csv is not UTF-8 text$"):
        parse("image,video\nbär.png,b.mp4".encode("latin-1"), name="jobs.csv", folder=".")


def test_lines_without_a_key_are_counted() -> None:
    """The batch knows how many of its jobs would be bought again."""
    batch = read("\n".join(json.dumps(line) for line in ({**GOOD, "key": "k"}, GOOD, GOOD)))
    assert (len(batch.lines), batch.without_key) == (3, 2)
