"""Task IDs in hand, on this machine's own disk, until Redis has them for good.

A task ID that the vendor has named is worth money, and Redis may be away, full, or about to lose its last second. So
each one is written here (and synced) before it is written there, recorded again whenever the record lacks it, and
erased only when the record has held it for longer than a power loss can take away.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A task ID and the purchase it belongs to."""

    job_id: str
    nonce: str
    task_id: str


class Journal:
    """One small file per task ID. Workers of one machine may share the folder: recording twice does no harm."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[Entry, tuple[str, float]] = {}  # under which server, and since when (monotonic seconds)
        self._complained: set[Entry] = set()
        self._unread: set[Path] = set()

    def add(self, entry: Entry) -> None:
        """On disk when this returns. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._path(entry)
        temporary = path.with_suffix(f".{os.getpid()}.part")
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(asdict(entry), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        self._sync_folder()

    def entries(self) -> Iterator[Entry]:
        """Everything that has not been erased, also by processes that are gone."""
        for path in sorted(self._folder.glob("*.json")):
            entry = self._read(path)
            if entry is not None:
                yield entry

    def _read(self, path: Path) -> Entry | None:
        """A line of a newer release may have more fields; one that can't be read is told once, and stays."""
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            return Entry(**{name: str(raw[name]) for name in Entry.__dataclass_fields__})
        except FileNotFoundError:  # erased by another worker of this machine
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            if path not in self._unread:
                self._unread.add(path)
                _log.error(
                    "the journal's file %s can't be read (%s): it may hold a paid task", path, type(error).__name__
                )
            return None

    def held(self, entry: Entry, server: str, *, rests: bool, settled_after: float) -> bool:
        """The record of this server holds the entry now; says whether that survives a loss of power.

        It has done so for `settled_after` seconds, and the server's disk was at rest before and is now (`rests`; see
        durability.py). Another server starts the time anew: a fail-over or a restart may have lost the write.
        """
        now = time.monotonic()
        known, since = self._held.get(entry, ("", now))
        if not rests:
            return False
        self._held[entry] = (server, since if known == server else now)
        return now - self._held[entry][1] >= settled_after

    def lacks(self, entry: Entry) -> None:
        """The record does not hold the entry."""
        self._held.pop(entry, None)

    def first_time(self, entry: Entry) -> bool:
        """Whether this is the first time that somebody complains about the entry."""
        if entry in self._complained:
            return False
        self._complained.add(entry)
        return True

    def erase(self, entry: Entry) -> None:
        """The write is durable: the line has done its work."""
        self._held.pop(entry, None)
        self._path(entry).unlink(missing_ok=True)

    def _path(self, entry: Entry) -> Path:
        return self._folder / f"{entry.nonce}.json"

    def _sync_folder(self) -> None:
        handle = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
