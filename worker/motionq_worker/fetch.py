"""Bring a file from an address to a local path: streamed, bounded in bytes and time, under the URL rule."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from motionq.contract.redact import redact
from motionq_worker.addresses import ForbiddenAddress, PublicSession, get

CHUNK_BYTES = 256 * 1024
TOTAL_SECONDS = 900.0

Progress = Callable[[int, int | None], None]

# RFC 9110: these may pass; every other 4xx says that asking again gets the same answer. 403 is how an object store
# says that a signature has expired.
_PASSING = frozenset({408, 421, 425, 429})
_WORDS = {401: "not allowed", 403: "refused: expired or not allowed", 404: "not found", 410: "gone"}


@dataclass(frozen=True, kw_only=True)
class FetchedFile:
    """A file that arrived whole: where, how many bytes, and the hash of its content (hex)."""

    path: Path
    size: int
    sha256: str


class FetchFailed(Exception):
    """The file could not be fetched; `permanent` when asking again can't help, `status` where HTTP answered.

    The message is one sentence with the redacted address.
    """

    def __init__(self, message: str, *, permanent: bool, status: int | None = None) -> None:
        super().__init__(message)
        self.permanent = permanent
        self.status = status


def fetch(
    url: str,
    destination: Path,
    *,
    limit_bytes: int,
    exempt: frozenset[str],
    connect_timeout: float,
    read_timeout: float,
    total_timeout: float = TOTAL_SECONDS,
    progress: Progress | None = None,
) -> FetchedFile:
    """Download `url` to `destination`, which is removed again if anything fails.

    At most `limit_bytes` are taken, and the whole transfer lasts at most `total_timeout` seconds. `progress` is called
    after each chunk with the bytes so far and the bytes announced (None: not announced).
    Raises `FetchFailed`; a fault of the local disk is an `OSError`.
    """
    shown, timeout = redact(url), (connect_timeout, read_timeout)
    outcome: FetchedFile | FetchFailed
    try:
        with PublicSession(exempt) as session, _deadline(session, total_timeout) as overdue:
            try:
                outcome = _download(session, url, destination, limit_bytes, timeout, progress)
            except (requests.RequestException, ForbiddenAddress, FetchFailed) as error:
                outcome = _translate(error, shown)
        # A body of unannounced length that the deadline cut looks complete. And a fault is raised only here, outside
        # of the `except`, so that no traceback carries the unredacted address along.
        if overdue.is_set():
            outcome = FetchFailed(f"{shown} did not arrive within {total_timeout:g} s", permanent=False)
        if isinstance(outcome, FetchFailed):
            raise outcome
        return outcome
    except BaseException:
        destination.unlink(missing_ok=True)
        raise


@contextmanager
def _deadline(session: PublicSession, seconds: float) -> Iterator[threading.Event]:
    """Cuts the session's connections after `seconds`; a server that sends a byte now and then can't hold us longer."""
    overdue = threading.Event()

    def cut() -> None:
        overdue.set()
        session.abort()

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield overdue
    finally:
        timer.cancel()
        timer.join()


def _download(
    session: PublicSession,
    url: str,
    destination: Path,
    limit: int,
    timeout: tuple[float, float],
    progress: Progress | None,
) -> FetchedFile:
    # Without compression the announced length is the file's, and a short body is noticed.
    with get(session, url, timeout=timeout, headers={"Accept": "*/*", "Accept-Encoding": "identity"}) as response:
        announced = _check_answer(response, redact(url), limit)
        digest, size = hashlib.sha256(), 0
        with destination.open("wb") as writer:
            for chunk in response.iter_content(CHUNK_BYTES):
                size += len(chunk)
                if size > limit:
                    raise _too_large(redact(url), limit)
                digest.update(chunk)
                writer.write(chunk)
                if progress:
                    progress(size, announced)
    if announced not in (None, size) or size == 0:
        raise FetchFailed(f"{redact(url)}: {size} of {announced or 'some'} bytes arrived", permanent=False, status=200)
    return FetchedFile(path=destination, size=size, sha256=digest.hexdigest())


def _check_answer(response: requests.Response, shown: str, limit: int) -> int | None:
    """The announced bytes of the body; raises `FetchFailed` for an answer without the file, or with too large a one."""
    status = response.status_code
    if status != 200:
        words = f" ({_WORDS[status]})" if status in _WORDS else ""
        permanent = status < 500 and status not in _PASSING
        raise FetchFailed(f"{shown} answered {status}{words}", permanent=permanent, status=status)
    if response.headers.get("Content-Encoding", "identity") != "identity":
        return None
    length = response.headers.get("Content-Length", "")
    if not length.isdecimal():
        return None
    if int(length) > limit:
        raise _too_large(shown, limit)
    return int(length)


def _too_large(shown: str, limit: int) -> FetchFailed:
    return FetchFailed(f"{shown} is larger than the limit of {limit:,} bytes", permanent=True, status=200)


def _translate(error: Exception, shown: str) -> FetchFailed:
    """One sentence for what requests raised, whose own texts hold the unredacted address."""
    if isinstance(error, FetchFailed):
        return error
    if isinstance(error, ForbiddenAddress):
        return FetchFailed(str(error), permanent=True)
    for kind, words, permanent in _FAULTS:
        if isinstance(error, kind):
            return FetchFailed(f"{shown}: {words}", permanent=permanent)
    return FetchFailed(f"{shown}: {type(error).__name__}", permanent=False)


# First match wins: a ConnectTimeout is a ConnectionError too, and an SSLError is one as well.
_FAULTS: tuple[tuple[type[Exception], str, bool], ...] = (
    (requests.TooManyRedirects, "too many redirects", True),
    (requests.exceptions.InvalidURL, "not a well-formed address", True),
    (requests.Timeout, "no answer in time", False),
    (requests.exceptions.SSLError, "no trusted TLS connection", False),
    (requests.exceptions.ChunkedEncodingError, "the connection was cut during the transfer", False),
    (requests.exceptions.ContentDecodingError, "the content can't be decoded", False),
    (requests.ConnectionError, "can't be reached, or the connection was cut", False),
)
