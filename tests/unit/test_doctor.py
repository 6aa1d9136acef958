"""What the doctor makes of facts: pure judgements, without any I/O."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from motionq.contract.durability import Keeping
from motionq.contract.errors import InvalidSettings
from motionq.contract.keys import QUEUES
from motionq.contract.settings import Settings
from motionq.gate import GateStatus
from motionq_ops.doctor.account import DEAREST, AccountFacts, judge_account
from motionq_ops.doctor.findings import Exit, Finding, Level, error, exit_code, ok, warning, worst
from motionq_ops.doctor.gate import judge_gate
from motionq_ops.doctor.hosts import judge_host
from motionq_ops.doctor.indexes import Survey, Wrong, judge_survey
from motionq_ops.doctor.kinds import KINDS
from motionq_ops.doctor.mistakes import judge_settings, local, most_in
from motionq_ops.doctor.public import inside, judge_public, proves
from motionq_ops.doctor.queues import QueueFacts, judge_queues
from motionq_ops.doctor.report import object_of, summary, table_of
from motionq_ops.doctor.server import MB, judge_server
from motionq_ops.doctor.server_facts import ServerFacts
from motionq_ops.doctor.storage import StorageFacts, judge_storage
from motionq_ops.doctor.web import Exchange
from motionq_worker.startup import judged

KEEPS = Keeping(append_only=True, policy="noeviction")
OUTSIDE = ("93.184.216.34",)


def _facts(**given: Any) -> ServerFacts:
    usual = {"product": "Redis", "version": "8.2.3", "keeping": KEEPS, "used": 100 * MB, "machine": 8192 * MB}
    return ServerFacts(**(usual | given))


def _queues(**given: Any) -> QueueFacts:
    usual: dict[str, Any] = {
        "workers": ("w1@host",),
        "consumers": dict.fromkeys(QUEUES, 1),
        "waiting": {},
        "late": {},
        "unfinished": 3,
    }
    return QueueFacts(**(usual | given))


def _bad(findings: Any) -> list[tuple[str, str]]:
    return [(f.check, f.level.value) for f in findings if f.level is not Level.OK]


# -- the server -------------------------------------------------------------------------------------------------------
def test_a_server_as_it_should_be_has_no_findings() -> None:
    """Five checks, all well."""
    findings = list(judge_server(_facts()))
    assert [f.check for f in findings] == ["server", "persistence", "eviction", "memory", "clock"]
    assert _bad(findings) == []


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"version": "6.0.16"}, ("server", "error")),
        ({"product": "Valkey", "version": "7.0.1"}, ("server", "error")),
        ({"cluster": True}, ("server", "error")),
        ({"role": "slave"}, ("server", "error")),
        ({"keeping": Keeping(False, "noeviction")}, ("persistence", "error")),
        ({"keeping": Keeping(False, "noeviction"), "replicas": 1}, ("persistence", "warning")),
        ({"keeping": Keeping(None, "noeviction")}, ("persistence", "warning")),
        ({"appendfsync": "no"}, ("persistence", "warning")),
        ({"appendfsync": None}, ("persistence", "warning")),
        ({"keeping": Keeping(True, "noeviction", rewrites_unsynced=True)}, ("persistence", "warning")),
        ({"rewrite_percentage": "0"}, ("persistence", "warning")),
        ({"delayed_syncs": 3}, ("persistence", "warning")),
        ({"append_written": False}, ("persistence", "error")),
        ({"snapshot_written": False}, ("persistence", "error")),
        ({"append_rewritten": False}, ("persistence", "warning")),
        ({"keeping": Keeping(True, "allkeys-lru")}, ("eviction", "error")),
        ({"keeping": Keeping(True, "volatile-ttl")}, ("eviction", "error")),
        ({"keeping": Keeping(True, None)}, ("eviction", "warning")),
        ({"evicted": 7}, ("eviction", "warning")),
        ({"limit": 117 * MB}, ("memory", "error")),
        ({"limit": 118 * MB}, ("memory", "warning")),
        ({"limit": 142 * MB}, ("memory", "warning")),
        ({"used": MB, "limit": 63 * MB}, ("memory", "warning")),
        ({"used": 6000 * MB}, ("memory", "warning")),
        ({"skew": 2.1}, ("clock", "warning")),
        ({"skew": -61.0}, ("clock", "error")),
    ],
)
def test_each_fault_of_a_server_is_one_finding(given: dict[str, Any], found: tuple[str, str]) -> None:
    """Each alone, at its limit, with a reason and a way to mend it."""
    findings = list(judge_server(_facts(**given)))
    assert _bad(findings) == [found]
    assert all(f.why and f.mend for f in findings if f.level is not Level.OK)


@pytest.mark.parametrize(
    "given",
    [
        {"product": "Valkey", "version": "7.2.0"},
        {"version": "6.2"},
        {"limit": 143 * MB},
        {"skew": 2.0},
        {"skew": 2.5, "round_trip": 1.2},  # the answer took so long that the clocks may agree
        {"used": 5700 * MB},
        {"keeping": KEEPS, "appendfsync": "always"},
        {"rewrite_percentage": None},
    ],
)
def test_at_the_limit_a_server_is_well(given: dict[str, Any]) -> None:
    """Limits are not shifted by one."""
    assert _bad(judge_server(_facts(**given))) == []


def test_a_finding_says_what_was_found_where_what_should_be() -> None:
    """Value and limit are there for programs, and the command for people."""
    policy = next(f for f in judge_server(_facts(keeping=Keeping(True, "allkeys-lru"))) if f.check == "eviction")
    assert (policy.value, policy.limit) == ("allkeys-lru", "noeviction")
    assert policy.what == "maxmemory-policy is allkeys-lru; workers refuse to start"
    assert policy.mend.startswith("redis-cli CONFIG SET maxmemory-policy noeviction")


# -- a worker's start -------------------------------------------------------------------------------------------------
def test_a_worker_refuses_a_server_that_evicts() -> None:
    """One sentence that names the setting, whatever else is wrong."""
    with pytest.raises(InvalidSettings, match=r"maxmemory-policy is allkeys-lru.*set `maxmemory-policy noeviction`$"):
        judged(Keeping(append_only=False, policy="allkeys-lru"))


def test_a_worker_warns_of_a_server_that_forgets_or_is_silent() -> None:
    """No append-only file, or no answer to what may not be asked: a warning each, and the worker starts."""
    assert judged(KEEPS) == []
    (forgets,) = judged(Keeping(append_only=False, policy="noeviction"))
    assert forgets.endswith("set `appendonly yes`")
    assert judged(Keeping(append_only=None, policy=None)) == [
        "the queue's server does not say what its maxmemory-policy is: it must be `noeviction`",
        "the queue's server does not say what its appendonly is: it must be `yes`",
    ]


# -- the vendor -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("failed", ["name", "connection", "tls", "answer"])
def test_a_host_that_is_not_reached_says_where_it_ended(failed: str) -> None:
    """Name, connection, certificate and answer are mended in different ways."""
    found = judge_host("KIE_BASE_URL", "https://api.kie.ai", Exchange(failed=failed, words="timed out"))
    assert found.level is Level.ERROR
    assert found.what.startswith("KIE_BASE_URL, api.kie.ai: ")
    assert found.what.endswith(" (timed out)")
    assert len({judge_host("KIE_BASE_URL", "https://h", Exchange(failed=f)).mend for f in ("name", "tls", failed)}) >= 2


def test_any_answer_below_500_is_an_answer() -> None:
    """The path that is asked for means nothing: 404 is as good as 200, 502 is not."""
    levels = {s: judge_host("KIE_BASE_URL", "https://h", Exchange(status=s)).level for s in (200, 404, 499, 500, 502)}
    assert levels == {200: "ok", 404: "ok", 499: "ok", 500: "warning", 502: "warning"}


def test_key_and_credits() -> None:
    """No key, a refused key, no answer and no credits are errors; too few for one long generation a warning."""
    levels = {
        "no key": judge_account(AccountFacts(has_key=False)),
        "refused": judge_account(AccountFacts(has_key=True, fault="kie.ai refused the key", refused=True)),
        "no answer": judge_account(AccountFacts(has_key=True, fault="timed out")),
        "none": judge_account(AccountFacts(has_key=True, balance=0.0)),
        "few": judge_account(AccountFacts(has_key=True, balance=DEAREST - 1)),
        "enough": judge_account(AccountFacts(has_key=True, balance=DEAREST)),
    }
    assert [f.level for f in levels.values()] == ["error", "error", "error", "error", "warning", "ok"]
    assert levels["enough"].what == f"the key is good, {DEAREST:g} credits left"


# -- callbacks --------------------------------------------------------------------------------------------------------
def _public(url: str | None, seen: tuple[Exchange, bool] | None, **settings: Any) -> Finding:
    return judge_public(Settings(public_base_url=url, **settings), seen)


def test_only_the_proof_counts() -> None:
    """200 is not enough, a proof under another status neither, nor a body that is no JSON or another one's."""
    good = json.dumps({"code": 200, "msg": "proof"}).encode()
    assert proves(Exchange(status=200, body=good), "proof")
    assert not proves(Exchange(status=200, body=good), "other")
    assert not proves(Exchange(status=202, body=good), "proof")
    for body in (b"", b"proof", b"[]", b"null", b'{"msg":1}', b'{"msg":null}', b"\xff"):
        assert not proves(Exchange(status=200, body=body), "proof")


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (Exchange(failed="name"), "no such host"),
        (Exchange(status=200), "somebody else answers"),
        (Exchange(status=404), "not our receiver"),
        (Exchange(status=301), "redirects"),
        (Exchange(status=502), "HTTP 502"),
    ],
)
def test_an_address_that_does_not_lead_to_us_is_an_error(seen: Exchange, words: str) -> None:
    """With what was seen there, and how to lead it to the receiver."""
    found = _public("https://hooks.example.com", (seen, False))
    assert found.level is Level.ERROR
    assert words in found.what
    assert "/callbacks/kie/" in found.mend


