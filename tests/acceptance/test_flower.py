"""Flower tells the truth about every job, to people with a login, and shows no secret."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from motionq import Job
from support import Stack, eventually
from support.browser import open_page
from support.flower import LOGIN, Flower

PROMPT, REFUSED = "a prompt that nobody may see", "a prompt to refuse"
SIGNATURE = "5ecret5ignature"
REDIS_PASSWORD = "redis-pa55word"
EVERY_STEP = {"motionq.upload", "motionq.submit", "motionq.check", "motionq.deliver"}
# What can be asked of Flower by address alone, and what would change something (flower 2.2, `urls.py`).
PAGES = ("/", "/workers", "/tasks", "/task/{job}.upload.1", "/worker/{worker}", "/broker", "/api/tasks", "/api/workers")
ACTIONS = (
    *(f"/api/worker/{verb}/{{worker}}" for verb in ("shutdown", "pool/restart", "pool/grow", "pool/shrink")),
    *(f"/api/worker/{verb}/{{worker}}" for verb in ("pool/autoscale", "queue/add-consumer", "queue/cancel-consumer")),
    *(f"/api/task/{verb}/motionq.start" for verb in ("apply", "async-apply", "send-task", "timeout", "rate-limit")),
    *(f"/api/task/{verb}/{{job}}.upload.1" for verb in ("abort", "revoke")),
)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("flower")
    public = "http://203.0.113.9:8787"  # so that createTask carries a nonce
    logs = {"MOTIONQ_LOG_LEVEL": "DEBUG", "MOTIONQ_LOG_FORMAT": "json"}
    with Stack(folder, workers=0, sandbox={"rate_limit": "off"}, MOTIONQ_PUBLIC_BASE_URL=public, **logs) as running:
        running.redis.execute_command("ACL", "SETUSER", "watched", "on", f">{REDIS_PASSWORD}", "~*", "&*", "+@all")
        running.environment["REDIS_URL"] = running.server.url.replace("://", f"://watched:{REDIS_PASSWORD}@")
        yield running


@pytest.fixture(scope="module")
def flower(stack: Stack) -> Iterator[Flower]:
    with Flower(stack) as running:
        stack.add_worker()
        yield running


@pytest.fixture(scope="module")
def jobs(stack: Stack, flower: Flower) -> dict[str, Job]:
    """A job that goes well, one that the vendor refuses, one with a broken film, one with a signed dead address."""
    stack.vendor.add_fault("code_422", "createTask", match={"prompt": REFUSED})
    stack.vendor.add_fault("result_cut", "result")
    signed = f"{stack.vendor.url}/nothing.png?X-Amz-Signature={SIGNATURE}"
    first = stack.submit(prompt=PROMPT)
    stack.has_been(first, "running")  # so that nobody waits for its uploads
    refused, dead = stack.submit(prompt=REFUSED), stack.submit(prompt=PROMPT, image=signed)
    delivered = [stack.finished(job) for job in (first, stack.submit(prompt=PROMPT))]
    # The first film to be fetched is cut short.
    cut, well = sorted(delivered, key=lambda job: sum(event.step == "deliver" for event in job.events), reverse=True)
    return {"cut": cut, "well": well, "refused": stack.finished(refused), "dead": stack.finished(dead)}


@pytest.fixture(scope="module")
def page(flower: Flower) -> Iterator[Page]:
    with open_page(*LOGIN) as opened:
        yield opened


def steps(rows: dict[str, Any], state: str) -> set[str]:
    return {row["name"] for row in rows.values() if row["state"] == state}


def worker_of(flower: Flower) -> str:
    name: str = eventually(lambda: flower.get("/workers?json=1").json()["data"])[0]["hostname"]
    return name


def secrets_of(stack: Stack) -> set[str]:
    """What nobody may see, on pages or in logs."""
    nonces = {line.nonce for record in stack.store.newest() for line in record.purchases}
    assert len(nonces) >= 3
    return {PROMPT, REFUSED, SIGNATURE, REDIS_PASSWORD, LOGIN[1], stack.vendor.api_key, *nonces}


# -- the rows ----------------------------------------------------------------------------------------------------------


def test_a_succeeded_job_is_found_with_all_its_steps_linked(flower: Flower, jobs: dict[str, Job]) -> None:
    """One search for a job ID finds its upload, submit, check and deliver rows, each with what happened."""
    job = jobs["well"]
    rows = eventually(lambda: (r := flower.rows(job.id)) and steps(r, "SUCCESS") == EVERY_STEP and r)

    root = f"{job.id}.upload.1"
    assert job.state == "succeeded"
    assert rows[root]["result"].startswith("'uploaded image")
    assert rows[f"{job.id}.submit.1"]["parent_id"] == root
    assert rows[f"{job.id}.submit.1"]["root_id"] == root
    assert job.task_id in rows[f"{job.id}.submit.1"]["result"]
    deliver = rows[f"{job.id}.deliver.1"]
    assert deliver["parent_id"].startswith("check.")
    assert job.id in rows[deliver["parent_id"]]["result"]
    assert json.loads(rows[root]["args"].replace("('", '["').replace("',)", '"]')) == [job.id]


def test_a_failed_job_is_found_with_a_failure_and_its_reason(flower: Flower, jobs: dict[str, Job]) -> None:
    """A failed job's ID finds a FAILURE row that says why, in the step where it failed."""
    job = jobs["refused"]
    rows = eventually(lambda: (r := flower.rows(job.id)) and steps(r, "FAILURE") and r)

    assert steps(rows, "FAILURE") == {"motionq.submit"}
    assert f"{job.id}: refused:" in rows[f"{job.id}.submit.1"]["exception"]


