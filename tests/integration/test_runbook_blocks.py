"""Blocks of ops/runbook.md, run alone where something is wrong: what they say then must not mislead."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from motionq_ops.plan import without_settings
from motionq_ops.redis_server import free_port
from support.documents import ROOT, Shell, blocks

JOB, TASK = "01m82waqdb59196kvwdwfvqreb", "17f2e3ed47e958dd1ab74004a46a9f7f"
BOUGHT = (
    '{{"timestamp": "{at}", "level": "info", "logger": "celery.app.trace", "worker": "w1@host", "job": "' + JOB + '", '
    '"step": "submit", "celery_id": "' + JOB + '.submit.1", "task_id": "' + TASK + '", "event": "…"}}\n'
)


def _block(first: str) -> str:
    return next(block.text for block in blocks("ops/runbook.md") if block.first == first)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The folder of the terminal."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def shell(home: Path) -> Iterator[Shell]:
    """A terminal."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with Shell(home, without_settings(dict(os.environ)) | {"HOME": str(home), "PATH": path}) as opened:
        yield opened


def test_every_password_is_drawn(shell: Shell, home: Path) -> None:
    """The lines of "Deploy" fill in three passwords, each its own, fit for an address, and touch nothing else."""
    before = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    shutil.copy(ROOT / ".env.example", home)
    shell.run(_block("cp .env.example .env"))
    after = (home / ".env").read_text(encoding="utf-8").splitlines()
    changed = [new for old, new in zip(before, after, strict=True) if old != new]

    found = dict(line.split("=") for line in changed)
    assert set(found) == {"REDIS_PASSWORD", "REDIS_EXPORTER_PASSWORD", "REDIS_ADMIN_PASSWORD"}
    assert len(set(found.values())) == 3
    assert [value for value in found.values() if not re.fullmatch(r"[0-9a-f]{48}", value)] == []
    assert sorted(path.name for path in home.iterdir()) == [".env", ".env.example"]


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")
def test_a_damaged_backup_is_told(shell: Shell, home: Path) -> None:
    """A server that dies over the copy ends the waiting, and its words are shown."""
    folder = home / "backup" / "appendonlydir"
    folder.mkdir(parents=True)
    manifest = "file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n"
    (folder / "appendonly.aof.manifest").write_text(manifest, encoding="utf-8")
    (folder / "appendonly.aof.1.base.rdb").write_text("damaged", encoding="utf-8")
    (folder / "appendonly.aof.1.incr.aof").touch()
    check = re.sub(r"\b6399\b", str(free_port()), _block('cp -a "$backup" "$backup.check"')).splitlines()
    said = shell.run("\n".join([f"backup={folder.parent}", *check[:-1]]))

    assert "IT CAN'T BE READ:" in said
    assert "it can be read: " not in said
    assert "format" in said.partition("IT CAN'T BE READ:")[2]


@pytest.mark.parametrize(
    ("logs", "said"),
    [
        ("", "tasks bought since 2026-11-23T10:00:00: 0; these logs begin: nowhere"),
        ("10:00:01 info: task bought\n", "tasks bought since 2026-11-23T10:00:00: 0; these logs begin: nowhere"),
        (
            BOUGHT.format(at="2026-11-23T10:00:01.5Z"),
            "tasks bought since 2026-11-23T10:00:00: 1; these logs begin: 2026",
        ),
        (
            '{"timestamp": "2026-11-23T09:00:00Z", "level": "warning", "event": "…"}\n',
            "tasks bought since 2026-11-23T10:00:00: 0; these logs begin: nowhere",
        ),
    ],
)
def test_logs_that_do_not_reach_back_are_no_proof(shell: Shell, home: Path, logs: str, said: str) -> None:
    """Lost, rotated, turned down or in another form: the block says that it can't tell, and lists nothing."""
    (home / "log").write_text(logs, encoding="utf-8")
    answer = shell.run(f"logs() {{ cat log; }}\nbackup=/b/2026-11-23T10.00.00\n{_restore()}").splitlines()

    assert answer[0].startswith(said)
    assert answer[1].startswith("STOP: ")
    assert [line for line in answer if line.startswith("not on record")] == []


def test_logs_that_reach_back_name_each_task_once(shell: Shell, home: Path) -> None:
    """What was bought before the backup is left out, and a task that several lines name is asked for once."""
    lines = [BOUGHT.format(at=f"2026-11-23T{at}Z") for at in ("09:59:59.9", "10:00:00.1", "10:00:00.3")]
    (home / "log").write_text("".join([lines[0].replace(TASK, "0" * 32), *lines[1:]]), encoding="utf-8")
    setup = "logs() { cat log; }\nmotionq() { true; }\nbackup=/b/2026-11-23T10.00.00"
    answer = shell.run(f"{setup}\n{_restore()}").splitlines()

    assert answer[:2] == [
        "tasks bought since 2026-11-23T10:00:00: 1; these logs begin: 2026-11-23T09:59:59.9Z",
        f"not on record: job {JOB} task {TASK} of 2026-11-23T10:00:00.1Z",
    ]


def _restore() -> str:
    return _block('since=$(basename "$backup" | tr . :)')
