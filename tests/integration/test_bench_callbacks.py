"""`motionq bench callbacks`, small."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")


def test_it_measures_both_runs(tmp_path: Path) -> None:
    """Every callback is answered with 200 and is on record; what the environment configures plays no part."""
    bare = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    environment = bare | {"REDIS_URL": "redis://127.0.0.1:1", "MOTIONQ_NAMESPACE": "other"}
    words = ("bench", "callbacks", "--rate=50", "--seconds=1", "--jobs=20", "--connections=4", "--json")
    ended = subprocess.run(
        [sys.executable, "-c", "from motionq_ops.cli import main; main()", *words],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    said = json.loads(ended.stdout)
    assert [run["name"] for run in said["runs"]] == ["at pace", "flat out"]
    assert [(run["errors"], run["lost"]) for run in said["runs"]] == [(0, 0), (0, 0)]
    assert said["runs"][0]["callbacks"] == 50
    assert said["runs"][1]["callbacks"] > 50
    assert list(tmp_path.iterdir()) == []
