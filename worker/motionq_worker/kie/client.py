"""The calls that one thread makes to kie.ai: open a purchase, upload a file, read a task, ask for credits.

A purchase has a connection of its own (`connection.py`); the free calls share kept-alive ones (`session.py`). Hundreds
of looks at once go through `poller.py`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from requests import Request
from requests_toolbelt import MultipartEncoder, MultipartEncoderMonitor

from motionq_worker.kie.account import KieAccount
from motionq_worker.kie.answers import free_answer, record_answer
from motionq_worker.kie.connection import ANSWER_LIMIT, Answer, PurchaseConnection
from motionq_worker.kie.errors import CallRefused, SourceBroken, Unavailable, UploadRefused
from motionq_worker.kie.messages import Reading
from motionq_worker.kie.metered import metered
from motionq_worker.kie.session import FreeSession
from motionq_worker.kie.words import error_words, redact
from motionq_worker.metering import Meter

RECORD_LIMIT = 1024 * 1024  # bytes of a recordInfo answer: it echoes the prompt, escaped twice
_NAMES = {
    "file name": re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}"),
    "upload path": re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*"),
    "media type": re.compile(r"[a-z0-9.+-]+/[a-z0-9.+-]+"),
}


@dataclass(frozen=True)
class UploadedFile:
    """A file as the vendor keeps it (24 h): `download_url` goes into createTask, `size` is in bytes."""

    download_url: str
    size: int
    file_name: str
    file_path: str | None


class KieClient:
    """kie.ai for any number of threads; a forked child opens connections of its own."""

    def __init__(self, account: KieAccount, meter: Meter | None = None) -> None:
        self._account = account
        self._meter = meter or Meter()
        self._secrets = (account.api_key.get_secret_value(),)
        self._free, self._pid = FreeSession(account), os.getpid()

    def close(self) -> None:
        """Close the idle connections, and those in use when their calls end."""
        self._session.close()

    def open_purchase_connection(self) -> PurchaseConnection:
        """A fresh connection for one createTask; raises NotSent. Close it, or use it in a `with`."""
        with metered(self._meter, "connect"):
            return PurchaseConnection(self._account, self._meter)

    def credits(self) -> float:
        """The account's balance in credits (one credit is about US$0.005)."""
        with metered(self._meter, "credits"):
            answer = self._call(Request("GET", f"{self._account.api.url}/api/v1/chat/credit"))
            balance = self._data(answer)
            if isinstance(balance, bool) or not isinstance(balance, int | float):
                raise Unavailable("the answer names no balance", code=answer.status)
        self._meter.see("credits", float(balance))
        return float(balance)

    def read(self, task_id: str) -> Reading:
        """What recordInfo says about one task; raises a free call's fault."""
        request = Request("GET", f"{self._account.api.url}/api/v1/jobs/recordInfo", params={"taskId": task_id})
        with metered(self._meter, "record_info"):
            answer = self._call(request, limit=RECORD_LIMIT)
            return record_answer(answer.status, answer.body, task_id, problem=answer.problem, secrets=self._secrets)

    def upload(
        self,
        source: Path | BinaryIO,
        *,
        size: int,
        file_name: str,
        upload_path: str,
        mime: str,
        progress: Callable[[int], None] | None = None,
    ) -> UploadedFile:
        """Stream a file of `size` bytes, once, and check that the vendor kept as many.

        An equal `file_name` at the vendor is overwritten: put the content's hash into it. `progress` gets the number
        of the file's bytes taken up so far, about every 16 KB; an exception of its own ends the upload and reaches the
        caller. A stall longer than `read_timeout` ends it as Unavailable. Raises SourceBroken, UploadRefused and the
        free calls' faults; ValueError for names that the vendor can't be told.
        """
        for (what, pattern), value in zip(_NAMES.items(), (file_name, upload_path, mime), strict=True):
            if not pattern.fullmatch(value):
                raise ValueError(f"{value!r} is not a {what} that can be sent")
        with _opened(source) as file:
            part = _FilePart(file, size)
            form = MultipartEncoder(
                [("uploadPath", upload_path), ("fileName", file_name), ("file", (file_name, part, mime))]
            )
            with metered(self._meter, "upload"):
                answer = self._send_form(form, lambda: progress(size - part.len) if progress else None)
                return _uploaded(self._data(answer, refused=UploadRefused), size, file_name)

    # ---- one exchange ----

    @property
    def _session(self) -> FreeSession:
        if self._pid != os.getpid():  # two processes on one connection would read each other's answers
            self._free, self._pid = FreeSession(self._account), os.getpid()
        return self._free

    def _call(self, request: Request, *, limit: int = ANSWER_LIMIT) -> Answer:
        """A small call; once more when the vendor hung up on a kept connection just as it was used."""
        timeout = (self._account.connect_timeout, self._account.read_timeout)
        try:
            return self._session.exchange(request, timeout=timeout, limit=limit)
        except Unavailable as fault:
            if not isinstance(fault.__cause__, ConnectionResetError):
                raise
        return self._session.exchange(request, timeout=timeout, limit=limit)

    def _send_form(self, form: MultipartEncoder, followed: Callable[[], None]) -> Answer:
        """Never repeated, since the file has been read. An early answer counts, if it arrives."""
        monitor = MultipartEncoderMonitor(form, lambda _: _guarded(followed))
        url = f"{self._account.uploads.url}/api/file-stream-upload"
        request = Request("POST", url, data=monitor, headers={"Content-Type": monitor.content_type})
        # urllib3 2.8 (`_make_request`) sets the read time-out only when the body is out: while it is sent, each wait is
        # bounded by the connect time-out, which would take a slow line for a dead one.
        stall = max(self._account.connect_timeout, self._account.read_timeout)
        try:
            return self._session.exchange(request, timeout=(stall, self._account.read_timeout))
        except _Stopped as stopped:
            own = stopped.error
        raise own

    def _data(self, answer: Answer, refused: type[CallRefused] = CallRefused) -> object:
        return free_answer(answer.status, answer.body, problem=answer.problem, refused=refused, secrets=self._secrets)


