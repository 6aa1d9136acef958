"""`motionq bench callbacks`, small."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.bench import bench

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")


def test_it_measures_both_runs(tmp_path: Path) -> None:
    """Every callback is answered with 200 and is on record; what the environment configures plays no part."""
    said = bench(tmp_path, "callbacks", "--rate=50", "--seconds=1", "--jobs=20", "--connections=4")
    assert [run["name"] for run in said["runs"]] == ["at pace", "flat out"]
    assert [(run["errors"], run["lost"]) for run in said["runs"]] == [(0, 0), (0, 0)]
    assert said["runs"][0]["callbacks"] == 50
    assert said["runs"][1]["callbacks"] > 50
    assert list(tmp_path.iterdir()) == []
