"""Writes down jobs of this release as a server holds them, for `support.recorded`; once per schema version.

    REDIS_URL=redis://127.0.0.1:1 PYTHONPATH=tests python -m support.record_jobs tests/data/record_v2.json

A real worker brings jobs into as many states as it can and is killed there; then every key of theirs is written down,
with one Celery message of each step. (The worker's configuration wants an address, which is not used.)
"""

from __future__ import annotations

import base64
import json
import re
import socket
import sys
import tempfile
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from ulid import ULID

from motionq import Job, Settings
from motionq.contract.durability import server_identity
from motionq.contract.job import SCHEMA_VERSION
from motionq_worker.app import make_app
from motionq_worker.publisher import Publisher
from support.films import picture
from support.recorded import PUBLIC
from support.stack import Stack
from support.waiting import eventually

_UPLOADING = (2, 9, 9)  # the colour of an image
_HOUR = 3600.0  # seconds
_QUEUES = ("start", "upload", "submit", "check", "deliver")
_KEPT = re.compile(r"motionq:((job|idempotency|task|due|line|state|upload):.*|tenants|turn|ended|slots|spent)")
_DUMP = """
local read = {
  hash = function(k) return redis.call('HGETALL', k) end,
  zset = function(k) return redis.call('ZRANGE', k, 0, -1, 'WITHSCORES') end,
  string = function(k) return {redis.call('GET', k)} end,
}
local found = {}
for _, name in ipairs(redis.call('KEYS', 'motionq:*')) do
  local kind = redis.call('TYPE', name).ok
  if read[kind] then found[#found + 1] = {name, kind, read[kind](name), redis.call('PEXPIRETIME', name)} end
end
return found
"""


def record(folder: Path) -> dict[str, Any]:
    """Jobs named by their situation (their prompt), all of one release."""
    settings = {
        "MOTIONQ_PUBLIC_BASE_URL": PUBLIC,
        "MOTIONQ_MAX_IN_FLIGHT": "4",
        "MOTIONQ_RESULTS_URL": "none",
        "MOTIONQ_READ_TIMEOUT": "5m",
    }
    vendor = {"rate_limit": "off", "render": "none"}
    with Stack(folder, appendfsync="everysec", sandbox=vendor, **settings) as stack:
        jobs = _into_their_states(stack)
        found = {
            "schema_version": SCHEMA_VERSION,
            "at": stack.store.now(),
            "jobs": {name: job.id for name, job in jobs.items()},
            "image": base64.b64encode(picture(colour=_UPLOADING)).decode(),  # of the job that is being uploaded
            "messages": _messages(stack, jobs),
            "keys": _keys(stack),
        }
        return dict(json.loads(_impersonal(json.dumps(found), stack, jobs)))


def _into_their_states(stack: Stack) -> dict[str, Job]:
    for fault, call, prompt in (
        ("code_422", "createTask", "failed"),
        ("silent", "generation", "running"),
        ("silent", "generation", "cancelling"),
        ("reset", "createTask", "unknown"),
    ):
        stack.vendor.add_fault(fault, call, match={"prompt": prompt})
    jobs = {"succeeded": stack.submit(prompt="succeeded", idempotency_key="order-1", labels={"order": "1"})}
    stack.finished(jobs["succeeded"])
    for name in ("failed", "running", "cancelling", "unknown"):
        jobs[name] = stack.submit(prompt=name, tenant="other", priority="high")
    stack.in_state(jobs["failed"], "failed")
    stack.in_state(jobs["running"], "running")
    stack.in_state(jobs["cancelling"], "running")
    stack.queue.cancel(jobs["cancelling"].id)
    stack.in_state(jobs["unknown"], "submit_unknown")
    stack.vendor.add_fault("hang", "upload", times=None)
    for name, colour in (("cancelled", (1, 9, 9)), ("uploading", _UPLOADING)):
        jobs[name] = stack.submit(prompt=name, image=picture(colour=colour))
        stack.in_state(jobs[name], "uploading")
    stack.queue.cancel(jobs["cancelled"].id)
    _delivering(stack, jobs)
    jobs["armed"] = stack.submit(prompt="armed")
    stack.in_state(jobs["armed"], "armed")
    jobs["ready"] = stack.submit(prompt="ready", deadline=timedelta(days=1))
    stack.in_state(jobs["ready"], "ready")
    stack.workers[0].kill()
    stack.in_state(jobs["armed"], "armed")
    jobs["queued"] = stack.submit(prompt="queued", labels={"order": "2"})
    return jobs


