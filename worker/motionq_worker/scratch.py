"""Temporary files of this worker, in one folder named by its process: a killed worker's can be told and removed."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

_BASE = Path(tempfile.gettempdir())
_NAME = re.compile(r"motionq-worker-(\d+)")


def make() -> Path:
    """This process's folder; those of workers that are gone are removed first."""
    sweep()
    folder = _BASE / f"motionq-worker-{os.getpid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def sweep() -> None:
    """Removes the folders of processes that are gone, and this one's own."""
    for folder in _BASE.glob("motionq-worker-*"):
        match = _NAME.fullmatch(folder.name)
        if match and folder.stat().st_uid == os.getuid() and _is_over(int(match[1])):
            shutil.rmtree(folder, ignore_errors=True)


def _is_over(pid: int) -> bool:
    if pid == os.getpid():
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