def test_a_step_that_is_tried_again_is_a_retry_with_its_reason(flower: Flower, jobs: dict[str, Job]) -> None:
    """A free retry shows as RETRY with the reason and when, and the next try is a row of its own."""
    job = jobs["cut"]
    rows = eventually(lambda: (r := flower.rows(job.id)) and f"{job.id}.deliver.2" in r and r)

    assert job.state == "succeeded"
    assert rows[f"{job.id}.deliver.1"]["state"] == "RETRY"
    assert "again in 2 s" in rows[f"{job.id}.deliver.1"]["exception"]


def test_no_row_shows_a_prompt_a_key_a_nonce_or_an_address(stack: Stack, flower: Flower, jobs: dict[str, Job]) -> None:
    """Messages carry job IDs and nothing else, and results, errors and tracebacks hold no secret."""
    eventually(lambda: steps(flower.rows(jobs["well"].id), "SUCCESS") == EVERY_STEP)
    everything = json.dumps(flower.rows("")) + flower.get("/metrics").text

    assert jobs["dead"].id in everything
    for secret in secrets_of(stack):
        assert secret not in everything
    assert "(address) answered 404" in everything
    assert "://" not in everything


# -- who may see and do what -------------------------------------------------------------------------------------------


def test_with_a_login_set_nobody_else_gets_in(flower: Flower, jobs: dict[str, Job]) -> None:
    """Without the login, and with a wrong one, every page and the API answer 401."""
    where = {"job": jobs["well"].id, "worker": worker_of(flower)}
    paths = [path.format(**where) for path in PAGES]
    assert {path: flower.get(path).status_code for path in paths} == dict.fromkeys(paths, 200)
    for auth in (None, (LOGIN[0], "wrong"), ("", "")):
        assert {path: flower.get(path, auth=auth).status_code for path in paths} == dict.fromkeys(paths, 401)


def test_whoever_gets_in_changes_nothing(flower: Flower, jobs: dict[str, Job]) -> None:
    """Every call that would stop, start, revoke or change something is refused, whoever asks."""
    where = {"job": jobs["well"].id, "worker": worker_of(flower)}
    paths = [path.format(**where) for path in ACTIONS]
    assert {path: flower.post(path) for path in paths} == dict.fromkeys(paths, 403)


# -- in a browser ------------------------------------------------------------------------------------------------------


def test_workers_are_visible(flower: Flower, jobs: dict[str, Job], page: Page) -> None:
    """The first page shows each worker, that it is online, and what it has done."""
    page.goto(f"{flower.url}/")
    row = page.locator("#workers-table tbody tr")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("Online")
    assert row.locator("a").first.get_attribute("title") == worker_of(flower)
    expect(row.locator("td").nth(5)).to_have_text(re.compile(r"^[1-9]\d*$"))


def test_the_steps_of_a_job_are_visible(flower: Flower, jobs: dict[str, Job], page: Page) -> None:
    """An address with the job's ID, and the search box alike, show its steps and what each of them did."""
    job = jobs["well"]
    page.goto(f"{flower.url}/tasks?name=motionq%20{job.id}")
    table = page.locator("#tasks-table tbody")
    for name, said in (("upload", "uploaded image"), ("submit", f"task {job.task_id}"), ("deliver", "delivered")):
        row = table.locator("tr", has_text=f"{job.id}.{name}.1")
        expect(row).to_contain_text("SUCCESS")
        expect(row).to_contain_text(said)
    expect(table.locator("tr", has_text="motionq.check").first).to_contain_text("SUCCESS")

    page.get_by_placeholder("state:FAILURE").fill(jobs["refused"].id)
    expect(table.locator("tr", has_text=job.id)).to_have_count(0)
    expect(table.locator("tr", has_text=f"{jobs['refused'].id}.upload.1")).to_have_count(1)

    page.goto(f"{flower.url}/task/{job.id}.submit.1")
    page.locator(".detail-row", has_text="Parent").get_by_role("link").click()
    expect(page.locator(".task-details-card")).to_contain_text("uploaded image")


