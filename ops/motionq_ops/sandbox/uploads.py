"""The upload host: three ways in, one answer."""

from __future__ import annotations

import asyncio
import base64
import binascii
from dataclasses import dataclass, field
from typing import Any

from aiohttp import BodyPartReader, web

from motionq_ops.sandbox.answers import Answer, to_json
from motionq_ops.sandbox.edge import BROKEN_OFF, Asked, Edge, read_json, upload_refusal
from motionq_ops.sandbox.shelf import Blob, Shelf, answer_data
from motionq_ops.sandbox.studio import BadMedia, Studio
from motionq_ops.sandbox.vendor import Vendor

_CHUNK = 1 << 18
_FIELD_LIMIT = 4096


class Refused(Exception):
    """The upload is refused with that code and text."""

    def __init__(self, code: int, msg: str) -> None:
        super().__init__(msg)
        self.code = code
        self.msg = msg


@dataclass(slots=True)
class Form:
    """What an upload brought. ``fault``: what is said when there are no bytes."""

    upload_path: str = ""
    name: str | None = None
    mime: str | None = None
    blob: Blob | None = None
    fault: Refused = field(default_factory=lambda: _missing("file"))


class Uploads:
    """Handlers of the upload host."""

    def __init__(self, vendor: Vendor, edge: Edge, shelf: Shelf, studio: Studio) -> None:
        self._vendor = vendor
        self._edge = edge
        self._shelf = shelf
        self._studio = studio

    def routes(self) -> list[web.RouteDef]:
        """Return the addresses."""
        return [
            web.post("/api/file-stream-upload", self.stream),
            web.post("/api/file-url-upload", self.by_url),
            web.post("/api/file-base64-upload", self.by_base64),
        ]

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """POST /api/file-stream-upload: multipart, written to disk as it comes."""
        asked = self._edge.note(request, "upload")
        form = await self._read_form(request) if request.content_type == "multipart/form-data" else Form()
        return await self._finish(request, asked, form)

    async def by_url(self, request: web.Request) -> web.StreamResponse:
        """POST /api/file-url-upload: the sandbox fetches the file."""
        asked = self._edge.note(request, "upload")
        body = await read_json(request)
        form = _json_form(body, "fileUrl")
        url = _value(body, "fileUrl")
        if asked.account and form.upload_path and url:
            form.blob = await self._fetched(url)
            form.fault = Refused(500, "Internal server error")  # the only words the vendor's pages have for it
        return await self._finish(request, asked, form)

    async def by_base64(self, request: web.Request) -> web.StreamResponse:
        """POST /api/file-base64-upload: raw base64 or a data URL."""
        asked = self._edge.note(request, "upload")
        body = await read_json(request)
        form = _json_form(body, "base64Data")
        head, comma, data = _value(body, "base64Data").rpartition(",")
        form.mime = form.mime or (head.removeprefix("data:").partition(";")[0] if comma else None)
        if data:
            form.blob = self._decoded(data)
            form.fault = Refused(400, "Base64 decoding failed: Invalid Base64 format")
        return await self._finish(request, asked, form)

    async def _finish(self, request: web.Request, asked: Asked, form: Form) -> web.StreamResponse:
        asked.facts = {"fileName": form.name, "uploadPath": form.upload_path}
        if form.blob is not None:
            asked.facts |= {"bytes": form.blob.size, "sha256": form.blob.sha256}

        async def act(asked: Asked) -> Answer:
            try:
                return self._store(asked, form)
            except Refused as refused:
                true_status = self._vendor.settings.upload_http_errors
                return upload_refusal(refused.code, refused.msg, true_status=true_status)

        return await self._edge.serve(request, asked, act)

    def _store(self, asked: Asked, form: Form) -> Answer:
        if asked.account is None:
            raise Refused(401, "Authentication failed: Invalid API Key")
        if not form.upload_path:
            raise _missing("uploadPath")
        if form.blob is None:
            raise form.fault
        ttl = self._vendor.settings.upload_ttl
        stored = self._shelf.put(asked.account.id, form.upload_path, form.name, form.mime, form.blob, ttl)
        if asked.fault == "upload_lost":
            self._shelf.lose(stored.file_path)
        asked.facts |= {"filePath": stored.file_path, "fileName": stored.name}
        body = {"success": True, "code": 200, "msg": "File uploaded successfully"}
        return Answer(body=to_json(body | {"data": answer_data(stored, asked.base)}), code=200)

    async def _read_form(self, request: web.Request) -> Form:
        form = Form()
        try:
            async for part in await request.multipart():
                if isinstance(part, BodyPartReader):
                    await self._read_part(part, form)
        except (ValueError, RuntimeError, LookupError, *BROKEN_OFF):  # what is no multipart, or half of one
            return Form()
        return form

    async def _read_part(self, part: BodyPartReader, form: Form) -> None:
        if part.name == "file":
            form.blob = await self._received(part)
            form.mime = part.headers.get("Content-Type")
            form.name = form.name or part.filename
        elif part.name in ("uploadPath", "fileName"):
            text = (await part.read_chunk(_FIELD_LIMIT)).decode("utf-8", "replace")
            form.upload_path, form.name = (text, form.name) if part.name == "uploadPath" else (form.upload_path, text)

    async def _received(self, part: BodyPartReader) -> Blob:
        intake = self._shelf.intake(keep=not self._vendor.settings.discard_uploads)
        rate = self._vendor.settings.upload_rate
        try:
            while chunk := await part.read_chunk(min(_CHUNK, max(1, int(rate / 10))) if rate else _CHUNK):
                intake.write(chunk)
                if rate:
                    await asyncio.sleep(len(chunk) / rate)
            return intake.finish()
        finally:
            intake.abandon()

    async def _fetched(self, url: str) -> Blob | None:
        try:
            return await self._studio.fetch(url)
        except BadMedia:
            return None

    def _decoded(self, data: str) -> Blob | None:
        try:
            raw = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError):
            return None
        intake = self._shelf.intake(keep=not self._vendor.settings.discard_uploads)
        intake.write(raw)
        return intake.finish()


def _value(body: Any, name: str) -> str:
    return str(body.get(name) or "") if isinstance(body, dict) else ""


def _json_form(body: Any, file: str) -> Form:
    path, name = _value(body, "uploadPath"), _value(body, "fileName") or None
    return Form(upload_path=path, name=name, fault=_missing(file))


def _missing(name: str) -> Refused:
    return Refused(400, f"Missing required parameter: {name}")
