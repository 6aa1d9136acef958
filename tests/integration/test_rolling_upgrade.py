"""The runbook's upgrade with Compose, with a `docker` whose containers are names: when are the old workers stopped?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.documents import Shell, blocks

# Each line of `running` is a container: its service, and its name. `broken` names what fails.
DOCKER = """#!/bin/sh
echo "$*" >>calls
case "$*" in *"$(cat broken)"*) echo "it failed" >&2; exit 1 ;; esac
case "$*" in
"compose config --services") printf 'redis\\nworker\\nworker-submit\\nworker-transfer\\ncallback\\n' ;;
"compose ps "*) for service; do :; done; sed -n "s/^$service //p" running ;;
"compose up -d --no-deps --no-recreate --wait --scale "*)
  for service; do :; done
  sed -n "s/^$service old/$service new/p" running >more && cat more >>running ;;
"stop -t 120 "*) ;;
"rm -v "*) shift 2; for name; do sed -i.was "/ $name\\$/d" running; done ;;
"compose up -d --wait") ;;
*) exit 64 ;;
esac
"""
OLD = "worker-submit old-1\nworker-transfer old-2\nworker-transfer old-3\n"
NEW = "worker-submit new-1\nworker-transfer new-2\nworker-transfer new-3\n"
AWAY = '[ -n "$old" ] && docker compose ps -a -q'
STOPPED = "STOPPED at worker-transfer: the old workers that are left go on\n"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The folder of the terminal, with the programs in it and three old workers, of two services, running."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "docker").write_text(DOCKER, encoding="utf-8")
    (folder / "docker").chmod(0o755)
    (folder / "running").write_text(OLD, encoding="utf-8")
    (folder / "broken").write_text("nothing is broken", encoding="utf-8")
    return folder


@pytest.fixture
def shell(home: Path) -> Iterator[Shell]:
    """A terminal with the runbook's helpers for Compose."""
    with Shell(home, {"PATH": f"{home}:{os.environ['PATH']}", "HOME": str(home)}) as opened:
        opened.run(_block("motionq() { docker compose run"))
        yield opened


def _block(beginning: str) -> str:
    return next(block.text for block in blocks("ops/runbook.md") if block.first.startswith(beginning))


def _running(home: Path) -> str:
    return (home / "running").read_text(encoding="utf-8")


def _calls(home: Path, beginning: str) -> list[str]:
    return [line for line in (home / "calls").read_text(encoding="utf-8").splitlines() if line.startswith(beginning)]


def test_each_service_gets_as_many_new_workers_as_it_had(shell: Shell, home: Path) -> None:
    """Where all goes well the old ones are gone, service by service, and the rest is brought up at the end."""
    assert shell.run(_block("replace() {")).strip() != STOPPED.strip()

    assert _running(home) == NEW
    assert _calls(home, "compose up") == [
        "compose up -d --no-deps --no-recreate --wait --scale worker-submit=2 worker-submit",
        "compose up -d --no-deps --no-recreate --wait --scale worker-transfer=4 worker-transfer",
        "compose up -d --wait",
    ]
    assert _calls(home, "stop") == ["stop -t 120 old-1", "stop -t 120 old-2 old-3"]


def test_new_workers_that_are_not_well_stop_it_and_the_old_ones_go_on(shell: Shell, home: Path) -> None:
    """At the second service: its old workers are neither stopped nor removed, and nothing else is made anew."""
    (home / "broken").write_text("--scale worker-transfer", encoding="utf-8")

    assert STOPPED in shell.run(_block("replace() {"))
    assert _running(home) == "worker-transfer old-2\nworker-transfer old-3\nworker-submit new-1\n"
    assert _calls(home, "stop") == ["stop -t 120 old-1"]
    assert _calls(home, "compose up -d --wait") == []


def test_the_new_ones_can_be_taken_away(shell: Shell, home: Path) -> None:
    """What is left is as it was before: the old workers, and no new one of that service."""
    (home / "broken").write_text("stop -t 120 old-2", encoding="utf-8")
    assert STOPPED in shell.run(_block("replace() {"))
    assert "worker-transfer new-2" in _running(home)
    assert _calls(home, "rm") == ["rm -v old-1"]

    (home / "broken").write_text("nothing is broken", encoding="utf-8")
    shell.run(_block(AWAY))
    assert _running(home) == "worker-transfer old-2\nworker-transfer old-3\nworker-submit new-1\n"


@pytest.mark.parametrize(
    ("broken", "where"), [("compose config", "the list of services"), ("compose ps -q worker-", "worker-submit")]
)
def test_where_nothing_can_be_seen_nothing_is_done(shell: Shell, home: Path, broken: str, where: str) -> None:
    """No list of services or of containers is no empty list."""
    (home / "broken").write_text(broken, encoding="utf-8")

    assert f"STOPPED at {where}: " in shell.run(_block("replace() {"))
    assert _running(home) == OLD
    (home / "broken").write_text("nothing is broken", encoding="utf-8")
    shell.run(f"if ! {{\n{_block(AWAY)}}}; then :; fi")
    assert _running(home) == OLD
    assert (_calls(home, "compose up"), _calls(home, "stop")) == ([], [])
