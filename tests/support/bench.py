"""`motionq bench`, run as people run it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def bench(folder: Path, *words: str) -> dict[str, Any]:
    """What a benchmark says as JSON; what the environment configures plays no part."""
    bare = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "TMPDIR": str(folder), "MPLCONFIGDIR": str(folder)}
    ended = subprocess.run(
        [sys.executable, "-c", "from motionq_ops.cli import main; main()", "bench", *words, "--json"],
        env=bare | {"REDIS_URL": "redis://127.0.0.1:1", "MOTIONQ_NAMESPACE": "other"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found
