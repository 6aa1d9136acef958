"""`motionq bench` waiting, enqueue, lifetime, recovery, scale and plan, tiny: their numbers are counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support import command
from support.bench import bench

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")


def _plan(folder: Path, *words: str) -> dict[str, Any]:
    """What `bench plan` says."""
    answer = command.run(
        command.WHOLE, ("bench", "plan", *words, "--json"), folder, {"PATH": "/usr/bin:/bin", "HOME": str(folder)}
    )
    assert answer.code == 0, answer.err
    found: dict[str, Any] = json.loads(answer.out)
    return found


def _bench(folder: Path, *words: str) -> dict[str, Any]:
    """What a benchmark says; nothing stays behind."""
    found = bench(folder, *words)
    assert [path.name for path in folder.iterdir() if path.name.startswith("motionq")] == []  # temporary files
    return found


def test_waiting(tmp_path: Path) -> None:
    """Both designs look at every job, ours beside uploads that are on their way; what it costs is more than nothing."""
    pytest.importorskip("matplotlib")
    words = ("--jobs=20", "--interval=1s", "--seconds=2", "--slow-uploads=2", "--compare")
    said = _bench(tmp_path, "waiting", *words, f"--plot={tmp_path / 'waiting.png'}")
    ours, plain = said["runs"]
    assert [run["design"] for run in said["runs"]] == ["motionq, slow uploads", "Celery self.retry"]
    for run in (ours, plain):
        assert run["checks"] >= 20
        assert min(run["cpu_ms_per_check"], run["commands_per_check"], run["late_most"], run["rss_bytes"]) > 0
    assert (ours["uploads_open"], plain["uploads_open"]) == (2, 0)
    assert min(ours["job_bytes"], ours["used_bytes"]) > 1000
    assert (plain["job_bytes"], plain["used_bytes"]) == (None, None)
    assert (tmp_path / "waiting.png").read_bytes()[:4] == b"\x89PNG"


def test_enqueue(tmp_path: Path) -> None:
    """Every job that was timed is on the server."""
    said = _bench(tmp_path, "enqueue", "--jobs=30", "--chunk=20", "--repeats=1")
    assert [(run["jobs"], run["on_record"]) for run in said["runs"]] == [(3, 3), (30, 30), (3, 3), (3, 3)]


def test_lifetime(tmp_path: Path) -> None:
    """Each job was bought once, and every part of it took processor time and commands."""
    said = _bench(tmp_path, "lifetime", "--jobs=3", "--repeats=1", "--generation=0.5s", "--stored=2")
    (run,) = said["runs"]
    assert run["created"] == 3
    assert run["worker_ms"] > 0
    assert run["commands"] > run["scripts"] > 5
    assert run["reads"] >= 1
    assert run["ended_bytes"] > 1000
    assert said["stored"]["jobs"] == 2
    assert 0 < said["stored"]["p50"] <= said["stored"]["most"]
    assert said["stored"]["cpu_ms"] > run["worker_ms"]  # each video was decoded


def test_recovery(tmp_path: Path) -> None:
    """After the kill every task is looked at again, and no job is lost."""
    said = _bench(tmp_path, "recovery", "--jobs=5", "--interval=1s", "--workers=1", "--repeats=1", "--lease=2s")
    (run,) = said["runs"]
    assert (run["workers_killed"], run["checked"], run["running"]) == (1, 5, 5)
    assert 0 < run["first"] <= run["seconds"]


def test_scale(tmp_path: Path) -> None:
    """Checks and the processor time of each part are counted."""
    said = _bench(tmp_path, "scale", "--jobs=200", "--interval=1s", "--seconds=2", "--workers=1")
    (run,) = said["runs"]
    assert run["checks"] > 0
    assert run["worker_cores"] > 0
    assert run["limit"]


def test_scale_of_uploads(tmp_path: Path) -> None:
    """A worker's transfers are all under way while they are counted."""
    said = _bench(tmp_path, "scale", "--uploads", "--seconds=1", "--workers=1")
    (run,) = said["runs"]
    assert 0 < run["at_once"] <= 16
    assert run["limit"]


def test_plan(tmp_path: Path) -> None:
    """On paper: nothing is started, and the costs are named."""
    said = _plan(tmp_path, "--jobs-per-day=100000", "--median-seconds=150")
    assert said["plan"]["accounts"] == 4  # 366 in flight at the peak
    assert said["plan"]["transfers_at_once"] == pytest.approx(37.04, abs=0.01)  # 2.3 uploads and deliveries a second
    words = ("--no-results", "--transfers=8", "--transfer-seconds=2")
    said = _plan(tmp_path, "--jobs-per-day=100000", "--median-seconds=150", *words)
    assert said["plan"]["transfers_at_once"] == pytest.approx(4.63, abs=0.01)
    assert (said["results"], said["transfers"], said["transfer_seconds"]) == (False, 8, 2.0)
    assert {cost["name"] for cost in said["costs"]} >= {"worker CPU per check", "Redis memory per running job"}
