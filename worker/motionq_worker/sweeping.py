"""Removes staged files that no job needs any more. Decision 0008 says why it is safe.

A file goes when it has not been submitted for `ttl` seconds and no job that is unfinished, failed or cancelled (so that
it may be replayed) was given it. Only local storage is swept: object stores can't take a file away and look at its time
in one go, there their own lifecycle rules do it.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from motionq.contract.states import UNFINISHED, State
from motionq.contract.store import JobStore, reachable
from motionq.staging import SETTING, open_storage

IN_USE = (*UNFINISHED, State.FAILED, State.CANCELLED)
QUEUES = ".queues"  # in it a file for each queue that stages files here
_STAGED = re.compile(r"([0-9a-f]{64})\.[a-z0-9]+")
_ASIDE = ".swept"
_PART = ".part"


@dataclass(frozen=True)
class Swept:
    """What was removed: files, and their bytes."""

    files: int = 0
    size: int = 0


class Shared(Exception):
    """Other queues use the storage, and nobody here knows what their jobs need."""


def local_root(url: str) -> Path | None:
    """The folder of a local staging storage; None for any other one."""
    fs, root = open_storage(url, setting=SETTING)
    return Path(root) if getattr(fs, "local_file", False) else None


def sweep(store: JobStore, root: Path, *, ttl: float) -> Swept:
    """Sweeps the storage of the queue of `store` once; `ttl` in seconds.

    Raises Shared, OSError, QueueUnavailable; nothing that a job needs is ever gone then, either.
    """
    if not root.is_dir():
        return Swept()
    _sign(store, root)
    before = time.time() - ttl
    _put_back(root)
    old = [path for path in _files(root) if _touched(path) < before]
    for path in old:
        if path.suffix == _PART:  # of a submission that was killed
            path.unlink(missing_ok=True)
    staged = [path for path in old if _STAGED.fullmatch(path.name)]
    return _remove(_unused(store, staged), before) if staged else Swept()


def _unused(store: JobStore, paths: Iterable[Path]) -> Iterator[Path]:
    needed = store.contents(IN_USE)
    return (path for path in paths if path.name.partition(".")[0] not in needed)


def _remove(paths: Iterable[Path], before: float) -> Swept:
    files = size = 0
    for path in paths:
        bytes_ = take_away(path, before)
        if bytes_ is not None:
            files, size = files + 1, size + bytes_
    return Swept(files, size)


def take_away(path: Path, before: float) -> int | None:
    """Removes a file and gives its bytes; None if it is gone, or was touched since `before` (seconds since the epoch).

    It is put aside first, in one step, so that a submission either finds it and has touched it by then, or finds it
    gone and writes it again.
    """
    aside = path.with_name(f"{path.name}{_ASIDE}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return None
    facts = aside.stat()
    if facts.st_mtime >= before:
        aside.rename(path)
        return None
    aside.unlink()
    return facts.st_size


def _put_back(root: Path) -> None:
    """A sweep that was killed may have left files aside; an old one is put aside again in a moment."""
    for aside in root.glob(f"??/*{_ASIDE}"):
        aside.rename(aside.with_suffix(""))


def _files(root: Path) -> list[Path]:
    return [path for path in root.glob("??/*") if path.is_file()]


def _touched(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


def _sign(store: JobStore, root: Path) -> None:
    """Writes this queue down in the storage; raises Shared where it is not alone."""
    with reachable():
        store.redis.set(store.keys.staging, secrets.token_hex(16), nx=True)
        name = str(store.redis.get(store.keys.staging))
    book = root / QUEUES
    book.mkdir(exist_ok=True)
    (book / name).write_text(f"{store.keys.namespace}\n", encoding="utf-8")
    others = sorted(path.name for path in book.iterdir() if path.name != name)
    if others:
        raise Shared(
            "staged files are not removed: other queues stage files in the same storage, too (or did: then remove"
            f" {', '.join(others[:3])} from {book})"
        )