def test_our_receiver_must_be_where_the_vendor_reaches_it() -> None:
    """Proven and public is well; inside is an error unless the vendor is inside too; plain HTTP is a warning."""
    local_vendor = {"kie_base_url": "http://127.0.0.1:9"}
    out, within = Exchange(status=200, addresses=OUTSIDE), Exchange(status=200, addresses=("10.0.0.7", "::1"))
    assert _public("https://h", (out, True)).level == "ok"
    assert _public("https://h", (within, True)).level == "error"
    assert _public("http://h", (within, True), **local_vendor).level == "ok"
    assert _public("http://h", (out, True)).level == "warning"
    assert _public(None, None).level == "warning"
    assert inside(("127.0.0.1",))
    assert not inside(("10.0.0.7", *OUTSIDE))
    assert not inside(())


# -- who works --------------------------------------------------------------------------------------------------------
def test_nobody_at_work_is_an_error_only_while_there_is_work() -> None:
    """Without workers nothing else is said of queues."""
    assert _bad(judge_queues(_queues(workers=()))) == [("workers", "error")]
    assert _bad(judge_queues(_queues(workers=(), unfinished=0))) == [("workers", "warning")]
    assert _bad(judge_queues(_queues())) == []


def test_a_queue_without_a_consumer() -> None:
    """A warning while nothing waits in it, an error when something does, or its alarms are late."""
    consumers = dict.fromkeys(QUEUES, 2) | {"deliver": 0}
    assert _bad(judge_queues(_queues(consumers=consumers))) == [("queues", "warning")]
    assert _bad(judge_queues(_queues(consumers=consumers, waiting={"deliver": 1}))) == [("queues", "error")]
    late = _queues(consumers=consumers, late={"deliver": 61.0, "check": 60.0})
    assert _bad(judge_queues(late)) == [("queues", "error"), ("alarms", "warning")]
    assert _bad(judge_queues(_queues(consumers=None))) == [("queues", "warning")]


