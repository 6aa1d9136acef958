"""The calls that one thread makes to kie.ai: open a purchase, upload a file, read a task, ask for credits.

Each call has a connection of its own (`connection.py`), so a client holds no state between calls: it may be shared by
threads and survives a fork. Hundreds of looks at once go through `poller.py`, which keeps connections alive.
"""

from __future__ import annotations

import json
import re
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from motionq_worker.kie.account import KieAccount, Origin
from motionq_worker.kie.answers import free_answer, record_answer
from motionq_worker.kie.connection import (
    Answer,
    PurchaseConnection,
    api_headers,
    open_socket,
    read_answer,
    request_head,
)
from motionq_worker.kie.errors import NotSent, SourceBroken, Unavailable, UploadRefused
from motionq_worker.kie.messages import Reading
from motionq_worker.kie.words import error_words, redact

RECORD_LIMIT = 1024 * 1024  # bytes of a recordInfo answer: it echoes the prompt, escaped twice
_BLOCK = 64 * 1024  # bytes read from the file and written to the vendor at a time
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_UPLOAD_PATH = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")
_MIME = re.compile(r"[a-z0-9.+-]+/[a-z0-9.+-]+")


@dataclass(frozen=True)
class UploadedFile:
    """A file as the vendor keeps it (24 h): `download_url` goes into createTask, `size` is in bytes."""

    download_url: str
    size: int
    file_name: str
    file_path: str | None


class KieClient:
    """kie.ai for one thread at a time or many: every call stands alone."""

    def __init__(self, account: KieAccount) -> None:
        self._account = account
        self._secrets = (account.api_key.get_secret_value(),)

    def close(self) -> None:
        """Nothing stays open between calls; here for those who hold a client like other connections."""

    def open_purchase_connection(self) -> PurchaseConnection:
        """A fresh connection for one createTask; raises NotSent. Close it, or use it in a `with`."""
        return PurchaseConnection(self._account)

    def credits(self) -> float:
        """The account's balance in credits (one credit is about US$0.005)."""
        answer = self._call(self._account.api, "GET", "/api/v1/chat/credit")
        balance = free_answer(answer.status, answer.body, problem=answer.problem, secrets=self._secrets)
        if isinstance(balance, bool) or not isinstance(balance, int | float):
            raise Unavailable("the answer names no balance", code=answer.status)
        return float(balance)

    def read(self, task_id: str) -> Reading:
        """What recordInfo says about one task; raises a free call's fault."""
        target = f"/api/v1/jobs/recordInfo?taskId={quote(task_id, safe='')}"
        answer = self._call(self._account.api, "GET", target, limit=RECORD_LIMIT)
        return record_answer(answer.status, answer.body, task_id, problem=answer.problem, secrets=self._secrets)

    def download_url(self, url: str) -> str:
        """A direct address, good for 20 minutes, for a file that the vendor made; CallRefused for other addresses."""
        content = json.dumps({"url": url}).encode("ascii")
        answer = self._call(self._account.api, "POST", "/api/v1/common/download-url", content=content)
        direct = free_answer(answer.status, answer.body, problem=answer.problem, secrets=self._secrets)
        if not isinstance(direct, str) or not _is_address(direct):
            raise Unavailable("the answer names no address", code=answer.status)
        return direct

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
        """Send a file of `size` bytes in blocks of 64 KB, and check that the vendor kept as many.

        An equal `file_name` at the vendor is overwritten: put the content's hash into it. `progress` gets the bytes
        sent so far, after each block; an exception of its own ends the upload and reaches the caller. A stall longer
        than `read_timeout` ends it as Unavailable. Raises SourceBroken, UploadRefused and the free calls' faults.
        """
        form = _Form(file_name=file_name, upload_path=upload_path, mime=mime, size=size)
        if isinstance(source, Path):
            with _opened(source) as file:
                answer = self._send_form(form, file, progress or _ignore)
        else:
            answer = self._send_form(form, source, progress or _ignore)
        data = free_answer(
            answer.status, answer.body, problem=answer.problem, refused=UploadRefused, secrets=self._secrets
        )
        return _uploaded(data, size, file_name)

    # ---- one exchange ----

    def _call(
        self, origin: Origin, method: str, target: str, *, content: bytes = b"", limit: int = 128 * 1024
    ) -> Answer:
        headers = api_headers(self._account, origin)
        if content:
            headers |= {"Content-Type": "application/json", "Content-Length": str(len(content))}
        request = request_head(method, origin.prefix + target, headers) + content
        deadline = time.monotonic() + self._account.connect_timeout + self._account.read_timeout
        with closing(self._open(origin)) as sock:
            try:
                sock.settimeout(self._account.read_timeout)
                sock.sendall(request)
            except OSError as error:
                raise Unavailable(error_words(error)) from error
            return read_answer(sock, deadline, limit=limit)

    def _send_form(self, form: _Form, file: BinaryIO, progress: Callable[[int], None]) -> Answer:
        """Stream the form, then read the answer; also the early answer of a vendor that stopped listening."""
        origin = self._account.uploads
        headers = api_headers(self._account, origin) | form.headers()
        head = request_head("POST", f"{origin.prefix}/api/file-stream-upload", headers)
        with closing(self._open(origin)) as sock:
            sock.settimeout(self._account.read_timeout)
            problem = _send_all(sock, form.parts(head, file), progress)
            answer = read_answer(sock, time.monotonic() + self._account.read_timeout)
        # A vendor that refuses early often resets the connection, and its words are lost with it.
        return Answer(answer.status, answer.body, problem) if problem and answer.problem else answer

    def _open(self, origin: Origin) -> socket.socket:
        try:
            return open_socket(self._account, origin)
        except NotSent as fault:
            raise Unavailable(fault.message) from fault


