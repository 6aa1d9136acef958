"""Brings a job's files to the vendor: each content once, checked before, by one worker at a time."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

from motionq.contract.job import Source, StagedSource, UrlSource
from motionq.contract.models import (
    ImageFacts,
    Kind,
    VendorModel,
    VideoFacts,
    check_file,
    check_image,
    check_type,
    check_video,
)
from motionq.contract.redact import redact
from motionq.contract.store import JobStore
from motionq.media import HEAD_BYTES, TYPES, recognise
from motionq.staging import StagedFile, Staging
from motionq_worker.fetch import fetch
from motionq_worker.inspection import inspect_image, inspect_video
from motionq_worker.kie.client import KieClient
from motionq_worker.leases import Lease
from motionq_worker.metering import Meter

UPLOAD_PATH = "motionq"
_ASK_ANEW = 1.0  # seconds; its uploader may have ended before the job stood in the line
Facts = ImageFacts | VideoFacts


class UploadBusy(Exception):
    """Another worker uploads this content now, and wakes this job then, at the latest after `wait` seconds."""

    def __init__(self, wait: float) -> None:
        super().__init__("another job uploads the same file")
        self.wait = wait


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One file of a job, and what it is held against."""

    kind: Kind
    source: Source
    model: VendorModel
    orientation: str

    def check(self, facts: Facts) -> None:
        """Raises InvalidJob when the vendor would not take such a file."""
        check_type(self.model, self.kind, facts.media_type)
        if isinstance(facts, ImageFacts):
            check_image(self.model, facts)
        else:
            check_video(self.model, facts, self.orientation)


@dataclass(frozen=True, kw_only=True)
class Uploaded:
    """A content that lies at the vendor.

    `at`: ms when it was uploaded; `sent`: bytes moved for it now (0: cached); `facts`: None for a passed address.
    """

    url: str
    at: int
    facts: Facts | None
    content: str = ""
    sent: int = 0


@dataclass(frozen=True, kw_only=True)
class Fetching:
    """How addresses are fetched; seconds."""

    exempt: frozenset[str]
    connect_timeout: float
    read_timeout: float


