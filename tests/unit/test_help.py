"""What the help of every verb promises, and what it costs to ask for it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from motionq.contract.job import DEFAULT_MODEL, PRIORITIES
from motionq.contract.models import MODELS
from motionq.output import run
from motionq_ops.cli import app

RAW = {"sandbox", "bench"}  # programs of their own, with their own help
HEAVY = ("redis", "pydantic", "celery", "fsspec", "importlib.metadata", "asyncio")


def verbs(group: Any, *before: str) -> Iterator[tuple[str, ...]]:
    """Every command of the program, by the words that call it."""
    for name, command in group.commands.items():
        words = (*before, name)
        yield words
        if hasattr(command, "commands"):
            yield from verbs(command, *words)


VERBS = [words for words in verbs(typer.main.get_command(app)) if words[0] not in RAW]


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_every_help_has_examples_and_exit_codes(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One example at least that begins with the verb itself, the exit codes, and no types of Python."""
    monkeypatch.setenv("COLUMNS", "100")
    assert run(app, [*words, "--help"]) == 0
    page = capsys.readouterr().out
    assert f"motionq {' '.join(words)}" in page.partition("Examples:")[2]
    assert "Exit codes: 0 " in page
    assert not {"<bool>", "<list[str]>", "<str>"} & set(page.split())


def test_the_help_of_submit_names_what_there_is() -> None:
    """Models, priorities and the default are those of the contract, which the help does not import."""
    command = typer.main.get_command(app).commands["submit"]  # type: ignore[attr-defined]
    options = {option.name: option for option in command.params}
    assert options["priority"].metavar == "|".join(PRIORITIES)
    assert options["model"].help == f"{' or '.join(MODELS)}. Default: {DEFAULT_MODEL}."


def test_help_waits_for_nothing_heavy() -> None:
    """Declaring the verbs imports neither the server's client nor models of data nor Celery."""
    code = f"import sys, motionq_ops.cli; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_looking_at_jobs_imports_no_celery() -> None:
    """Celery comes with the first message: a program that only looks is spared it."""
    code = "import sys; from motionq import MotionQueue; MotionQueue('redis://h'); print('celery' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