# ---- the upload form ------------------------------------------------------------------------------------------------


class _Form:
    """The multipart body that the vendor expects: uploadPath, fileName, then the file. ValueError for unsafe names."""

    def __init__(self, *, file_name: str, upload_path: str, mime: str, size: int) -> None:
        for what, pattern, value in (
            ("file name", _FILE_NAME, file_name),
            ("upload path", _UPLOAD_PATH, upload_path),
            ("media type", _MIME, mime),
        ):
            if not pattern.fullmatch(value):
                raise ValueError(f"{value!r} is not a {what} that can be sent")
        self._size = size
        self._boundary = f"motionq-{uuid.uuid4().hex}"
        fields = "".join(
            self._field(name, value) for name, value in (("uploadPath", upload_path), ("fileName", file_name))
        )
        file_head = self._part_head(f'name="file"; filename="{file_name}"') + f"Content-Type: {mime}\r\n\r\n"
        self._before = (fields + file_head).encode("ascii")
        self._after = f"\r\n--{self._boundary}--\r\n".encode("ascii")

    def _part_head(self, disposition: str) -> str:
        return f"--{self._boundary}\r\nContent-Disposition: form-data; {disposition}\r\n"

    def _field(self, name: str, value: str) -> str:
        return self._part_head(f'name="{name}"') + f"\r\n{value}\r\n"

    def headers(self) -> dict[str, str]:
        """Type and exact length."""
        length = len(self._before) + self._size + len(self._after)
        return {
            "Content-Type": f"multipart/form-data; boundary={self._boundary}",
            "Content-Length": str(length),
        }

    def parts(self, head: bytes, file: BinaryIO) -> Iterator[tuple[bytes, int]]:
        """The request in blocks, each with the number of the file's bytes sent once it is out."""
        yield head + self._before, 0
        sent = 0
        for block in _blocks(file, self._size):
            sent += len(block)
            yield block, sent
        yield self._after, sent


def _blocks(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Exactly `size` bytes of the file; SourceBroken when it has fewer or can't be read."""
    left = size
    while left:
        try:
            block = file.read(min(_BLOCK, left))
        except OSError as error:
            raise SourceBroken(error_words(error)) from error
        if not block:
            raise SourceBroken(f"it ends {left} bytes before its {size} bytes")
        left -= len(block)
        yield block


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise SourceBroken(error_words(error)) from error


def _send_all(sock: socket.socket, parts: Iterator[tuple[bytes, int]], progress: Callable[[int], None]) -> str:
    """Why sending ended early, or ""."""
    for block, sent in parts:
        try:
            sock.sendall(block)
        except OSError as error:
            return error_words(error)
        progress(sent)
    return ""


def _ignore(_sent: int) -> None:
    """Progress that nobody follows."""


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