def _delivering(stack: Stack, jobs: dict[str, Job]) -> None:
    """A worker that keeps results fetches this one, which is not there."""
    stack.workers[0].kill()
    stack.vendor.add_fault("result_404", "result", times=None)
    stack.add_worker(MOTIONQ_RESULTS_URL=f"file://{stack.folder}/results")
    jobs["delivering"] = stack.submit(prompt="delivering")
    eventually(lambda: stack.store.get(jobs["delivering"].id).tries, timeout=60)
    stack.workers.pop().kill()
    stack.workers.clear()
    stack.add_worker()


def _messages(stack: Stack, jobs: Mapping[str, Job]) -> dict[str, str]:
    """What a clock publishes; the alarms then ring in an hour, so that only these messages make the steps run."""
    queues = {queue: stack.keys.queue(queue) for queue in _QUEUES}
    started = stack.redis.lindex(queues["start"], 0)
    stack.redis.delete(*queues.values())
    publisher = Publisher(make_app(Settings(redis_url=stack.server.url)))
    for step, name in (("upload", "queued"), ("submit", "armed"), ("deliver", "delivering")):
        stack.redis.zadd(stack.keys.due(step), {jobs[name].id: 0})
        (claim,) = stack.store.claim(step, room=1, lease=_HOUR)
        assert claim.job_id == jobs[name].id
        publisher.steps([claim])
    looked_at = [jobs["running"].id, jobs["cancelling"].id]
    stack.redis.zadd(stack.keys.due("check"), dict.fromkeys(looked_at, stack.store.now() + int(_HOUR * 1000)))
    publisher.checks([(f"check.{str(ULID()).lower()}", looked_at)])
    waiting = {queue: stack.redis.lrange(name, 0, -1) for queue, name in queues.items()}
    assert {queue: len(rows) for queue, rows in waiting.items()} == {"start": 0} | dict.fromkeys(_QUEUES[1:], 1)
    return {"start": str(started)} | {queue: rows[0] for queue, rows in waiting.items() if rows}


def _keys(stack: Stack) -> list[dict[str, Any]]:
    rows: Any = stack.redis.eval(_DUMP, 0)
    kept = sorted(row for row in rows if _KEPT.fullmatch(row[0]))
    return [dict(zip(("name", "type", "value", "ends"), row, strict=True)) for row in kept]


def _impersonal(text: str, stack: Stack, jobs: Mapping[str, Job]) -> str:
    """Names in capitals for what is another one in every test: addresses, tasks, the server, the machine."""
    names = {"SERVER": server_identity(stack.redis), "VENDOR": stack.vendor.url, "FILES": stack.vendor.files_url}
    for name, job in jobs.items():
        record = stack.store.get(job.id)
        if record.task_id:
            names |= {"IMAGE_URL": record.image_url, "VIDEO_URL": record.video_url}
            names[f"TASK_{name.upper()}"] = record.task_id
        if name == "delivering":
            names["RESULT_URL"] = record.verdict["urls"][0]
    for name, value in sorted(names.items(), key=lambda pair: -len(pair[1])):  # FILES is a part of addresses
        text = text.replace(value, f"<{name}>")
    return text.replace(f"@{socket.gethostname()}", "@<HOST>")  # a short name may be a part of an ID


if __name__ == "__main__":
    target = Path(sys.argv[1])
    if target.exists():
        sys.exit(f"{target} is kept for ever: write a new one beside it")
    with tempfile.TemporaryDirectory() as place:
        target.write_text(json.dumps(record(Path(place)), indent=1) + "\n", encoding="utf-8")