def test_a_failure_is_visible_with_its_reason(flower: Flower, jobs: dict[str, Job], page: Page) -> None:
    """The list of failures says why in the row, and the row's own page as well; nothing offers to revoke it."""
    job = jobs["refused"]
    page.goto(f"{flower.url}/tasks?state=FAILURE")
    row = page.locator("#tasks-table tbody tr", has_text=f"{job.id}.submit.1")
    expect(row).to_contain_text("refused:")
    row.get_by_role("link", name=f"{job.id}.submit.1").click()
    expect(page.locator(".task-details-card")).to_contain_text(f"{job.id}: refused:")
    expect(page.get_by_role("button", name=re.compile("revoke|terminate", re.IGNORECASE))).to_have_count(0)


def test_no_page_shows_a_secret(stack: Stack, flower: Flower, jobs: dict[str, Job], page: Page) -> None:
    """On all pages, all tabs of a worker, and every row's own page: no prompt, key, password, nonce or signature."""
    seen = ""
    rows = flower.rows("")
    paths = ["/", "/workers", "/tasks", "/broker", *(f"/task/{row}" for row in rows if row.startswith(jobs["dead"].id))]
    paths += [f"/task/{row}" for job in jobs.values() for row in rows if row.startswith(job.id)]
    for path in dict.fromkeys(paths):
        page.goto(flower.url + path)
        page.wait_for_load_state("networkidle") if path in ("/tasks", "/broker") else None
        seen += page.content()
    page.goto(f"{flower.url}/worker/{worker_of(flower)}")
    tabs = page.get_by_role("tab")
    assert tabs.count() >= 7
    seen += page.content()

    for shown in ("broker_url", "motionq.upload", jobs["dead"].id, "motionq.submit"):
        assert shown in seen
    for secret in secrets_of(stack):
        assert secret not in seen


# -- the logs of the same stack ----------------------------------------------------------------------------------------


def lines(stack: Stack, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (stack.folder / f"{name}.log").read_text(encoding="utf-8").splitlines()]


def test_every_line_is_json_and_names_the_worker(stack: Stack, jobs: dict[str, Job]) -> None:
    """Worker and Flower write nothing but JSON lines; the worker's name is on each of its own."""
    worker = lines(stack, "w1")
    assert {line["worker"] for line in worker} == {worker[0]["worker"]}
    assert worker[0]["worker"].startswith("w1@")
    assert any(line["event"].endswith(" ready.") for line in worker)
    assert any("Visit me at" in line["event"] for line in lines(stack, "flower"))


def test_the_lines_of_a_step_carry_its_ids(stack: Stack, jobs: dict[str, Job]) -> None:
    """Every line of a job's steps has the job, the step and Celery's ID, and from the purchase on kie.ai's task ID."""
    job = jobs["well"]
    about = [line for line in lines(stack, "w1") if line.get("job") == job.id]
    assert {line["step"] for line in about} == {"upload", "submit", "deliver"}
    assert all(line["celery_id"].startswith(f"{job.id}.{line['step']}.") for line in about)
    ended = {line["step"]: line for line in about if " succeeded in " in line["event"]}
    assert {step: line.get("task_id") for step, line in ended.items()} == {
        "upload": None,
        "submit": job.task_id,
        "deliver": job.task_id,
    }


def test_a_failure_is_one_line_with_its_reason(stack: Stack, jobs: dict[str, Job]) -> None:
    """A failed job's reason is on a line with its ID, as information: the job failed, the worker did not."""
    found = [
        line for line in lines(stack, "w1") if line.get("job") == jobs["refused"].id and "refused:" in line["event"]
    ]
    assert [line["level"] for line in found] == ["info"]


def test_no_line_shows_a_secret(stack: Stack, jobs: dict[str, Job]) -> None:
    """Not even at the level DEBUG, and with a job whose signed address was dead."""
    said = "".join((stack.folder / f"{name}.log").read_text(encoding="utf-8") for name in ("w1", "flower"))
    assert jobs["dead"].id in said
    for secret in secrets_of(stack):
        assert secret not in said


def test_a_worker_does_not_look_for_neighbours(stack: Stack, jobs: dict[str, Job]) -> None:
    """Celery's mingle, which costs a second per start, is off."""
    loggers = {line["logger"] for line in lines(stack, "w1")}
    assert "celery.worker.consumer.connection" in loggers
    assert not {"celery.worker.consumer.mingle", "celery.worker.consumer.gossip"} & loggers