class Uploads:
    """The cache of contents at the vendor, and the way there."""

    def __init__(
        self,
        store: JobStore,
        staging: Staging,
        client: KieClient,
        fetching: Fetching,
        *,
        ttl: float,
        lease: float,
        meter: Meter | None = None,
    ) -> None:
        self._store = store
        self._staging = staging
        self._client = client
        self._fetching = fetching
        self._ttl = int(ttl * 1000)
        self._lease = int(lease * 1000)
        self._meter = meter or Meter()

    def bring(self, wanted: Wanted, lease: Lease) -> Uploaded:
        """The content at the vendor, uploaded if it is not there or too old.

        Raises InvalidJob and Unreadable (the file is wrong), UploadBusy (come back soon), ClaimLost, and the faults of
        storage (OSError), of addresses (FetchFailed, ForbiddenAddress) and of the vendor's free calls (KieFault).
        """
        file = self._bring(wanted, lease)
        self._meter.uploaded(file.sent)
        return file

    def _bring(self, wanted: Wanted, lease: Lease) -> Uploaded:
        if isinstance(wanted.source, StagedSource):
            return self._cached(wanted, wanted.source.sha256) or self._upload_staged(wanted, wanted.source, lease)
        with self._fetched(wanted, wanted.source) as (path, content):
            return self._cached(wanted, content) or self._upload(wanted, content, path, lease)

    def forget(self, contents: Iterable[str]) -> None:
        """The vendor can't use what lies there: the next job uploads again."""
        for content in contents:
            self._store.redis.delete(self._store.keys.upload(content))

    def _cached(self, wanted: Wanted, content: str) -> Uploaded | None:
        raw = self._store.redis.hgetall(self._store.keys.upload(content))
        if not raw or self._store.now() - int(raw["at"]) >= self._ttl:
            return None
        kind = ImageFacts if wanted.kind == "image" else VideoFacts
        facts: Facts = kind(**json.loads(raw["facts"]))
        wanted.check(facts)
        return Uploaded(url=str(raw["url"]), at=int(raw["at"]), facts=facts, content=content)

    def _upload_staged(self, wanted: Wanted, source: StagedSource, lease: Lease) -> Uploaded:
        with self._staging.local_path(StagedFile(**source.model_dump())) as path:
            return self._upload(wanted, source.sha256, path, lease)

    def _upload(self, wanted: Wanted, content: str, path: Path, lease: Lease) -> Uploaded:
        with self._alone(content, lease, staged=isinstance(wanted.source, StagedSource)):
            again = self._cached(wanted, content)
            if again:
                return again
            facts = inspect_image(path) if wanted.kind == "image" else inspect_video(path)
            wanted.check(facts)
            return self._send(content, path, facts, lease)

    def _send(self, content: str, path: Path, facts: Facts, lease: Lease) -> Uploaded:
        at, size = self._store.now(), path.stat().st_size
        kind = TYPES[facts.media_type]
        answer = self._client.upload(
            path,
            size=size,
            # Names at the vendor: equal ones overwrite, and its CDN may then lag. So each upload has its own.
            file_name=f"{content[:16]}-{at}{kind.extension}",
            upload_path=UPLOAD_PATH,
            mime=facts.media_type,
            progress=lambda _: lease.check(),
        )
        self._remember(content, answer.download_url, at, facts)
        return Uploaded(url=answer.download_url, at=at, facts=facts, content=content, sent=size)

    def _remember(self, content: str, url: str, at: int, facts: Facts) -> None:
        key = self._store.keys.upload(content)
        pipe = self._store.redis.pipeline()
        pipe.hset(key, mapping={"url": url, "at": at, "facts": json.dumps(asdict(facts))})
        pipe.pexpire(key, self._ttl)
        pipe.execute()

    @contextmanager
    def _alone(self, content: str, lease: Lease, *, staged: bool) -> Iterator[None]:
        """One uploader per content at a time; the lock is as long-lived as the claim, so it dies with its worker."""
        key, owner = self._store.keys.uploading(content), lease.owner
        redis = self._store.redis
        if not redis.set(key, owner, nx=True, px=self._lease) and redis.get(key) != owner:
            self._wait_in_line(content, lease.job_id, staged)
        lease.locks.add(key)
        try:
            yield
        finally:
            lease.locks.discard(key)
            if redis.get(key) == owner:
                redis.delete(key)
            self._wake_the_line(content, lease.job_id)

    def _wait_in_line(self, content: str, job_id: str, staged: bool) -> NoReturn:
        """Until it is woken. A staged file's job soon asks anew, since the claim knows its content (claim.lua)."""
        key = self._store.keys.waiting(content)
        self._store.redis.sadd(key, job_id)
        self._store.redis.pexpire(key, self._lease * 10)
        raise UploadBusy(_ASK_ANEW if staged else self._lease / 1000)

    def _wake_the_line(self, content: str, mine: str) -> None:
        pipe = self._store.redis.pipeline(transaction=True)
        pipe.smembers(self._store.keys.waiting(content))
        pipe.delete(self._store.keys.waiting(content))
        waiting, _ = pipe.execute()
        self._store.hurry("upload", [str(job_id) for job_id in waiting if job_id != mine])

    @contextmanager
    def _fetched(self, wanted: Wanted, source: UrlSource) -> Iterator[tuple[Path, str]]:
        """An address as a checked local file, and its content's hash."""
        with tempfile.TemporaryDirectory(prefix="motionq-") as folder:
            path = Path(folder) / "file"
            limit = wanted.model.limits(wanted.kind).max_bytes
            got = fetch(
                source.url,
                path,
                limit_bytes=limit,
                exempt=self._fetching.exempt,
                connect_timeout=self._fetching.connect_timeout,
                read_timeout=self._fetching.read_timeout,
            )
            with path.open("rb") as file:
                found = recognise(file.read(HEAD_BYTES))
            mime = found.mime if found else None
            check_file(wanted.model, wanted.kind, mime, got.size, name=redact(source.url))
            yield path, got.sha256


def passed_through(source: Source) -> str:
    """The address that goes to the vendor as it is."""
    if not isinstance(source, UrlSource):
        raise TypeError("only an address can be passed through")
    return source.url
