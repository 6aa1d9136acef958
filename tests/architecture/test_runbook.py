"""The runbook has an entry for everything that can happen, and none for what can't; its commands and links exist."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from ruamel.yaml import YAML

from motionq_ops.cli import app
from motionq_worker.kie.errors import Meaning, Refusal
from motionq_worker.pauses import POLICIES
from support.documents import ROOT, inline_code

RUNBOOK = (ROOT / "ops/runbook.md").read_text(encoding="utf-8")
PAGES = ("README.md", "ops/runbook.md", *(str(p.relative_to(ROOT)) for p in sorted((ROOT / "docs").glob("*.md"))))
COUNTED_ELSEWHERE = {"budget", "memory"}  # closed without a record of it: motionq/gate.py tells them from figures
_HEADING = re.compile(r"^#+ (.*)$", re.M)
_LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)")


def _entries(kind: str) -> list[str]:
    return re.findall(rf"^### {kind}: (\S+)$", RUNBOOK, re.M)


# -- failures ---------------------------------------------------------------------------------------------------------
def _reasons() -> set[str]:
    """Every reason that `failed(…)` or `decisions.failed(…)` is called with anywhere in the worker."""
    found: set[str] = set()
    for path in sorted((ROOT / "worker").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        for function in functions.values():
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "failed":
                    found |= set(_words(node.args[0], function, functions))
    return found


def _words(value: ast.expr, function: ast.FunctionDef, functions: dict[str, ast.FunctionDef]) -> Iterator[str]:
    """The words that an expression may be: itself, what its name was given, or what the called function returns."""
    match value:
        case ast.Constant(value=str(word)):
            yield word
        case ast.Constant(value=None):
            pass
        case ast.IfExp(body=one, orelse=other):
            yield from _words(one, function, functions)
            yield from _words(other, function, functions)
        case ast.Call(func=ast.Name(id=name)):
            for node in ast.walk(functions[name]):
                if isinstance(node, ast.Return) and node.value:
                    yield from _words(node.value, functions[name], functions)
        case ast.Name(id=name):
            yield from (word for given in _given(name, function) for word in _words(given, function, functions))
        case _:
            raise AssertionError(f"which reason is {ast.unparse(value)}?")


def _given(name: str, function: ast.FunctionDef) -> list[ast.expr]:
    found = [
        node.value
        for node in ast.walk(function)
        if (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name)
        or (isinstance(node, ast.NamedExpr) and node.target.id == name)
    ]
    assert found, f"where does {name} in {function.name} come from?"
    return found


def test_every_reason_of_a_failure_has_an_entry() -> None:
    """Whatever a failed job says, the runbook says what it means and what to do; and it invents no reason."""
    assert {"unreadable", "poison"} <= _reasons()  # called as `decisions.failed`, and by its bare name
    assert sorted(_entries("failure")) == sorted(_reasons())


def test_every_entry_of_a_failure_says_whether_money_was_spent() -> None:
    """As the code books it: charged no, yes or unknown."""
    said = dict(re.findall(r"^### failure: (\S+)\n\*Charged: (no|yes|unknown)\.\* ", RUNBOOK, re.M))
    unknown = {"submit_unknown", "vendor_silent"}
    assert said == {
        reason: "unknown" if reason in unknown else "yes" if reason == "delivery_failed" else "no"
        for reason in _reasons()
    }


# -- gate and alerts --------------------------------------------------------------------------------------------------
def test_every_reason_of_a_closed_gate_has_a_row() -> None:
    """Each pause that a worker or a person can make, and the two that follow from figures."""
    section = RUNBOOK.partition("\n## The gate is closed\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\w+) \|", section, re.M)
    assert rows[0] == "reason"
    assert sorted(rows[1:]) == sorted({*POLICIES, *COUNTED_ELSEWHERE})
    assert {r.value for r in Refusal if r.meaning is Meaning.PAUSE} <= set(rows)


def test_every_alert_has_an_entry() -> None:
    """The link in each alert leads to its own entry; an alert that has gone takes its entry along."""
    rules = YAML(typ="safe").load((ROOT / "ops/deploy/monitoring/alerts.yml").read_text(encoding="utf-8"))
    alerts = [rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule]
    assert sorted(_entries("alert")) == sorted(rule["alert"] for rule in alerts)
    anchors = {f"ops/runbook.md#{anchor}" for anchor in _anchors(ROOT / "ops/runbook.md")}
    assert {rule["annotations"]["runbook"] for rule in alerts} <= anchors


def test_every_service_of_compose_that_works_is_named_by_its_helper() -> None:
    """`workers` finds what docker-compose.yml calls its workers, and nothing else."""
    services = YAML(typ="safe").load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    work = [name for name, raw in services.items() if "worker" in raw.get("command", ())]

    assert "docker compose config --services | grep '^worker'" in RUNBOOK
    assert [name for name in services if name.startswith("worker")] == work


# -- commands and links -----------------------------------------------------------------------------------------------
def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = _HEADING.findall(page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """Files and anchors of this repository."""
    broken = []
    for path, anchor in _LINK.findall((ROOT / page).read_text(encoding="utf-8")):
        target = (ROOT / page).parent / path if path else ROOT / page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            broken.append(f"{path}#{anchor}")
    assert broken == []


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_the_text_exist(page: str) -> None:
    """`motionq VERB --option` between backticks: the verb is there, and takes these options."""
    program = typer.main.get_command(app)
    wrong = {
        text: why for text in inline_code(page) if text.startswith("motionq ") and (why := _unknown(text, program))
    }
    assert wrong == {}


def _unknown(text: str, program: Any) -> str | None:
    """What of a command does not exist."""
    words = shlex.split(re.split(r"[|;,]", text)[0])[1:]
    while words and hasattr(program, "commands") and not words[0].startswith("-"):
        if words[0] not in program.commands:
            return f"{words[0]} is no verb"
        program = program.commands[words.pop(0)]
    if program.context_settings.get("ignore_unknown_options"):
        return None  # it reads its words itself
    known = {name for parameter in program.params for name in (*parameter.opts, *parameter.secondary_opts)}
    known |= {"--help"}
    strange = [word for word in words if word.startswith("--") and word.partition("=")[0] not in known]
    return f"no {strange[0]}" if strange else None
