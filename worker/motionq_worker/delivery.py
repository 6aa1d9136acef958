"""Brings a finished video into storage that the operator owns: fetched, decoded, then renamed into place."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from motionq.staging import open_storage
from motionq_worker.fetch import fetch
from motionq_worker.inspection import check_playable
from motionq_worker.leases import Lease
from motionq_worker.uploads import Fetching

LARGEST = 2 * 1024**3  # bytes; results of 30 s at 1080p are some 30 MB
_CHUNK = 1024 * 1024


class NoVideo(Exception):
    """kie.ai reports success and names no video."""


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """Where the videos lie now, and their bytes."""

    files: tuple[str, ...]
    size: int


class Delivery:
    """Puts videos into `MOTIONQ_RESULTS_URL`; with `none` the vendor's addresses are all there is."""

    def __init__(self, url: str, fetching: Fetching) -> None:
        self._url = url
        self._fetching = fetching

    def bring(self, job_id: str, urls: list[str], lease: Lease) -> Delivered:
        """Fetch, check and store every video.

        Raises FetchFailed, ForbiddenAddress, Unreadable, NoVideo, OSError, ClaimLost; then nothing lies under a final
        name that is not whole.
        """
        if not urls:
            raise NoVideo("kie.ai reports success and names no video")
        if self._url == "none":
            return Delivered(files=(), size=0)
        done = [self._one(url, _name(job_id, n), lease) for n, url in enumerate(urls, 1)]
        return Delivered(files=tuple(place for place, _ in done), size=sum(size for _, size in done))

    def _one(self, url: str, name: str, lease: Lease) -> tuple[str, int]:
        with tempfile.TemporaryDirectory(prefix="motionq-") as folder:
            got = fetch(
                url,
                Path(folder) / "video",
                limit_bytes=LARGEST,
                exempt=self._fetching.exempt,
                connect_timeout=self._fetching.connect_timeout,
                read_timeout=self._fetching.read_timeout,
                progress=lambda _done, _all: lease.check(),
            )
            check_playable(got.path)
            lease.check()
            return self._store(got.path, name), got.size

    def _store(self, source: Path, name: str) -> str:
        """Under a temporary name first, so that whoever sees the final name sees the whole video."""
        fs, root = open_storage(self._url, setting="MOTIONQ_RESULTS_URL")
        final = f"{root}/{name}"
        temporary = f"{final}.{secrets.token_hex(8)}.part"
        try:
            fs.makedirs(root, exist_ok=True)
            with source.open("rb") as reader, fs.open(temporary, "wb") as writer:
                shutil.copyfileobj(reader, writer, _CHUNK)
                _sync(writer)
            fs.mv(temporary, final)
        except BaseException:
            with contextlib.suppress(Exception):
                fs.rm_file(temporary)
            raise
        return final if "file" in fs.protocol else str(fs.unstrip_protocol(final))


def _sync(writer: IO[bytes]) -> None:
    """On disk before the record says so; storage that is no local file does this by itself."""
    with contextlib.suppress(AttributeError, OSError, ValueError):
        writer.flush()
        os.fsync(writer.fileno())


def _name(job_id: str, n: int) -> str:
    return f"{job_id}.mp4" if n == 1 else f"{job_id}.{n}.mp4"
