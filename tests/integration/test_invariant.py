"""Whatever is called, in whatever order, by whomever: the record, its sets, its books and its slots agree.

`support.machine` plays everybody; what must hold is read from the server after every call. That these rules are not
vacuous is shown by breaking the Lua, one line at a time: the same machine finds each.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from motionq.contract import scripts
from motionq.contract.states import State
from support.machine import QueueMachine

_FAST: dict[str, Any] = {
    "deadline": None,
    "database": None,
    "derandomize": True,
    "suppress_health_check": list(HealthCheck),
}


def _machine(url: str) -> type[QueueMachine]:
    return type("Machine", (QueueMachine,), {"url": url, "reached": set()})


def test_no_order_of_calls_breaks_the_rules(redis_url: str) -> None:
    """After every step of 16 long histories every rule holds; together they met every state a job can be in."""
    machine = _machine(redis_url)

    run_state_machine_as_test(machine, settings=settings(max_examples=16, stateful_step_count=20, **_FAST))

    assert machine.reached == set(State)


def _without(line: str) -> Callable[[str], str]:
    def changed(text: str) -> str:
        assert text.count(line) == 1, line
        return text.replace(line, "")

    return changed


def _instead(line: str, other: str) -> Callable[[str], str]:
    def changed(text: str) -> str:
        assert text.count(line) == 1, line
        return text.replace(line, other)

    return changed


BROKEN: dict[str, tuple[str, Callable[[str], str], str]] = {
    "a job stays in the set it left": (
        "lib",
        _without("redis.call('ZREM', K.due[home], job.id)"),
        r"job is in \[.*\], must be in",
    ),
    "a job stays in the index it left": (
        "lib",
        _without("  redis.call('ZREM', K.state .. job.state, job.id)\n"),
        "job is in the indexes",
    ),
    "a healed job still expires": ("lib", _without("redis.call('PERSIST', name)"), "these expire"),
    "an empty line keeps its tenant": (
        "lib",
        _without("    if redis.call('EXISTS', line) == 0 then redis.call('ZREM', K.tenants, job.tenant) end\n"),
        "the gate knows",
    ),
    "slots are not counted": ("admit", _instead("a.in_flight - redis.call('ZCARD', K.slots)", "9"), "slots are taken"),
    "no slot comes back": ("move", _instead("if m.frees_slot and", "if false and"), "a slot is held for no open"),
    "mine by nonce, not by token": (
        "send",
        _without(" and job.sender == a.token"),
        "two executions may send one purchase",
    ),
    "a task belongs to whoever names it last": (
        "move",
        _instead(
            "if not redis.call('SET', K.task .. a.task, a.id, 'NX') and",
            "redis.call('SET', K.task .. a.task, a.id)\n  if",
        ),
        "is indexed for|these expire",
    ),
    "a call is not recognised again": (
        "move",
        _without("if job.last_call == a.call then return {'ok', job.state} end"),
        "assert '(fenced|ok|booked)' ==|a repeated call changed something",
    ),
    "who could not connect closes what another execution sent": (
        "move",
        _instead("if not target and not m.books_late then", "if not target and not p then"),
        "(submitting|armed) job holds no slot",
    ),
    "a settled purchase may be booked again": (
        "move",
        _instead("status = p and m.books[p.status]", "status = p and (m.books[p.status] or m.books.open)"),
        "purchase became something else|a nonce was armed twice|two open purchases|holds no slot",
    ),
    "a charged failure is out of sight": (
        "lib",
        _without("    keep_in_sight(job)\n"),
        "in `unsettled` is False",
    ),
    "a job that goes on is still in sight": (
        "lib",
        _without("    redis.call('ZREM', K.unsettled, job.id)\n"),
        "in `unsettled` is True",
    ),
    "a stray is left alone": (
        "lib",
        _instead("job.state, C.rests[state] and stray(job)", "job.state, nil"),
        "beside a task that nobody follows",
    ),
    "a replay does not look for open purchases": (
        "replay",
        _without("  if p.status == 'open' then open[#open + 1] = p end\n"),
        "to be bought beside an open one",
    ),
    "consent to anything is consent to everything": (
        "replay",
        _instead("if not shown[p.nonce] then", "if not a.consent then"),
        "written off, though nobody was shown it",
    ),
    "what was paid is bought again": (
        "replay",
        _without("  if p.status == 'paid' then paid = p end\n"),
        "paid, and bought again",
    ),
    "naming a task rings an alarm": (
        "candidate",
        _instead("return 'stored'", "redis.call('ZADD', K.due.check, NOW, a.id)\nreturn 'stored'"),
        "naming a task moved something|job is in",
    ),
    "a named task is not put in the set": (
        "candidate",
        _without("redis.call('ZADD', K.candidates, NOW, a.id .. ':' .. a.nonce)\n"),
        "a named task is forgotten, or looked at for ever",
    ),
    "a looked-at task stays on its purchase": (
        "move",
        _instead("    p.candidate = nil\n", ""),
        "a named task is forgotten, or looked at for ever",
    ),
    "a half-open gate lets two through": (
        "admit",
        _instead("local room = paused and 1 or", "local room ="),
        "the gate let 2 through, where 1 may pass",
    ),
    "a second probe follows the first": (
        "admit",
        _without("if paused and tonumber(probe_ends or 0) > NOW then return {0, paused} end"),
        "the gate let 1 through, where 0 may pass",
    ),
    "a closed gate lets what is armed be sent": (
        "send",
        _without("if paused and not (over and probe == a.id .. ':' .. a.nonce) then return {'refused', 0} end\n"),
        "sent through a closed gate",
    ),
    "a worker ends a person's pause": (
        "pause",
        _without("  if a_persons and (a.key or '') ~= '' then return 0 end\n"),
        "a worker ended a person's pause",
    ),
    "following leaves the new purchase open": (
        "follow",
        _without("book(new, 'not_sent')\n"),
        "two open purchases",
    ),
    "anything is followed": (
        "follow",
        _without(" or old.status ~= 'refunded'"),
        "purchase became something else|two open purchases|assert|holds no slot",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_is_found(redis_url: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rules are not vacuous: without one line of the Lua the same machine finds it within a few histories."""
    script, change, sentence = BROKEN[name]
    folder = tmp_path / "contract"
    shutil.copytree(Path(scripts.__file__).parent / "lua", folder / "lua")
    path = folder / "lua" / f"{script}.lua"
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    monkeypatch.setattr(scripts, "files", lambda _: folder)
    quick = settings(
        max_examples=100, stateful_step_count=20, phases=[Phase.generate], report_multiple_bugs=False, **_FAST
    )

    with pytest.raises(AssertionError, match=sentence):
        run_state_machine_as_test(_machine(redis_url), settings=quick)
