"""Task IDs in hand survive on this machine's disk until the server has them for good."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from motionq.contract.settings import Settings
from motionq_ops.redis_server import RedisServer
from motionq_worker.journal import Entry, Journal
from motionq_worker.recovery import replay_journal
from motionq_worker.services import Services
from support.life import ESTIMATE, Life

ENTRY = Entry(job_id="job1", nonce="a" * 40, task_id="T1")


def test_an_entry_is_on_disk_when_add_returns_and_survives_the_process(tmp_path: Path) -> None:
    """A process killed right after `add` has left its entry to the next one, complete or not at all."""
    code = (
        "import os, pathlib, signal\n"
        "from motionq_worker.journal import Entry, Journal\n"
        f"Journal(pathlib.Path({str(tmp_path)!r})).add(Entry(job_id='job1', nonce={'a' * 40!r}, task_id='T1'))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert list(Journal(tmp_path).entries()) == [ENTRY]
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]


@pytest.mark.parametrize("content", ['{"job_id": "x"', "[]", "7", '{"job_id": "x"}'])
def test_a_garbled_file_does_not_hide_the_others(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Half a line of a full disk is passed over, kept for a person, and told once."""
    journal = Journal(tmp_path)
    journal.add(ENTRY)
    (tmp_path / "0.json").write_text(content)
    assert list(journal.entries()) == list(journal.entries()) == [ENTRY]
    assert [r.getMessage().partition(" can't be read (")[0] for r in caplog.records] == [
        f"the journal's file {tmp_path / '0.json'}"
    ]


def test_a_line_of_a_newer_release_is_read(tmp_path: Path) -> None:
    """Fields that this release does not know change nothing about the task."""
    (tmp_path / "0.json").write_text(json.dumps({**dataclasses.asdict(ENTRY), "sent_at": 17}))
    assert list(Journal(tmp_path).entries()) == [ENTRY]


def test_another_server_starts_the_time_anew(tmp_path: Path) -> None:
    """A write is durable only after it has stood on one and the same server for long enough."""
    journal = Journal(tmp_path)
    assert journal.held(ENTRY, "one", rests=True, settled_after=0.0)
    assert not journal.held(ENTRY, "two", rests=True, settled_after=60.0)
    assert not journal.held(ENTRY, "two", rests=True, settled_after=60.0)
    journal.lacks(ENTRY)
    assert journal.held(ENTRY, "two", rests=True, settled_after=0.0)


def test_a_busy_disk_holds_nothing(tmp_path: Path) -> None:
    """The time begins when the disk was at rest, and is over when it is at rest again."""
    journal = Journal(tmp_path)
    assert not journal.held(ENTRY, "one", rests=False, settled_after=0.0)
    assert journal.held(ENTRY, "one", rests=True, settled_after=0.0)
    assert not journal.held(ENTRY, "one", rests=False, settled_after=0.0)
    assert journal.held(ENTRY, "one", rests=True, settled_after=0.0)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "server", appendfsync="always") as running:
        yield running


@pytest.fixture
def services(tmp_path: Path, server: RedisServer) -> Iterator[Services]:
    built = Services(Settings(redis_url=server.url, data_dir=tmp_path / "data"))
    yield built
    built.close()


def test_a_task_id_that_the_server_lost_is_recorded_again_and_then_erased(services: Services) -> None:
    """The record lacks the task: it is written, and its cost counted once; it has it durably: the entry goes."""
    lived = Life(services.store.redis, services.store.keys, services.settings)
    record = lived.reach("submitting", "job1")
    services.journal.add(Entry(job_id="job1", nonce=record.nonce, task_id="T1"))

    replay_journal(services)
    found = services.store.get("job1")
    assert (found.state, found.task_id, found.running_since > 0) == ("running", "T1", True)
    assert len(list(services.journal.entries())) == 1
    replay_journal(services)
    assert list(services.journal.entries()) == []
    assert [float(spent) for spent in lived.redis.hvals(lived.keys.spent)] == [ESTIMATE]
    assert [p.estimate for p in found.purchases] == [ESTIMATE]


def test_a_task_id_of_a_gone_job_stays_in_the_journal(services: Services, caplog: pytest.LogCaptureFixture) -> None:
    """After a loss of data the journal is the trace that money was spent: it is kept, and said once."""
    services.journal.add(ENTRY)
    for _ in range(3):
        replay_journal(services)
    assert list(services.journal.entries()) == [ENTRY]
    assert [r.message for r in caplog.records if "T1" in r.message] == [
        "task T1 was bought for job job1, which the server does not know"
    ]


def test_the_journal_is_private(tmp_path: Path) -> None:
    """Its folder is for this user alone: an entry names a purchase's nonce."""
    Journal(tmp_path / "journal").add(ENTRY)
    assert oct((tmp_path / "journal").stat().st_mode & 0o777) == "0o700"
