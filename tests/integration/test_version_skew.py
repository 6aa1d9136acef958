"""Two releases at once: what one has written, the other goes on with.

tests/data/record_v1.json holds jobs as release 0.1.0 left them, in every state it can reach by itself, and one Celery
message of each step; it stays as it is, and every later release must finish those jobs (`support/recorded.py`). The
other direction is the same recording with what a newer release may add in it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from motionq.contract.durability import server_identity
from motionq.contract.models import find_model
from motionq.staging import Staging
from motionq_worker.kie.account import KieAccount
from motionq_worker.kie.client import KieClient
from motionq_worker.kie.messages import create_task_body
from support import DANCE, IMAGE, Stack, eventually
from support.invariants import violations
from support.recorded import PUBLIC, load

RECORDING: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "record_v1.json").read_text("utf-8"))
JOBS: dict[str, str] = RECORDING["jobs"]
MODEL = find_model("kling-2.6/motion-control")
WIDE = {"MOTIONQ_PUBLIC_BASE_URL": PUBLIC, "MOTIONQ_MAX_IN_FLIGHT": "20", "MOTIONQ_SUBMIT_RATE": "100/1s"}
_PATIENCE = {"connect_timeout": 5.0, "read_timeout": 10.0}
BOUGHT = ("running", "cancelling", "unknown", "delivering")  # the vendor has a task for these
BUYING = ("armed", "ready", "queued", "uploading")


# -- what a newer release adds -------------------------------------------------------------------------------------
def _as_it_is(recording: dict[str, Any]) -> dict[str, Any]:
    return recording


def _newer(recording: dict[str, Any]) -> dict[str, Any]:
    """The same jobs and messages of a release that knows more, under the same schema version."""
    keys = [_newer_key(key) for key in recording["keys"]]
    messages = {queue: _newer_message(message) for queue, message in recording["messages"].items()}
    return recording | {"keys": keys, "messages": messages}


def _newer_key(key: dict[str, Any]) -> dict[str, Any]:
    kind, value = key["name"].split(":")[1], key["value"]
    if kind == "job":
        fields = dict(zip(value[::2], value[1::2], strict=True))
        fields |= {"mood": "calm", "review": '{"by": "nobody"}', "spec": _newer_spec(fields["spec"])}
        fields["events"] = _newer_events(fields["events"])
        if "purchases" in fields:
            fields["purchases"] = json.dumps([p | {"receipt": "r-1"} for p in json.loads(fields["purchases"])])
        value = [word for pair in fields.items() for word in pair]
    return key | {"value": value}


def _newer_events(lines: str) -> str:
    """Lines with one more word, and a line of another kind."""
    read = [json.loads(line) for line in lines.split("\n")]
    return "\n".join([*(json.dumps([*(*one, "", "", "")[:5], {"since": 1}]) for one in read), '{"kind": "note"}'])


def _newer_spec(spec: str) -> str:
    read = json.loads(spec)
    return json.dumps(read | {"camera": {"zoom": 2}, "image": read["image"] | {"width": 512}})


def _newer_message(message: str) -> str:
    """One more argument, a keyword, a header."""
    read = json.loads(message)
    args, kwargs, embed = json.loads(base64.b64decode(read["body"]))
    body = json.dumps([[*args, "more"], kwargs | {"hint": 1}, embed | {"later": None}])
    headers = read["headers"] | {"release": "0.2.0"}
    return json.dumps(read | {"body": base64.b64encode(body.encode()).decode(), "headers": headers})


# -- a stack that finds them ---------------------------------------------------------------------------------------
@pytest.fixture(scope="module", params=[_as_it_is, _newer], ids=["recorded", "newer"])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Today's worker on a server on which the recording lies; the vendor has finished what had been bought."""
    change: Callable[[dict[str, Any]], dict[str, Any]] = request.param
    vendor = {"rate_limit": "off", "render": "none"}
    with Stack(tmp_path_factory.mktemp("skew"), workers=0, sandbox=vendor, **WIDE) as running:
        _stage(running)
        names = _bought(running)
        load(change(RECORDING), running.redis, names)
        (wrong,) = _violations(running)  # 0.1.0 kept no counts by tenant
        assert wrong.endswith("unfinished jobs, counted are {}")
        unknown = running.store.get(JOBS["unknown"])
        assert running.store.name_task(unknown.id, unknown.nonce, names["TASK_UNKNOWN"]) == "stored"  # as a callback
        running.add_worker()
        buying = [JOBS[name] for name in BUYING]
        eventually(lambda: {r.state.value for r in running.store.get_many(buying)} == {"running"}, timeout=40)
        running.vendor.advance(600)
        running.store.hurry("check", buying)  # a look would come when a callback is overdue
        ends = {"succeeded": 8, "failed": 1, "cancelled": 2}
        eventually(lambda: {s.value: n for s, n in running.store.counts().items() if n} == ends, timeout=40)
        yield running


def _stage(stack: Stack) -> None:
    staging = Staging(stack.environment["MOTIONQ_STAGING_URL"])
    image = base64.b64decode(RECORDING["image"])
    for source, kind in ((IMAGE, "image"), (BytesIO(image), "image"), (DANCE, "video")):
        staging.put(source, model=MODEL, kind=kind)  # type: ignore[arg-type]


