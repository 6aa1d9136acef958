"""Where files wait for a worker: under their SHA-256, in storage that producers and all workers reach.

A file appears under its final name complete or not at all: it is written beside it and renamed. Equal content has an
equal name, so staging the same video for a thousand jobs stores it once. `put` renews the modification time of a file
that is already there, so that a clean-up by age does not take it away under a new job; where the time can't be renewed
(S3 and other object stores, a file of another user) a file older than a day is written again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from fsspec.core import split_protocol, url_to_fs
from fsspec.registry import known_implementations

from motionq.contract.errors import InvalidJob, InvalidSettings, MotionQueueError
from motionq.contract.models import Kind, VendorModel, check_size
from motionq.contract.redact import redact
from motionq.media import TYPES
from motionq.sources import CHUNK_BYTES, Source, look, opened, read

SETTING = "MOTIONQ_STAGING_URL"
_YOUNG = 86_400.0  # seconds: a file whose time can't be renewed is written again when it is older


@dataclass(frozen=True, kw_only=True)
class StagedFile:
    """A file in the staging storage: its content's hash (hex), bytes, media type and the caller's name for it."""

    sha256: str
    size: int
    media_type: str
    name: str

    @property
    def extension(self) -> str:
        """The usual extension of its type, with the dot."""
        return TYPES[self.media_type].extension

    @property
    def key(self) -> str:
        """Its path inside the storage: `ab/ab12….png`."""
        return f"{self.sha256[:2]}/{self.sha256}{self.extension}"


class Staging:
    """Files under their SHA-256 at an fsspec URL (`file:///…`, `s3://…`, `memory://…`) or a plain local path.

    Holds no connection of its own (fsspec keeps one per process and thread), so it may cross a fork.
    Raises `InvalidSettings` for a URL that can't be used here.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        open_storage(url, setting=SETTING)

    def __repr__(self) -> str:
        return f"Staging({redact(self.url)!r})"

    def put(self, source: Source, *, model: VendorModel, kind: Kind) -> StagedFile:
        """Check type and bytes of `source` by its content and store it unless it is there already.

        Raises `InvalidJob` with field `image` or `video`: no such file, a folder, unreadable, empty, of a wrong type,
        too large (nothing beyond the limit is read); `InvalidSettings` when the storage takes no files.
        """
        with opened(source, kind, model.limits(kind).max_bytes) as (name, handle):
            start = handle.tell()
            staged = _measure(handle, name, model, kind)
            handle.seek(start)
            with self._usable():
                if not (self._is_there(staged) and self._renew(staged)):
                    self._write(handle, staged, kind)
            return staged

    def exists(self, staged: StagedFile) -> bool:
        """Whether the file is there."""
        return self._is_there(staged)

    def open(self, staged: StagedFile) -> BinaryIO:
        """The file, open for reading; raises `FileNotFoundError` when it is gone."""
        fs, path = self._at(staged)
        try:
            return cast(BinaryIO, fs.open(path, "rb"))
        except FileNotFoundError:
            raise _gone(staged) from None

    @contextlib.contextmanager
    def local_path(self, staged: StagedFile) -> Iterator[Path]:
        """A path on this machine: the file itself where the storage is local, else a copy that lives in the `with`.

        Raises `FileNotFoundError` when the file is gone. The path must not be written to.
        """
        fs, path = self._at(staged)
        if _is_local(fs):
            if not Path(path).is_file():
                raise _gone(staged)
            yield Path(path)
            return
        with tempfile.TemporaryDirectory(prefix="motionq-") as folder:
            copy = Path(folder, f"{staged.sha256}{staged.extension}")
            with self.open(staged) as reader, copy.open("wb") as writer:
                shutil.copyfileobj(reader, writer, CHUNK_BYTES)
            yield copy

    def delete(self, staged: StagedFile) -> None:
        """Remove the file; nothing happens when it is gone already."""
        fs, path = self._at(staged)
        with contextlib.suppress(FileNotFoundError):
            fs.rm_file(path)

    def _at(self, staged: StagedFile) -> tuple[Any, str]:
        fs, root = open_storage(self.url, setting=SETTING)
        return fs, f"{root}/{staged.key}"

    def _is_there(self, staged: StagedFile) -> bool:
        fs, path = self._at(staged)
        try:
            return bool(fs.info(path)["size"] == staged.size)
        except FileNotFoundError:
            return False

    @contextlib.contextmanager
    def _usable(self) -> Iterator[None]:
        """What a storage says in its own way becomes one sentence that names the setting. Raises InvalidSettings."""
        try:
            yield
        except MotionQueueError:
            raise
        except Exception as error:  # each back end has errors of its own, whose words may hold anything
            reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
            raise InvalidSettings(f"{SETTING}: {shown(self.url)} takes no files: {reason}") from error

    def _renew(self, staged: StagedFile) -> bool:
        """Whether the file is as good as new; never makes one that has just been taken away."""
        fs, path = self._at(staged)
        try:
            if _is_local(fs):
                os.utime(path)
                # A sweep may have taken it between the look-up and the change of the time: then it is gone now.
                return self._is_there(staged)
        except FileNotFoundError:
            return False
        except PermissionError:
            pass
        return bool(time.time() - fs.modified(path).timestamp() < _YOUNG)

    def _write(self, handle: IO[bytes], staged: StagedFile, kind: Kind) -> None:
        fs, path = self._at(staged)
        temporary = f"{path}.{secrets.token_hex(8)}.part"
        try:
            _copy(handle, fs, temporary, staged, kind)
            fs.mv(temporary, path)
        except BaseException:
            with contextlib.suppress(Exception):
                fs.rm_file(temporary)
            raise


