"""Staging and results: a small file is written, read back and deleted, by the code that producers and workers use."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from motionq.contract.errors import MotionQueueError
from motionq.contract.models import find_model
from motionq.contract.redact import redact
from motionq.contract.settings import Settings
from motionq.staging import Staging, open_storage
from motionq_ops.doctor.findings import Finding, error, ok

_PNG = b"\x89PNG\r\n\x1a\n"  # all that staging looks at besides the size
_WHYS = {
    "MOTIONQ_STAGING_URL": "files can't be given to workers: no job gets ready",
    "MOTIONQ_RESULTS_URL": "paid videos can't be delivered, and kie.ai deletes its own after a while",
}


@dataclass(frozen=True)
class StorageFacts:
    """`fault` is empty when all went well; `url` is fit to be shown."""

    setting: str
    url: str
    fault: str = ""


def look_at_storage(settings: Settings) -> list[StorageFacts]:
    """Both places; results `none` is not asked."""
    found = [_tried("MOTIONQ_STAGING_URL", settings.staging, try_staging)]
    if settings.results != "none":
        found.append(_tried("MOTIONQ_RESULTS_URL", settings.results, try_results))
    return found


def judge_storage(facts: StorageFacts) -> Finding:
    """Whether the place can be used from here."""
    if not facts.fault:
        return ok("storage", f"{facts.setting}, {facts.url}: written, read back, deleted")
    return error(
        "storage",
        f"{facts.setting}, {facts.url}: {facts.fault}",
        why=_WHYS[facts.setting],
        mend=f"let this user read, write and delete there (for a folder: ls -ld, df -h), or set {facts.setting}",
    )


def try_staging(url: str) -> None:
    """As a producer stages an image and a worker reads it. Raises whatever the storage raises."""
    staging, content = Staging(url), _PNG + secrets.token_bytes(32)  # random: it must be nobody else's file
    staged = staging.put(content, model=find_model("kling-2.6/motion-control"), kind="image")
    try:
        with staging.open(staged) as reader:
            _same(reader.read(), content)
    finally:
        staging.delete(staged)


def try_results(url: str) -> None:
    """As a video is delivered: under a temporary name, then renamed. Raises whatever the storage raises."""
    fs, root = open_storage(url, setting="MOTIONQ_RESULTS_URL")
    content, final = secrets.token_bytes(32), f"{root}/motionq-doctor-{secrets.token_hex(8)}"
    try:
        fs.makedirs(root, exist_ok=True)
        with fs.open(f"{final}.part", "wb") as writer:
            writer.write(content)
        fs.mv(f"{final}.part", final)
        with fs.open(final, "rb") as reader:
            _same(reader.read(), content)
        fs.rm_file(final)
    except BaseException:
        for left in (final, f"{final}.part"):
            with contextlib.suppress(Exception):
                fs.rm_file(left)
        raise


def _same(read: bytes, written: bytes) -> None:
    if read != written:
        raise OSError(0, "what was read is not what was written")


def _tried(setting: str, url: str, attempt: Callable[[str], None]) -> StorageFacts:
    try:
        attempt(url)
    except Exception as fault:  # each kind of storage has errors of its own
        return StorageFacts(setting, _shown(url), _words(fault).removeprefix(f"{setting}: "))
    return StorageFacts(setting, _shown(url))


def _shown(url: str) -> str:
    return url if url.startswith("file:") and "?" not in url else redact(url)


def _words(fault: Exception) -> str:
    """Never the error's whole text, which may hold a signed address."""
    if isinstance(fault, OSError) and fault.strerror:
        return fault.strerror
    return str(fault) if isinstance(fault, MotionQueueError) else type(fault).__name__
