"""Temporary files of this worker, in one folder named by its process: a killed worker's can be told and removed."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_BASE = Path(tempfile.gettempdir())
_NAME = re.compile(r"motionq-worker-(\d+)")
_TICK = "tick"  # a file whose time of change is the last tick


def make() -> Path:
    """This process's folder; those of workers that are gone are removed first."""
    sweep()
    folder = _own()
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def ticked() -> None:
    """Leaves a sign of life for `motionq_worker.healthy`; without a folder (no worker) nothing happens."""
    with suppress(OSError):
        (_own() / _TICK).touch()


def ticks() -> dict[int, float | None]:
    """The workers on this machine (in this container) that live: process ID → last tick, seconds since the epoch."""
    return {pid: _last_tick(folder) for folder, pid in _folders() if not _is_over(pid)}


def sweep() -> None:
    """Removes the folders of processes that are gone, and this one's own."""
    for folder, pid in _folders():
        if pid == os.getpid() or _is_over(pid):
            shutil.rmtree(folder, ignore_errors=True)


def _own() -> Path:
    return _BASE / f"motionq-worker-{os.getpid()}"


def _folders() -> Iterator[tuple[Path, int]]:
    for folder in _BASE.glob("motionq-worker-*"):
        match = _NAME.fullmatch(folder.name)
        with suppress(OSError):  # it may be removed at this moment
            if match and folder.stat().st_uid == os.getuid():
                yield folder, int(match[1])


def _last_tick(folder: Path) -> float | None:
    try:
        return (folder / _TICK).stat().st_mtime
    except OSError:
        return None


def _is_over(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