# ---- the upload form ------------------------------------------------------------------------------------------------


class _FilePart:
    """The form's file, as the encoder reads it: `len` bytes are left. SourceBroken when the file has fewer."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size, self.len = file, size, size

    def read(self, amount: int) -> bytes:
        """The next block; never empty while bytes are left, since the encoder would ask for ever."""
        try:
            block = self._file.read(min(amount, self.len))
        except OSError as error:
            raise SourceBroken(error_words(error)) from error
        if self.len and not block:
            raise SourceBroken(f"it ends {self.len} bytes before its {self._size} bytes")
        self.len -= len(block)
        return block


class _Stopped(Exception):
    """Brings an exception of `progress` past urllib3, which takes an OSError for the network's."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


def _guarded(followed: Callable[[], None]) -> None:
    try:
        followed()
    except Exception as error:
        raise _Stopped(error) from error


def _opened(source: Path | BinaryIO) -> AbstractContextManager[BinaryIO]:
    """The file itself when it is open already; that one stays open."""
    try:
        return source.open("rb") if isinstance(source, Path) else nullcontext(source)
    except OSError as error:
        raise SourceBroken(error_words(error)) from error


def _uploaded(data: object, size: int, file_name: str) -> UploadedFile:
    """The vendor's note of the file; Unavailable when it is not there or not the whole file."""
    note = data if isinstance(data, dict) else {}
    url, kept, path = note.get("downloadUrl"), note.get("fileSize", size), note.get("filePath")
    if note.get("success", True) is not True or not isinstance(url, str) or not _is_address(url):
        raise Unavailable("the answer names no uploaded file")
    if kept != size:
        raise Unavailable(f"the vendor kept {redact(str(kept))} of {size} bytes")
    return UploadedFile(url, size, file_name, path if isinstance(path, str) else None)


def _is_address(text: str) -> bool:
    return re.fullmatch(r"https?://[\x21-\x7e]+", text) is not None