def test_a_closed_gate_says_what_opens_it() -> None:
    """Every reason has a way; those that need nobody say so."""
    assert judge_gate(GateStatus(open=True, in_flight=1, waiting=2)).level == "ok"
    closed = judge_gate(GateStatus(open=False, reason="operator", message="moving", in_flight=0, waiting=2))
    assert (closed.level, closed.mend) == ("warning", "motionq gate resume")
    assert "by itself" in judge_gate(GateStatus(open=False, reason="maintenance", in_flight=0, waiting=0)).mend


# -- settings ---------------------------------------------------------------------------------------------------------
def _settings(environment: dict[str, str] | None = None, vendor: str | None = None, **given: Any) -> list[Any]:
    return _bad(judge_settings(Settings(**given), environment or {}, vendor=vendor))


@pytest.mark.parametrize(
    ("given", "level"),
    [
        ({"submit_rate": "21/10s"}, "error"),
        ({"submit_rate": "20/9s"}, "error"),
        ({"submit_rate": "40/20s"}, "error"),
        ({"upload_ttl": "24h"}, "error"),
        ({"kie_base_url": "http://api.kie.ai"}, "error"),
        ({"kie_base_url": "http://127.0.0.1:8080"}, "error"),  # and the uploads go to the real vendor
        ({"vendor": "127.0.0.1"}, "error"),
        ({"max_credits_per_day": 0}, "warning"),
        ({"transfers": 33}, "warning"),
        ({"unknown_window": "10m"}, "warning"),
        ({"run_limit": "5m"}, "warning"),
        ({"job_ttl": "1h"}, "warning"),
        ({"tick": "11s"}, "warning"),
        ({"redis_url": "redis://:secret@redis.example.com/0"}, "warning"),  # staging is this machine's folder
        ({"redis_url": "redis://redis.example.com/0", "staging_url": "s3://bucket"}, "warning"),  # no password
        ({"environment": {"REDIS_URL": "redis://a", "MOTIONQ_REDIS_URL": "redis://b"}}, "warning"),
    ],
)
def test_each_mistake_is_one_finding(given: dict[str, Any], level: str) -> None:
    """Each alone."""
    assert _settings(**given) == [("settings", level)]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"submit_rate": "20/10s"},
        {"environment": {"REDIS_URL": "redis://a", "MOTIONQ_REDIS_URL": "redis://a"}},
        {"submit_rate": "1/1s", "upload_ttl": "23h"},
        {"kie_base_url": "http://127.0.0.1:1", "kie_upload_base_url": "http://localhost:2", "vendor": "127.0.0.1"},
        {"redis_url": "redis://redis:6379/0", "vendor": "api.kie.ai"},
        {"redis_url": "unix:///run/redis.sock"},
    ],
)
def test_what_is_no_mistake(given: dict[str, Any]) -> None:
    """The defaults, the sandbox, a service of compose, and limits that are just kept."""
    assert _settings(**given) == []


