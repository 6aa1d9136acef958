"""Blocks of ops/runbook.md, run alone where something is wrong: what they say then must not mislead."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

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


def _says(home: Path, name: str, answers: str) -> None:
    """A program that writes down what it is told; `answers` is the rest of its script."""
    program = home / name
    program.write_text(f'#!/bin/sh\necho "{name} $*" >>calls\n{answers}\n', encoding="utf-8")
    program.chmod(0o755)


def _told(home: Path) -> list[str]:
    calls = (home / "calls").read_text(encoding="utf-8").splitlines()
    (home / "calls").unlink()
    return [call for call in calls if " ps -q " not in call and "config --services" not in call and "list-" not in call]


COMPOSE_HELPERS = 'motionq() { docker compose run --rm --no-deps -T -v "$PWD:/here:ro" worker motionq "$@"; }'


def test_with_compose_containers_are_made_anew(shell: Shell, home: Path) -> None:
    """Also where nothing in the configuration has changed, as with a key in a file; each is asked for its key."""
    _says(home, "docker", 'case "$*" in *--services) echo worker; echo worker-submit;; *ps*) echo id1; echo id2;; esac')
    shell.run(f"PATH=$PWD:$PATH\n{_block(COMPOSE_HELPERS)}")

    shell.run(_block("restart workers"))
    assert _told(home) == [
        "docker compose up -d --no-deps --force-recreate --wait worker worker-submit",
        "docker exec id1 motionq credits",
        "docker exec id2 motionq credits",
    ]
    shell.run("restart callback; celery -A motionq_worker.app inspect active")
    assert _told(home) == [
        "docker compose up -d --no-deps --force-recreate --wait callback",
        "docker compose run --rm --no-deps -T worker celery -A motionq_worker.app inspect active",
    ]


def test_a_key_that_one_worker_is_refused_with_is_told(shell: Shell, home: Path) -> None:
    """The check fails with the first worker's answer, and where there is no worker to ask."""
    _says(home, "docker", 'case "$*" in *--services) echo worker;; *ps*) echo id1; echo id2;; exec*) exit 1;; esac')
    shell.run(f"PATH=$PWD:$PATH\n{_block(COMPOSE_HELPERS)}")
    assert "no" in shell.run("as_workers motionq credits || echo no")
    assert _told(home) == ["docker exec id1 motionq credits"]

    _says(home, "docker", 'case "$*" in *--services) echo worker;; esac')
    assert "no" in shell.run("as_workers motionq credits || echo no")


def test_with_systemd_the_settings_are_installed_first(shell: Shell, home: Path) -> None:
    """The services read a copy of .env; they are started anew one by one, and nothing goes on after a failure."""
    units = "motionq-worker@1.service loaded active\nmotionq-worker@2.service loaded active"
    _says(home, "systemctl", f"case $1 in list-units) printf '{units}\\n';; esac; [ ! -e broken ]")
    _says(home, "install", "")
    _says(home, "systemd-run", "")
    shell.run(f"{_block('PATH=/opt/motionq/bin:$PATH')}PATH=$PWD:$PATH")
    restarts = [f"systemctl restart motionq-worker@{n}.service" for n in (1, 2)]

    shell.run(_block("restart workers"))
    *began, asked = _told(home)
    assert began == ["install -D -m 600 .env /etc/motionq/motionq.env", *restarts]
    assert asked.startswith("systemd-run ")
    assert asked.endswith(" EnvironmentFile=/etc/motionq/motionq.env motionq credits")

    _says(home, "systemctl", f"case $1 in list-units) printf '{units}\\n';; restart) exit 1;; esac")
    assert "no" in shell.run("restart workers || echo no")
    assert _told(home)[1:] == restarts[:1]


def test_a_release_is_installed_with_the_versions_of_its_lock(shell: Shell, home: Path) -> None:
    """From the files in the folder; each locked package is a constraint; the link leads there in the end."""
    helpers = _block("PATH=/opt/motionq/bin:$PATH").replace("/opt/", f"{home}/opt/")
    shutil.copy(ROOT / "requirements.lock", home)
    made = home / "opt" / "motionq-0.2.0"
    _says(home, "python3", f"mkdir -p {made}/bin && cp pip {made}/bin/")
    _says(home, "pip", "[ ! -e broken ]")
    shell.run(f"{helpers}PATH=$PWD:$PATH\nrelease 0.2.0")
    constraints = [Requirement(line) for line in (made / "constraints.txt").read_text(encoding="utf-8").splitlines()]

    locked = re.findall(r"^([a-z0-9][^ =\[]*)==", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.M)
    assert sorted({c.name for c in constraints}) == sorted(set(locked))
    assert _told(home)[-1] == f"pip install --constraint {made}/constraints.txt .[worker,s3]"
    assert (home / "opt" / "motionq").resolve() == made

    (home / "broken").touch()
    made = home / "opt" / "motionq-0.3.0"
    _says(home, "python3", f"mkdir -p {made}/bin && cp pip {made}/bin/")
    shell.run("release 0.3.0 || echo no")
    assert (home / "opt" / "motionq").resolve().name == "motionq-0.2.0"


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
