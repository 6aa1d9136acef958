"""The command `motionq` as a whole."""

from __future__ import annotations

from importlib.metadata import version

import pytest
import typer

from motionq.output import run
from motionq_ops import cli


def test_help_lists_what_is_built() -> None:
    """The verbs that run motionq, then the job verbs: no verb that does not work yet."""
    verbs = list(typer.main.get_command(cli.app).commands)  # type: ignore[attr-defined]
    running = ["demo", "up", "sandbox", "bench", "credits", "exporter", "doctor"]
    assert verbs == [*running, "submit", "status", "wait", "list", "cancel", "replay", "attach", "gate"]


def test_the_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    """`motionq --version` says which release is installed."""
    assert run(cli.app, ["--version"]) == 0
    assert capsys.readouterr().out == f"motionq {version('motionq')}\n"


@pytest.mark.parametrize("verb", ["demo", "up", "sandbox", "credits", "exporter", "doctor"])
def test_a_missing_extra_is_named_in_one_line(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the base install alone these verbs say what to install, and exit 2."""
    monkeypatch.setattr(cli, "_NEEDED", ("redis", "motionq_not_installed"))
    assert run(cli.app, [verb]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "motionq: not installed: motionq_not_installed; run pip install 'motionq[local]'\n"
