"""A job's whole life as a user sees it: `motionq up --sandbox` with two workers, and verbs in another terminal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from redis import Redis

from motionq.contract.keys import Keys
from motionq_worker.addresses import ForbiddenAddress, check_url
from support import DANCE, IMAGE, VIDEO, picture
from support.films import played
from support.local_stack import Up, up

PICTURE = picture(colour=(50, 50, 50))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with up(tmp_path_factory.mktemp("jobs"), "--sandbox", "--speed=60", "--workers=2", "--flower-port=0") as running:
        yield running


@pytest.fixture(scope="module")
def done(stack: Up) -> dict[str, dict[str, Any]]:
    """Prompt → job: one of the two sample media and fifty of a picture and a small film, all at once, at their end."""
    (stack.home / "hero.png").write_bytes(PICTURE)
    lines = [{"image": str(IMAGE), "video": str(VIDEO), "prompt": "one"}]
    lines += [{"image": "hero.png", "video": str(DANCE), "prompt": f"fifty {n}"} for n in range(50)]
    batch = stack.home / "jobs.jsonl"
    batch.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    submitted = stack.command("submit", "--batch", str(batch), "--json")
    ids = [json.loads(line)["id"] for line in submitted.stdout.splitlines()]
    waited = stack.command("wait", *ids, "--json", timeout=120)
    jobs = [json.loads(line) for line in waited.stdout.splitlines()]
    assert (submitted.returncode, waited.returncode) == (0, 0), submitted.stderr + waited.stderr
    assert sorted(job["id"] for job in jobs) == sorted(ids)
    return {job["spec"]["prompt"]: job for job in jobs}


def _bought(stack: Up) -> dict[str, list[str]]:
    """Prompt → the task of each createTask call that the vendor's ledger has."""
    found: dict[str, list[str]] = {}
    for line in stack.ledger("createTask"):
        found.setdefault(line["prompt"], []).append(line["taskId"])
    return found


def test_a_job_comes_back_as_a_video_as_long_as_its_driver(stack: Up, done: dict[str, dict[str, Any]]) -> None:
    """A real image and a real video go in; a playable video of the driver's duration comes back, bought once."""
    job = done["one"]
    film, driver = played(Path(job["result"]["file"])), played(VIDEO)
    assert abs(film.seconds - driver.seconds) < 0.2
    assert min(film.width, film.height) == 720
    assert _bought(stack)["one"] == [job["task_id"]]
    with Redis.from_url(stack.addresses["redis_url"], decode_responses=True) as redis:
        assert redis.hget(Keys().job(job["id"]), "task_id") == job["task_id"]
    assert job["attempts"] == 1
    assert [event["state"] for event in job["events"]] == [
        "queued",
        "uploading",
        "ready",
        "armed",
        "submitting",
        "running",
        "delivering",
        "delivering",
        "succeeded",
    ]


def test_a_result_is_fetched_from_another_host_by_the_rule_for_addresses(
    stack: Up, done: dict[str, dict[str, Any]]
) -> None:
    """As in production the video lies on another host than the API: it came because that one is trusted, not exempt."""
    (url,) = done["one"]["result"]["vendor_urls"]
    api, files = urlsplit(stack.addresses["sandbox_url"]), urlsplit(url)
    assert (api.hostname, files.hostname) == ("127.0.0.1", "localhost")
    with pytest.raises(ForbiddenAddress):
        check_url(url, frozenset({str(api.hostname), api.netloc}))
    check_url(url, frozenset({files.netloc}))


def test_fifty_jobs_at_once_are_each_bought_once(stack: Up, done: dict[str, dict[str, Any]]) -> None:
    """Fifty jobs, two workers: each task ID in Redis is one purchase, and no 10 s hold more than twenty of them."""
    bought = _bought(stack)
    assert {prompt: [job["task_id"]] for prompt, job in done.items()} == bought
    assert len({job["task_id"] for job in done.values()}) == 51
    with Redis.from_url(stack.addresses["redis_url"], decode_responses=True) as redis:
        assert {redis.hget(Keys().job(job["id"]), "task_id") for job in done.values()} == {
            task for tasks in bought.values() for task in tasks
        }
    assert stack.summary()["max_creates_in_window"] <= 20


def test_each_of_the_fifty_is_a_video_as_long_as_its_driver(done: dict[str, dict[str, Any]]) -> None:
    """Each has a film of its own, every frame of which can be decoded, and it lasts as long as the driver."""
    files = [Path(done[f"fifty {n}"]["result"]["file"]) for n in range(50)]
    assert len(set(files)) == 50
    driver = played(DANCE).seconds
    with ThreadPoolExecutor(2) as pool:
        films = list(pool.map(played, files))
    assert [film for film in films if abs(film.seconds - driver) >= 0.2] == []


@pytest.mark.usefixtures("done")
def test_what_many_jobs_share_is_uploaded_once(stack: Up) -> None:
    """Fifty-one jobs have four files between them: four files cross the wire."""
    contents = [IMAGE.read_bytes(), VIDEO.read_bytes(), PICTURE, DANCE.read_bytes()]
    wanted = sorted(hashlib.sha256(content).hexdigest() for content in contents)
    assert sorted(line["sha256"] for line in stack.ledger("upload")) == wanted
