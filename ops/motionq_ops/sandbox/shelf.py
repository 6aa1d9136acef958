"""The vendor's files: uploads by their path, kept on disk, gone after their time."""

from __future__ import annotations

import hashlib
import mimetypes
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from motionq_ops.sandbox.clock import Clock, iso_ms, wall_ms


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes that came in: their number, their hash, and where they are (None: thrown away)."""

    size: int
    sha256: str
    path: Path | None


@dataclass(frozen=True, slots=True)
class Stored:
    """One uploaded file. ``expires`` is simulated time."""

    file_path: str
    name: str
    mime: str
    blob: Blob
    expires: float


class Intake:
    """Bytes on their way to disk; nothing larger than a chunk is held in memory."""

    def __init__(self, folder: Path, keep: bool) -> None:
        self._folder = folder
        self._part = folder / f"part-{secrets.token_hex(8)}"
        self._file = self._part.open("wb") if keep else None
        self._hash = hashlib.sha256()
        self._size = 0

    def write(self, chunk: bytes) -> None:
        """Take in one chunk."""
        self._size += len(chunk)
        self._hash.update(chunk)
        if self._file is not None:
            self._file.write(chunk)

    def finish(self) -> Blob:
        """Name the bytes by their hash; equal content is stored once."""
        digest = self._hash.hexdigest()
        if self._file is None:
            return Blob(self._size, digest, None)
        self._file.close()
        return Blob(self._size, digest, self._part.replace(self._folder / digest))

    def abandon(self) -> None:
        """Remove what came in so far; harmless after finish."""
        if self._file is not None:
            self._file.close()
            self._part.unlink(missing_ok=True)


class Shelf:
    """All uploads of all accounts."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._files: dict[str, Stored] = {}

    def intake(self, keep: bool = True) -> Intake:
        """Begin to take in bytes."""
        return Intake(self._folder, keep)

    def put(self, account: str, upload_path: str, name: str | None, mime: str | None, blob: Blob, ttl: float) -> Stored:
        """Store under the vendor's path; an equal name overwrites (documented). ``ttl`` in simulated seconds."""
        guessed = mime or (mimetypes.guess_type(name)[0] if name else None) or "application/octet-stream"
        name = name or f"{wall_ms()}-{secrets.token_hex(4)}{mimetypes.guess_extension(guessed) or ''}"
        file_path = f"kieai/{account}/{upload_path.strip('/')}/{name}"
        stored = Stored(file_path, name, guessed, blob, self._clock.now() + ttl)
        self._files[file_path] = stored
        return stored

    def get(self, file_path: str) -> Stored | None:
        """Return a file that is there and has not expired."""
        stored = self._files.get(file_path)
        return stored if stored is not None and self._clock.now() < stored.expires else None

    def lose(self, file_path: str) -> None:
        """Forget a file."""
        self._files.pop(file_path, None)

    def clear(self) -> None:
        """Forget all files."""
        self._files.clear()


def answer_data(stored: Stored, base: str) -> dict[str, Any]:
    """Return the ``data`` of an upload's answer: the recorded shape (42 of 42), not the documented one."""
    return {
        "success": True,
        "fileName": stored.name,
        "filePath": stored.file_path,
        "downloadUrl": f"{base}/{stored.file_path}",
        "fileSize": stored.blob.size,
        "mimeType": stored.mime,
        "uploadedAt": iso_ms(),
    }


def own_path(url: str, is_ours: Callable[[str], bool]) -> str | None:
    """Return the path of an upload of ours that a URL names, or None for anybody else's URL."""
    parts = urlsplit(url)
    path = unquote(parts.path).lstrip("/")
    return path if path.startswith("kieai/") and is_ours(parts.netloc) else None
