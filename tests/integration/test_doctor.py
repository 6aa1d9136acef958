"""`motionq doctor` against real servers, storage, receivers and processes; what it mends is held against the rules."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import OutOfMemoryError

from motionq.contract.settings import Settings
from motionq.contract.store import JobStore
from motionq_ops.doctor.findings import Finding, Level
from motionq_ops.doctor.hosts import judge_host, look_at_hosts
from motionq_ops.doctor.indexes import judge_survey, survey
from motionq_ops.doctor.public import judge_public, look_at_public
from motionq_ops.doctor.queues import judge_queues, look_at_queues
from motionq_ops.doctor.server import judge_server
from motionq_ops.doctor.server_facts import look_at_server
from motionq_ops.doctor.storage import judge_storage, look_at_storage
from motionq_ops.doctor.unsettled import judge_unsettled, look_at_unsettled
from motionq_ops.plan import without_settings
from motionq_ops.redis_server import RedisServer
from motionq_worker.startup import look_at_the_server
from support.command import WHOLE, Answer, Command
from support.invariants import violations
from support.life import FAILURE, SITUATIONS, Life, life
from support.own_server import own_server
from support.receiver import ReceiverProcess
from support.shared import nursery
from support.stack import Stack
from support.waiting import eventually

ALONE = {"ready", "ready, not sent", "ready, refused", "ready, refunded", "queued, refused"}  # else the gate arms them


@pytest.fixture
def jobs(redis_url: str, namespace: str) -> Iterator[Life]:
    with life(redis_url, namespace) as lived:
        yield lived


def _bad(findings: Any) -> list[tuple[str, str]]:
    return [(f.check, f.level.value) for f in findings if f.level is not Level.OK]


def _kinds(jobs: Life, *, fix: bool) -> dict[str, int]:
    return dict(survey(jobs.store, fix=fix, lease=20.0).counts)


def _violations(jobs: Life, ids: list[str]) -> list[str]:
    """By the checker that the rest of the suite uses, which shares no code with the doctor."""
    tenants = [*{record.tenant for record in jobs.store.get_many(ids)}, "stranger"]
    return list(violations(jobs.redis, jobs.keys, jobs=ids, tenants=tenants, cap=100, rate=100))


def _money(jobs: Life) -> dict[str, Any]:
    """What --fix must never touch: records (but for their history), slots, rate slots, the day's books, the gate."""
    whole = jobs.everything()
    names = [f"{jobs.keys.namespace}:{name}" for name in ("slots", "rate", "spent", "gate", "turn", "candidates")]
    fields = {
        name: dict(zip(flat[::2], flat[1::2], strict=True)) for name, (flat, _) in whole.items() if ":job:" in name
    }
    records = {name: {k: v for k, v in record.items() if k != "events"} for name, record in fields.items()}
    return records | {name: value for name, (value, _) in whole.items() if name in names}