def _bought(stack: Stack) -> dict[str, str]:
    """The vendor's side of the recording: the files and tasks that it speaks of, under today's names."""
    key = stack.environment["KIE_API_KEY"]
    account = KieAccount(
        base_url=stack.vendor.url, upload_base_url=stack.vendor.url, api_key=SecretStr(key), **_PATIENCE
    )
    client = KieClient(account)
    names = {
        "SERVER": server_identity(stack.redis),
        "HOST": "host",
        "VENDOR": stack.vendor.url,
        "FILES": stack.vendor.files_url,
        "TASK_SUCCEEDED": "0" * 32,
    }
    for name, path, mime in (("IMAGE_URL", IMAGE, "image/png"), ("VIDEO_URL", DANCE, "video/mp4")):
        size = path.stat().st_size
        names[name] = client.upload(path, size=size, file_name=path.name, upload_path="motionq", mime=mime).download_url
    for name in BOUGHT:
        with client.open_purchase_connection() as connection:
            names[f"TASK_{name.upper()}"] = connection.create_task(_request(name, names))
    stack.vendor.advance(600)
    names["RESULT_URL"] = eventually(lambda: client.read(names["TASK_DELIVERING"]).result_urls)[0]
    client.close()
    return names


def _request(name: str, names: dict[str, str]) -> dict[str, object]:
    return create_task_body(
        model=MODEL.name,
        image_url=names["IMAGE_URL"],
        video_url=names["VIDEO_URL"],
        prompt=name,
        mode="720p",
        orientation="video",
        callback_url=f"{PUBLIC}/callbacks/kie/{JOBS[name]}/{_fields(name)['nonce']}",
    )


def _fields(name: str) -> dict[str, str]:
    """The recorded record of a job."""
    value = next(key["value"] for key in RECORDING["keys"] if key["name"] == f"motionq:job:{JOBS[name]}")
    return dict(zip(value[::2], value[1::2], strict=True))


def _violations(stack: Stack) -> Iterator[str]:
    return violations(stack.redis, stack.keys, jobs=list(JOBS.values()), tenants=["default", "other"], cap=20, rate=100)


# -- the promises --------------------------------------------------------------------------------------------------
def test_every_recorded_job_comes_to_its_end(stack: Stack) -> None:
    """What was on its way succeeds, what was being cancelled is cancelled, what had ended reads as it did."""
    ended = {"succeeded": "succeeded", "failed": "failed", "cancelled": "cancelled", "cancelling": "cancelled"}
    jobs = {name: stack.queue.get(job_id) for name, job_id in JOBS.items()}

    assert {name: job.state.value for name, job in jobs.items()} == {n: ended.get(n, "succeeded") for n in JOBS}
    assert [job.failure.reason for job in jobs.values() if job.failure] == ["refused"]
    for name in (*BUYING, "running", "unknown", "delivering"):
        result = jobs[name].result
        assert result is not None
        assert result.file is not None
        assert Path(result.file).is_file()
    assert jobs["queued"].labels == {"order": "2"}
    assert list(_violations(stack)) == []


def test_jobs_by_tenant_are_counted_anew(stack: Stack) -> None:
    """The recording has no counts: the worker notices, says so once, and the counts are right from then on."""
    log = stack.workers[0].log.read_text("utf-8")

    assert log.count("jobs by tenant did not add up and were counted anew: ") == 1
    assert [line for line in _violations(stack) if line.startswith("by tenant")] == []


def test_nothing_of_it_is_bought_twice(stack: Stack) -> None:
    """One createTask for each job that had not been bought, and none but ours for those that had."""
    bought = sorted(line["prompt"] for line in stack.vendor.ledger("createTask"))
    assert bought == sorted((*BOUGHT, *BUYING))
    attempts = {name: stack.store.get(JOBS[name]).attempts for name in (*BOUGHT, *BUYING)}
    assert attempts == dict.fromkeys((*BOUGHT, *BUYING), 1)


def test_the_recorded_messages_are_understood(stack: Stack) -> None:
    """Their alarms ring in an hour: it was the recorded messages that made these steps run, each once."""
    claims = {"queued": "n_upload", "armed": "n_submit", "delivering": "n_deliver"}
    for name, field in claims.items():
        assert stack.redis.hget(stack.keys.job(JOBS[name]), field) == _fields(name)[field]
    log = stack.workers[0].log.read_text("utf-8")
    for message in RECORDING["messages"].values():
        assert f"[{json.loads(message)['headers']['id']}] succeeded" in log


def test_a_key_of_the_recording_still_names_its_job(stack: Stack) -> None:
    """Asked again with the same idempotency key, the job of the other release is the answer."""
    again = stack.submit(prompt="succeeded", idempotency_key="order-1")
    assert again.id == JOBS["succeeded"]


def test_what_a_newer_release_added_is_still_there(stack: Stack, request: pytest.FixtureRequest) -> None:
    """Fields, keys and lines that today's release does not know have lived through a whole life of a job."""
    if "newer" not in request.node.callspec.id:
        assert stack.redis.hget(stack.keys.job(JOBS["queued"]), "mood") is None
        return
    for name, job_id in JOBS.items():
        fields: Any = stack.redis.hgetall(stack.keys.job(job_id))
        assert (fields["mood"], fields["review"]) == ("calm", '{"by": "nobody"}'), name
        assert fields["spec"] == _newer_spec(_fields(name)["spec"])
        receipts = [purchase.get("receipt") for purchase in json.loads(fields.get("purchases", "[]"))]
        assert receipts == (["r-1"] if "purchases" in _fields(name) else [None] * len(receipts))
        assert '{"kind": "note"}' in fields["events"].split("\n")
        assert stack.queue.get(job_id).events[0].state == "queued"