def test_no_password_of_a_server_is_shown() -> None:
    """Findings about REDIS_URL name the setting, never its value."""
    settings = Settings(redis_url="redis://:hush@redis.example.com/0")
    assert "hush" not in repr(judge_settings(settings, {"REDIS_URL": "redis://:hush@h"}, vendor=None))


def test_how_many_purchases_a_rate_lets_through() -> None:
    """In ten seconds: bursts at both ends of a window count."""
    assert [most_in(10, *rate) for rate in ((20, 10), (20, 60), (20, 9), (1, 1), (5, 3))] == [20, 20, 40, 10, 20]
    assert [local(h) for h in ("127.0.0.1", "::1", "redis", "x.localhost", "redis.example.com", "10.0.0.7")] == [
        *[True] * 4,
        *[False] * 2,
    ]


def test_the_page_for_operators_has_every_finding_about_indexes() -> None:
    """docs/doctor.md names each kind in the words of the doctor."""
    page = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text(encoding="utf-8")
    assert [kind.what for kind in KINDS.values() if f"| {kind.what} |" not in page] == []


# -- storage, indexes, the whole --------------------------------------------------------------------------------------
def test_storage_says_which_setting() -> None:
    """A place that can't be used stops every job: an error, with the system's words."""
    found = judge_storage(StorageFacts("MOTIONQ_RESULTS_URL", "file:///data", "No space left on device"))
    assert (found.level, found.what) == ("error", "MOTIONQ_RESULTS_URL, file:///data: No space left on device")
    assert judge_storage(StorageFacts("MOTIONQ_RESULTS_URL", "file:///data")).level == "ok"


