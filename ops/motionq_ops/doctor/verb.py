"""`motionq doctor`: every check in turn. One that can't be made is a finding itself, and the others are made."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial

from motionq.contract.connection import connect, reachable
from motionq.contract.errors import MotionQueueError, QueueUnavailable
from motionq.contract.keys import Keys
from motionq.contract.settings import Settings, load
from motionq.contract.store import JobStore
from motionq.gate import gate_status
from motionq.output import say, say_json
from motionq_ops.doctor.account import judge_account, look_at_account
from motionq_ops.doctor.findings import SERVER_AWAY, Finding, error, exit_code, warning
from motionq_ops.doctor.gate import judge_gate
from motionq_ops.doctor.hosts import judge_host, look_at_hosts
from motionq_ops.doctor.indexes import judge_survey, survey
from motionq_ops.doctor.mistakes import judge_settings
from motionq_ops.doctor.public import judge_public, look_at_public
from motionq_ops.doctor.queues import judge_queues, look_at_queues
from motionq_ops.doctor.report import object_of, table_of
from motionq_ops.doctor.server import judge_server
from motionq_ops.doctor.server_facts import look_at_server
from motionq_ops.doctor.storage import judge_storage, look_at_storage
from motionq_ops.doctor.unsettled import judge_unsettled, look_at_unsettled


def doctor(*, as_json: bool, fix: bool) -> int:
    """Prints every finding; the exit code is that of the worst. Raises InvalidSettings."""
    findings = list(examine(load(dotenv=True), fix=fix))
    if as_json:
        say_json(object_of(findings))
    else:
        say(table_of(findings))
    return exit_code(findings)


def examine(settings: Settings, *, fix: bool) -> Iterator[Finding]:
    """Every finding, the server first. Raises InvalidSettings."""
    try:
        redis = connect(settings)
    except QueueUnavailable as fault:
        yield _away(str(fault))
        yield from _without_server(settings, vendor=None)
        return
    with closing(redis):
        store = JobStore(redis, Keys(settings.namespace), job_ttl=settings.job_ttl, rate_window=settings.submit_rate[1])
        try:
            facts = look_at_server(redis)
            vendor = _vendor_of(store)
        except QueueUnavailable as fault:
            yield _away(str(fault))
            yield from _without_server(settings, vendor=None)
            return
        yield from judge_server(facts)
        yield from _with_server(settings, store, fix)
        yield from _without_server(settings, vendor=vendor)


def _with_server(settings: Settings, store: JobStore, fix: bool) -> Iterator[Finding]:
    checks: dict[str, Callable[[], Iterable[Finding]]] = {
        "indexes": lambda: judge_survey(survey(store, fix=fix, lease=settings.step_lease)),
        "charged jobs": lambda: [judge_unsettled(look_at_unsettled(store))],
        "workers": lambda: judge_queues(look_at_queues(settings, store)),
        "gate": lambda: [judge_gate(gate_status(store, settings.max_credits_per_day))],
        "callbacks": lambda: [judge_public(settings, look_at_public(settings, store))],
    }
    for name, check in checks.items():
        yield from _made(name, check)


def _made(name: str, check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    try:
        return list(check())
    except MotionQueueError as fault:
        why, mend = "whether all is well there is not known", "mend what the sentence says, and run the doctor again"
        return [warning(name, f"could not be looked at: {fault}", why=why, mend=mend)]


def _without_server(settings: Settings, *, vendor: str | None) -> Iterator[Finding]:
    hosts = look_at_hosts(settings)
    yield from (judge_host(name, url, seen) for name, (url, seen) in hosts.items())
    yield from _made("account", lambda: [judge_account(look_at_account(settings))])
    yield from map(judge_storage, look_at_storage(settings))
    yield from judge_settings(settings, os.environ, vendor=vendor)


def _vendor_of(store: JobStore) -> str | None:
    with reachable():
        known = store.redis.get(store.keys.vendor)
    return str(known) if known else None


_away = partial(
    error,
    "server",
    why="without it nothing is enqueued, bought or delivered; what depends on it was not looked at",
    mend="start it (motionq up, docker compose up -d redis), or set MOTIONQ_REDIS_URL",
    kind=SERVER_AWAY,
)