def open_storage(url: str, *, setting: str) -> tuple[Any, str]:
    """The fsspec file system of `url` and the root path in it; local folders are made as they are needed.

    Raises `InvalidSettings`, naming `setting`, when the URL's scheme is unknown or its package is not installed.
    """
    scheme = split_protocol(url)[0] or "file"
    options = {"auto_mkdir": True} if scheme in ("file", "local") else {}
    try:
        fs, root = url_to_fs(url, **options)
    except ImportError:
        raise InvalidSettings(f"{setting}: {scheme}:// {_missing_package(scheme)}") from None
    except ValueError:
        raise InvalidSettings(f"{setting}: {redact(url)} can't be used as a storage address") from None
    return fs, str(root).rstrip("/")


def _missing_package(scheme: str) -> str:
    known = known_implementations.get(scheme, {})
    package = str(known.get("class", "")).partition(".")[0]
    if package and package != "fsspec":
        return f"needs a package that is not installed: pip install {package}"
    return f"needs a package that is not installed ({known.get('err', 'unknown')})"


def shown(url: str) -> str:
    """A storage address without what may be secret in it; a local one has nothing of the kind."""
    return url if split_protocol(url)[0] in (None, "file", "local") else redact(url)


def _is_local(fs: Any) -> bool:
    return bool(getattr(fs, "local_file", False))


def _gone(staged: StagedFile) -> FileNotFoundError:
    return FileNotFoundError(f"{staged.name} ({staged.sha256[:12]}…) is no longer in the staging storage")


def _measure(handle: IO[bytes], name: str, model: VendorModel, kind: Kind) -> StagedFile:
    """Check and hash the whole content, in chunks; stops at the first byte beyond the limit."""
    start = handle.tell()
    found = look(handle, name, model, kind)
    handle.seek(start)
    sha256, size = _hash(handle, model, kind, name)
    return StagedFile(sha256=sha256, size=size, media_type=found.mime, name=name)


def _hash(handle: IO[bytes], model: VendorModel, kind: Kind, name: str) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    while chunk := read(handle, CHUNK_BYTES, kind, name):
        digest.update(chunk)
        size += len(chunk)
        check_size(model, kind, size, name=name)  # the file may grow while it is read
    return digest.hexdigest(), size


def _copy(handle: IO[bytes], fs: Any, path: str, staged: StagedFile, kind: Kind) -> None:
    """Write the measured content to `path`, and make sure that it still is the measured content."""
    digest, left = hashlib.sha256(), staged.size
    with fs.open(path, "wb") as writer:
        while left > 0 and (chunk := read(handle, min(CHUNK_BYTES, left), kind, staged.name)):
            digest.update(chunk)
            writer.write(chunk)
            left -= len(chunk)
        if _is_local(fs):
            # A job may be on record for weeks; after a power loss its file must not be an empty one.
            writer.flush()
            os.fsync(writer.fileno())
    if digest.hexdigest() != staged.sha256:
        raise InvalidJob(f"{kind}: {staged.name} changed while it was read", field=kind, value=staged.name)