def _survey(kind: str, mended: bool, *ids: str) -> list[Finding]:
    seen = Survey(mended=mended, jobs=9)
    for _ in range(2):  # met twice, told once
        seen.add(Wrong(one, kind, "due:check") for one in ids)
    return list(judge_survey(seen))


@pytest.mark.parametrize("kind", KINDS)
def test_each_disagreement_is_told_with_examples(kind: str) -> None:
    """How many, three of them, and the command; after --fix those that it mends are well, the others are not."""
    (found,) = _survey(kind, False, "j1", "j2", "j3", "j4")
    assert found.level is KINDS[kind].level is not Level.OK
    assert found.what.endswith(": 4 (j1 in due:check, j2 in due:check, j3 in due:check, …)")
    assert (found.value, found.limit) == (4, 0)
    (after,) = _survey(kind, True, "j1")
    assert (after.level is Level.OK) == KINDS[kind].mends == (found.mend == "motionq doctor --fix")


def test_agreement_is_told_too() -> None:
    """With how many jobs were looked at."""
    (found,) = _survey("asleep", False)
    assert (found.level, found.value) == ("ok", 9)


def test_the_exit_code_says_the_worst() -> None:
    """0 well, 6 a warning, 1 an error, and 5 before all when the queue's server is away."""
    good, worse, bad = ok("a", "x"), warning("b", "y", why="w", mend="m"), error("c", "z")
    away = error("server", "away", kind="unreachable")
    assert exit_code([]) == exit_code([good]) == Exit.OK == 0
    assert exit_code([good, worse]) == Exit.WARNING == 6
    assert exit_code([worse, bad, good]) == Exit.ERROR == 1
    assert exit_code([bad, away]) == Exit.UNREACHABLE == 5
    assert (worst([good, worse]), worst([])) == ("warning", "ok")


def test_the_report_for_people_and_for_programs() -> None:
    """Reason and remedy stand below what is not well; every key is always in the object."""
    findings = [ok("a", "x"), warning("b", "y\nz", value=1, limit=2, why="w", mend="m")]
    lines = [line.split() for line in table_of(findings).splitlines()]
    assert lines == [
        ["LEVEL", "CHECK", "FOUND"],
        ["ok", "a", "x"],
        ["warning", "b", "y", "z"],
        ["why:", "w"],
        ["mend:", "m"],
        [],
        ["1", "warning,", "1", "ok"],
    ]
    assert summary([*findings, findings[1], error("c", "d")]) == "1 error, 2 warnings, 1 ok"
    told = object_of(findings)
    assert told["worst"] == "warning"
    assert told["findings"][0] == {
        "check": "a",
        "level": "ok",
        "what": "x",
        "value": None,
        "limit": None,
        "why": None,
        "mend": None,
    }