# -- the server -------------------------------------------------------------------------------------------------------
@pytest.mark.redis_server
def test_a_misconfigured_server_is_seen_by_the_doctor_and_by_a_worker(
    server: RedisServer, request: pytest.FixtureRequest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each setting is read from the server itself, also by a user who may not use CONFIG; a worker then only warns."""
    with (
        own_server(request, tmp_path / "own", options={"rdbcompression": "no"}) as own,
        life(own.url, "motionq") as jobs,
    ):
        assert _bad(judge_server(look_at_server(jobs.redis))) == []

        for name, value, found in [
            ("maxmemory-policy", "allkeys-lru", ("eviction", "error")),
            ("appendfsync", "no", ("persistence", "warning")),
            ("auto-aof-rewrite-percentage", "0", ("persistence", "warning")),
            ("maxmemory", "1mb", ("memory", "error")),
        ]:
            before = jobs.redis.config_get(name)[name]
            jobs.redis.config_set(name, value)
            assert _bad(judge_server(look_at_server(jobs.redis))) == [found]
            jobs.redis.config_set(name, before)

        jobs.redis.acl_setuser("hosted", enabled=True, passwords=["+p"], keys=["*"], commands=["+@all", "-config"])
        with Redis.from_url(own.url, username="hosted", password="p", decode_responses=True) as hosted:
            assert _bad(judge_server(look_at_server(hosted))) == [("persistence", "warning")]
            assert look_at_the_server(JobStore(hosted, jobs.keys), "api.kie.ai")
            assert caplog.messages == []

        jobs.redis.acl_setuser(
            "blind", enabled=True, passwords=["+p"], keys=["*"], commands=["+@all", "-config", "-info"]
        )
        with Redis.from_url(own.url, username="blind", password="p", decode_responses=True) as blind:
            assert look_at_the_server(JobStore(blind, jobs.keys), "api.kie.ai")
        assert [re.split(r" is:| \(", message)[0] for message in caplog.messages] == [
            "the queue's server does not say what its maxmemory-policy",
            "the queue's server does not say what its appendonly",
            "the queue's server does not say who it is",
        ]
        caplog.clear()

        jobs.redis.config_set("appendonly", "no")
        assert _bad(judge_server(look_at_server(jobs.redis))) == [("persistence", "error")]
        assert look_at_the_server(jobs.store, "api.kie.ai")
        assert [message.rpartition("; ")[2] for message in caplog.messages] == ["set `appendonly yes`"]


def test_a_worker_refuses_a_server_that_evicts_now_or_when_it_is_back(tmp_path: Path) -> None:
    """It ends with code 2 and one sentence, also if the server was away when the worker started."""
    server = RedisServer(tmp_path / "server", options={"maxmemory-policy": "allkeys-lru"})
    environment = without_settings(os.environ) | {
        "REDIS_URL": server.url,
        "KIE_API_KEY": "key",
        "MOTIONQ_DATA_DIR": str(tmp_path),
    }
    command = ["celery", "-A", "motionq_worker.app", "worker"]
    logs = [tmp_path / "early.log", tmp_path / "late.log"]
    workers = [nursery().start(command, environment, logs[0])]
    try:
        eventually(lambda: logs[0].exists() and "trying until it answers" in logs[0].read_text(), 30)
        with server:
            workers.append(nursery().start(command, environment, logs[1]))
            for worker, log in zip(workers, logs, strict=True):
                assert eventually(worker.code, 60) == 2
                said = log.read_text()
                assert "motionq: the queue's server throws records away" in said
                assert "maxmemory-policy is allkeys-lru" in said
                assert "Traceback" not in said
    finally:
        for worker in workers:
            worker.kill()


# -- jobs without alarms, alarms without jobs -------------------------------------------------------------------------
Break = Callable[[Life, str], Any]
# kind -> (the situation of the job, what somebody does to its keys)
BROKEN: dict[str, tuple[str, str, Break]] = {
    "a running job without an alarm": ("asleep", "running", lambda j, i: j.redis.zrem(j.keys.due("check"), i)),
    "an armed job without an alarm": ("asleep", "armed", lambda j, i: j.redis.delete(j.keys.due("submit"))),
    "an unknown job without an alarm": ("asleep", "submit_unknown", lambda j, i: j.redis.zrem(j.keys.due("submit"), i)),
    "an uploading job without an alarm": ("asleep", "uploading", lambda j, i: j.redis.zrem(j.keys.due("upload"), i)),
    "a ready job in no line": ("asleep", "ready", lambda j, i: j.redis.delete(j.keys.line("default"), j.keys.tenants)),
    "a line that the gate does not know": ("unserved", "ready", lambda j, i: j.redis.delete(j.keys.tenants)),
    "an unlisted job": ("unlisted", "queued", lambda j, i: j.redis.zrem(j.keys.state("queued"), i)),
    "a finished job that is never forgotten": ("unlisted", "succeeded", lambda j, i: j.redis.zrem(j.keys.ended, i)),
    "a finished job with an alarm": ("misplaced", "succeeded", lambda j, i: j.redis.zadd(j.keys.due("check"), {i: 1})),
    "a job with two alarms": ("misplaced", "running", lambda j, i: j.redis.zadd(j.keys.due("deliver"), {i: 1})),
    "a job in two states": ("misplaced", "running", lambda j, i: j.redis.zadd(j.keys.state("failed"), {i: 1})),
    "a running job in its line": (
        "misplaced",
        "running",
        lambda j, i: (j.redis.zadd(j.keys.line("default"), {i: 1}), j.redis.zadd(j.keys.tenants, {"default": 1})),
    ),
    "a charged job out of sight": (
        "unlisted",
        "failed, unknown",
        lambda j, i: j.redis.zrem(j.keys.unsettled, i),
    ),
    "a job in sight for nothing": (
        "misplaced",
        "failed, refused",
        lambda j, i: j.redis.zadd(j.keys.unsettled, {i: 1}),
    ),
    "an unsettled one without a job": (
        "stray",
        "running",
        lambda j, i: j.redis.zadd(j.keys.unsettled, {"ghost": 1}),
    ),
    "an unfinished job in `ended`": ("misplaced", "running", lambda j, i: j.redis.zadd(j.keys.ended, {i: 9e15})),
    "a ready job in a stranger's line": (
        "misplaced",
        "ready",
        lambda j, i: (j.redis.zadd(j.keys.line("stranger"), {i: 1}), j.redis.zadd(j.keys.tenants, {"stranger": 1})),
    ),
    "an unfinished job that expires": ("expiring", "running", lambda j, i: j.redis.expire(j.keys.job(i), 1000)),
    "an alarm without a job": ("stray", "running", lambda j, i: j.redis.zadd(j.keys.due("upload"), {"ghost": 1})),
    "an index without a job": ("stray", "running", lambda j, i: j.redis.zadd(j.keys.state("running"), {"ghost": 1})),
    "an end without a job": ("stray", "running", lambda j, i: j.redis.zadd(j.keys.ended, {"ghost": 9e15})),
    "a line without a job": (
        "stray",
        "running",
        lambda j, i: (
            j.redis.zadd(j.keys.line("stranger"), {"ghost": 1}),
            j.redis.zadd(j.keys.tenants, {"stranger": 1}),
        ),
    ),
    "a tenant without a line": ("stray", "running", lambda j, i: j.redis.zadd(j.keys.tenants, {"stranger": 1})),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_broken_set_is_found_and_mended(jobs: Life, name: str) -> None:
    """The doctor names the kind; --fix alone mends it, as an independent checker sees; no record or slot is touched."""
    kind, situation, damage = BROKEN[name]
    jobs.reach("succeeded", "other", tenant="t")
    jobs.reach(situation, "j1")
    assert _violations(jobs, ["j1", "other"]) == []
    money = _money(jobs)

    damage(jobs, "j1")
    assert _violations(jobs, ["j1", "other"]) != []
    broken = jobs.everything()
    assert _kinds(jobs, fix=False) == {kind: 1}
    assert jobs.everything() == broken
    assert _bad(judge_survey(survey(jobs.store, fix=True, lease=20.0))) == []

    assert _violations(jobs, ["j1", "other"]) == []
    assert _kinds(jobs, fix=False) == {}
    assert _money(jobs) == money


def test_a_mended_alarm_leaves_a_step_that_may_be_under_way_its_time(jobs: Life) -> None:
    """A POST keeps the time for its answer, a transfer a lease; everything else is looked at now. The job says so."""
    for situation in ("uploading", "submitting", "running"):
        jobs.reach(situation, situation, tenant=situation)
    for step in ("upload", "submit", "check"):
        jobs.redis.delete(jobs.keys.due(step))
    began = jobs.store.now()
    assert _kinds(jobs, fix=True) == {"asleep": 3}

    alarm = {
        s: jobs.redis.zscore(jobs.keys.due(step), s) for s, step in (("uploading", "upload"), ("running", "check"))
    }
    assert began + 20_000 <= alarm["uploading"] <= jobs.store.now() + 20_000
    assert began <= alarm["running"] <= jobs.store.now()
    sending = jobs.redis.zscore(jobs.keys.due("submit"), "submitting")
    assert sending == jobs.store.get("submitting").sent_until > began
    assert jobs.store.get("running").events[-1].step == "doctor"


def test_a_damage_of_many_jobs_is_mended_in_batches(jobs: Life) -> None:
    """Every alarm and every index of 250 jobs is gone, and 250 strays lie about: one walk puts all in order."""
    ids = [f"j{n}" for n in range(250)]
    for job_id in ids:
        jobs.create(job_id)
    jobs.redis.delete(jobs.keys.due("upload"), jobs.keys.state("queued"))
    jobs.redis.zadd(jobs.keys.due("deliver"), {f"ghost{n}": 1 for n in range(250)})

    assert _kinds(jobs, fix=True) == {"asleep": 250, "unlisted": 250, "stray": 250}
    assert _violations(jobs, ids) == []
    assert _kinds(jobs, fix=True) == {}


def test_a_full_server_is_mended_too(tmp_path: Path) -> None:
    """Where the server refuses whatever adds, alarms are still put back: jobs under way must go on."""
    with RedisServer(tmp_path) as full, life(full.url, "motionq") as jobs:
        jobs.reach("running", "j1")
        jobs.redis.delete(jobs.keys.due("check"))
        jobs.redis.config_set("maxmemory", "1mb")
        with pytest.raises(OutOfMemoryError):
            jobs.redis.set("x", "y")
        assert _kinds(jobs, fix=True) == {"asleep": 1}
        assert _violations(jobs, ["j1"]) == []


def test_a_record_that_cannot_be_read_is_told_and_left_alone(jobs: Life) -> None:
    """Of a newer version, or damaged: nothing of it is guessed, and the jobs beside it are mended."""
    jobs.reach("running", "newer", tenant="a")
    jobs.reach("running", "damaged", tenant="b")
    jobs.reach("running", "sound", tenant="c")
    jobs.redis.hset(jobs.keys.job("newer"), "state", "polishing")
    jobs.redis.hset(jobs.keys.job("damaged"), "purchases", "[{")
    jobs.redis.delete(jobs.keys.due("check"))
    before = [jobs.record_fields(i) for i in ("newer", "damaged")]

    assert _kinds(jobs, fix=True) == {"unreadable": 2, "asleep": 1}
    assert jobs.redis.zrange(jobs.keys.due("check"), 0, -1) == ["sound"]
    assert [jobs.record_fields(i) for i in ("newer", "damaged")] == before


SLOTS: dict[str, tuple[str, str]] = {
    "slot_settled": ("failed, refused", "own"),
    "slot_kept": ("failed, unknown", "own"),
    "slot_early": ("ready, refused", "own"),
    "slot_lost": ("running", "f" * 40),
}


@pytest.mark.parametrize("kind", SLOTS)
def test_a_slot_comes_back_only_where_the_purchase_is_settled_for_sure(jobs: Life, kind: str) -> None:
    """Of a finished job with a settled purchase; one that is open, of a job that goes on, or unknown stays taken."""
    situation, nonce = SLOTS[kind]
    record = jobs.reach(situation, "j1")
    held = set(jobs.redis.zrange(jobs.keys.slots, 0, -1))
    leaked = f"j1:{record.nonce if nonce == 'own' else nonce}"
    jobs.redis.zadd(jobs.keys.slots, {leaked: 1})

    assert _kinds(jobs, fix=False) == _kinds(jobs, fix=True) == {kind: 1}
    assert set(jobs.redis.zrange(jobs.keys.slots, 0, -1)) == (held if kind == "slot_settled" else held | {leaked})


def test_a_purchase_under_way_without_a_slot_is_told(jobs: Life) -> None:
    """Nothing is given or taken: it ends with the job."""
    jobs.reach("submitting", "j1")
    jobs.redis.delete(jobs.keys.slots)
    assert _kinds(jobs, fix=True) == {"slotless": 1}
    assert not jobs.redis.exists(jobs.keys.slots)


# -- charged jobs -----------------------------------------------------------------------------------------------------
def test_jobs_that_need_a_person_are_an_error_with_their_names(jobs: Life) -> None:
    """The oldest three with their reasons, how many there are, and nothing of those that the vendor has forgotten."""
    assert judge_unsettled(look_at_unsettled(jobs.store)).level is Level.OK
    for n in range(4):
        jobs.reach("failed, unknown", f"j{n}")
        jobs.redis.hset(jobs.keys.job(f"j{n}"), "failure", FAILURE)
        jobs.redis.zincrby(jobs.keys.unsettled, n - 10, f"j{n}")
    jobs.reach("failed, silent", "old")
    jobs.redis.zincrby(jobs.keys.unsettled, -14 * 86_400_000 - 1, "old")
    found = judge_unsettled(look_at_unsettled(jobs.store))

    assert (found.level, found.value) == (Level.ERROR, 4)
    assert found.what == "failed jobs that were charged, or may have been: 4 (j0 some, j1 some, j2 some, …)"
    assert found.why
    assert "motionq attach JOB TASK_ID" in found.mend


# -- a healthy queue --------------------------------------------------------------------------------------------------
def test_nothing_is_changed_where_nothing_is_wrong(jobs: Life) -> None:
    """Jobs in every situation, a finished one whose record is gone in its time, callbacks: --fix writes nothing."""
    for n, situation in enumerate(s for s in SITUATIONS if s not in ALONE):
        jobs.reach(situation, f"j{n}", tenant=f"t{n}")
    unknown = jobs.reach("submit_unknown", "named", tenant="t99")
    jobs.store.name_task("named", unknown.nonce, "T")
    jobs.reach("succeeded", "over", tenant="t98")
    jobs.redis.delete(jobs.keys.job("over"))  # it has expired, and the clock has not looked yet
    jobs.redis.zadd(jobs.keys.ended, {"over": jobs.store.now()})
    jobs.reach("ready", "waits", tenant="t97")
    before = jobs.everything()

    assert _kinds(jobs, fix=True) == {}
    assert jobs.everything() == before


def test_beside_jobs_that_move_nothing_is_found(jobs: Life) -> None:
    """While 60 jobs go through their whole life, the doctor walks over them again and again, and finds all in order."""
    ids = [f"j{n}" for n in range(60)]
    walks: list[dict[str, int]] = []
    fault: list[BaseException] = []

    def live() -> None:
        try:
            for job_id in ids:
                jobs.reach("succeeded" if int(job_id[1:]) % 3 else "cancelled, paid", job_id, tenant=f"t{job_id}")
        except BaseException as error:
            fault.append(error)

    thread = threading.Thread(target=live)
    thread.start()
    while thread.is_alive():
        walks.append(_kinds(jobs, fix=True))
    thread.join()

    assert fault == []
    assert len(walks) >= 3
    assert [walk for walk in walks if walk] == []
    assert _violations(jobs, ids) == []


# -- storage, hosts, callbacks ----------------------------------------------------------------------------------------
def test_storage_is_written_read_and_left_clean(tmp_path: Path) -> None:
    """Both places work and hold no file afterwards; one that can't be a folder is an error that names its setting."""
    good = Settings(staging_url=f"file://{tmp_path}/staging", results_url=f"file://{tmp_path}/results")
    assert [judge_storage(facts).level for facts in look_at_storage(good)] == ["ok", "ok"]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []

    (tmp_path / "file").write_text("in the way")
    bad = Settings(staging_url=f"file://{tmp_path}/file/staging", results_url="nothing://bucket")
    staging, results = [judge_storage(facts) for facts in look_at_storage(bad)]
    assert staging.what.startswith(f"MOTIONQ_STAGING_URL, file://{tmp_path}/file/staging: ")
    assert (staging.level, staging.what.endswith("Not a directory")) == ("error", True)
    assert (results.level, results.what.partition(",")[0]) == ("error", "MOTIONQ_RESULTS_URL")
    assert [s.setting for s in look_at_storage(Settings(staging_url=f"file://{tmp_path}", results_url="none"))] == [
        "MOTIONQ_STAGING_URL"
    ]


@contextmanager
def _anybody() -> Iterator[str]:
    """A server that answers 200 to everything, with the words of a receiver that takes a callback in."""

    class Yes(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = b'{"code":200,"msg":"success"}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Yes) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def _probed(jobs: Life, url: str) -> Finding:
    settings = Settings(public_base_url=url, kie_base_url="http://127.0.0.1:1")
    found = judge_public(settings, look_at_public(settings, jobs.store))
    assert jobs.redis.keys(f"{jobs.keys.namespace}:probe:*") == []  # no secret is left behind
    return found


def test_only_our_receiver_on_our_server_proves_itself(jobs: Life, redis_url: str, tmp_path: Path) -> None:
    """A real receiver does; one of another namespace, a server that says yes to all, and no server at all do not."""
    environment = without_settings(os.environ) | {"REDIS_URL": redis_url, "MOTIONQ_DATA_DIR": str(tmp_path)}
    ours = environment | {"MOTIONQ_NAMESPACE": jobs.keys.namespace}
    with ReceiverProcess(tmp_path, ours) as receiver:
        found = _probed(jobs, receiver.url)
        assert (found.level, found.what) == ("ok", f"{receiver.url} leads to our receiver")
        with life(redis_url, f"{jobs.keys.namespace}x") as another:
            elsewhere = _probed(another, receiver.url)
        assert (elsewhere.level, elsewhere.value) == ("error", 404)
        assert jobs.redis.llen(jobs.keys.orphans) == 0
    assert _probed(jobs, receiver.url).level == "error"

    with _anybody() as url:
        foreign = _probed(jobs, url)
        hosts = look_at_hosts(Settings(kie_base_url=url, kie_upload_base_url="http://no-such-host.invalid"))
    assert (foreign.level, foreign.value) == ("error", 200)
    assert "somebody else answers" in foreign.what
    assert [judge_host(name, *seen).level for name, seen in hosts.items()] == ["ok", "error"]
    assert hosts["KIE_UPLOAD_BASE_URL"][1].failed == "name"


# -- the verb ---------------------------------------------------------------------------------------------------------
def _doctor(folder: Path, redis_url: str, *options: str, **environment: str) -> Answer:
    """The verb as people run it, in an empty folder and with nothing of the developer's environment."""
    return Command(folder, redis_url, "motionq").run(WHOLE, "doctor", *options, **environment)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One worker, and the sandbox as the vendor."""
    with Stack(tmp_path_factory.mktemp("doctor")) as running:
        yield running


def test_a_healthy_stack_is_told_to_be_well(stack: Stack, tmp_path: Path) -> None:
    """Every check is made, all are well, and the exit code is 0; no secret is printed."""
    environment = {name: value for name, value in stack.environment.items() if name.startswith(("MOTIONQ_", "KIE_"))}
    eventually(lambda: stack.redis.zcard(stack.keys.workers) == 1, 30)
    with ReceiverProcess(tmp_path, stack.environment) as receiver:
        told = _doctor(tmp_path, stack.server.url, "--json", **environment, MOTIONQ_PUBLIC_BASE_URL=receiver.url)
    (report,) = told.jsons
    assert [f for f in report["findings"] if f["level"] != "ok"] == []  # type: ignore[attr-defined]
    assert (told.code, told.err, report["worst"]) == (0, "", "ok")
    checks = [f["check"] for f in report["findings"]]  # type: ignore[attr-defined]
    assert set(checks) == {
        *("server", "persistence", "eviction", "memory", "clock", "indexes", "workers", "queues", "gate"),
        *("callbacks", "vendor", "account", "storage", "settings", "charged jobs"),
    }
    assert stack.vendor.api_key not in told.out


def test_a_queue_that_no_worker_takes_from_is_told(stack: Stack) -> None:
    """Workers of some queues alone leave the others without a consumer: they are asked, a sign of life won't do."""
    with life(stack.server.url, "partly") as jobs:
        environment = stack.environment | {"MOTIONQ_NAMESPACE": "partly"}
        settings = Settings(redis_url=stack.server.url, namespace="partly")
        assert _bad(judge_queues(look_at_queues(settings, jobs.store))) == [("workers", "warning")]
        command = ["celery", "-A", "motionq_worker.app", "worker", "-Q", "partly.upload,partly.check"]
        worker = nursery().start(command, environment, stack.folder / "partly.log")
        try:
            eventually(lambda: jobs.redis.zcard(jobs.keys.workers) == 1, 30)
            facts = eventually(lambda: _answered(look_at_queues(settings, jobs.store)), 30)
        finally:
            worker.kill()
    assert facts.consumers == {"start": 0, "upload": 1, "submit": 0, "check": 1, "deliver": 0}
    assert _bad(judge_queues(facts)) == [("queues", "warning")] * 3


def _answered(facts: Any) -> Any:
    return facts if facts.consumers else None


def test_without_a_server_the_rest_is_still_looked_at(tmp_path: Path) -> None:
    """Exit code 5, and findings about vendor, account, storage and settings beside the one about the server."""
    nobody = f"unix://{tmp_path}/nobody.sock"
    away = {"KIE_BASE_URL": "http://127.0.0.1:1", "KIE_UPLOAD_BASE_URL": "http://127.0.0.1:1"}
    told = _doctor(tmp_path, nobody, "--json", **away)
    (report,) = told.jsons
    checks = [finding["check"] for finding in report["findings"]]  # type: ignore[attr-defined]
    assert (told.code, report["worst"]) == (5, "error")
    assert checks == ["server", "vendor", "vendor", "account", "storage", "storage", "settings"]

    text = _doctor(tmp_path, nobody, **away)
    assert (text.code, text.err) == (5, "")
    assert "mend: set KIE_API_KEY, or KIE_API_KEY_FILE" in text.out


def test_settings_that_cannot_be_read_are_told_as_by_every_verb(tmp_path: Path) -> None:
    """Exit code 2, and the error object names the setting."""
    wrong = _doctor(tmp_path, "unix:///nobody.sock", "--json", MOTIONQ_TICK="soon")
    assert (wrong.code, wrong.error["kind"]) == (2, "invalid_settings")
    assert str(wrong.error["message"]).startswith("MOTIONQ_TICK: 'soon' is not a duration")


def test_fix_on_the_command_line(jobs: Life, redis_url: str, tmp_path: Path) -> None:
    """Without --fix the damage is an error and stays; with it, it is told as mended, and the alarm is back."""
    jobs.reach("running", "j1")
    jobs.redis.delete(jobs.keys.due("check"))
    environment = {"MOTIONQ_NAMESPACE": jobs.keys.namespace, "KIE_BASE_URL": "http://127.0.0.1:1"}
    environment["KIE_UPLOAD_BASE_URL"] = "http://127.0.0.1:1"
    seen = _doctor(tmp_path, redis_url, **environment)
    assert seen.code == 1
    assert "unfinished jobs in no line and no due set: 1 (j1 in due:check)" in seen.out
    assert not jobs.redis.exists(jobs.keys.due("check"))

    mended = _doctor(tmp_path, redis_url, "--fix", **environment)
    assert "mended: unfinished jobs in no line and no due set: 1 (j1 in due:check)" in mended.out
    assert jobs.redis.zrange(jobs.keys.due("check"), 0, -1) == ["j1"]
