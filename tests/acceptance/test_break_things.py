"""Things break, and the vendor's ledger says what it cost: for eyes, and as chaos."""

from __future__ import annotations

import json
import re
from pathlib import Path

import av
import pytest

from support.local_stack import motionq

_BLOWS = (
    r"dropped kie\.ai's answer to the createTask of job (\w{26}): .*",
    r"killing worker w[12] \(SIGKILL\), which bought job \w{26}: .*",
    r"forged a callback .{90,110}: unsigned it gets 401; signed 200, .*",
    r"killing the queue's server \(SIGKILL\): .*",
    r"the callback came, and brought the task ID of job (\w{26}): [0-9a-f]{32}",
)


def test_the_demo_survives_everything_it_breaks(tmp_path: Path) -> None:
    """A lost answer, a killed worker, a forged callback, a killed server: three jobs, three purchases, three videos."""
    ended = motionq(tmp_path, "demo", "--break-things", timeout=180)
    assert ended.returncode == 0, ended.stderr
    said = [line.removeprefix("motionq: ") for line in ended.stderr.splitlines()]
    blows = [match for blow in _BLOWS for line in said if (match := re.fullmatch(blow, line))]
    assert [match.re.pattern for match in blows] == list(_BLOWS), ended.stderr
    assert [said.index(match[0]) for match in blows] == sorted(said.index(match[0]) for match in blows)
    assert blows[0][1] == blows[-1][1]
    *timelines, verdict = ended.stdout.splitlines()
    assert verdict == "jobs 3, purchases 3, lost 0, doubled 0"
    assert [re.sub(r" \d+\.\d", "", line).partition(": ")[2] for line in timelines] == [
        "queued > uploading > ready > armed > submitting > running > delivering > succeeded s",
        "queued > uploading > ready > armed > submitting > submit_unknown > running > delivering > succeeded s",
        "queued > uploading > ready > armed > submitting > running > delivering > succeeded s",
    ]
    videos = [*tmp_path.rglob("results/**/*.mp4")]
    assert len(videos) == 3
    for video in videos:
        with av.open(str(video)) as container:
            assert sum(1 for _ in container.decode(video=0)) > 0


@pytest.mark.timeout(420)
def test_chaos_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Workers and servers die, the vendor lies down, callbacks go astray: ledger and records agree after all."""
    ended = motionq(tmp_path, "bench", "chaos", "--jobs=40", "--minutes=0.2", "--seed=1", "--json", timeout=400)
    assert ended.stdout, ended.stderr
    said = json.loads(ended.stdout)
    zeros = {name: said[name] for name in ("lost", "doubled", "stuck", "misbooked")}
    assert zeros == {"lost": 0, "doubled": 0, "stuck": 0, "misbooked": 0}, said["findings"]
    assert ended.returncode == 0
    assert sum(said["states"].values()) == 40
    assert set(said["states"]) <= {"succeeded", "failed", "cancelled"}
    assert {"worker_killed", "server_killed", "server_restarted", "receiver_killed", "forged"} <= set(said["done"])
    assert said["purchases"] > 0
    assert said["faults_met"]
