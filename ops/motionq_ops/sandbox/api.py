"""The vendor's addresses: jobs, credit, download-url, and the two content hosts."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from motionq_ops.sandbox.accounts import Account
from motionq_ops.sandbox.answers import MESSAGES, NO_RECORD, Answer, envelope, html, refusal
from motionq_ops.sandbox.edge import Asked, Edge, created, read_json
from motionq_ops.sandbox.shelf import Shelf
from motionq_ops.sandbox.validation import Rejected, order_from
from motionq_ops.sandbox.vendor import Vendor


class Api:
    """Handlers of everything but uploads."""

    def __init__(self, vendor: Vendor, edge: Edge, shelf: Shelf) -> None:
        self._vendor = vendor
        self._edge = edge
        self._shelf = shelf

    def routes(self) -> list[web.RouteDef]:
        """Return the addresses."""
        return [
            web.post("/api/v1/jobs/createTask", self.create_task),
            web.get("/api/v1/jobs/recordInfo", self.record_info),
            web.get("/api/v1/chat/credit", self.credit),
            web.post("/api/v1/common/download-url", self.download_url),
            web.get("/k/{name}", self.result, allow_head=True),
            web.get("/kieai/{path:.+}", self.uploaded_file, allow_head=True),
        ]

    async def create_task(self, request: web.Request) -> web.StreamResponse:
        """POST /api/v1/jobs/createTask."""
        asked = self._edge.note(request, "createTask")
        asked.body = await read_json(request)
        asked.facts = _create_facts(asked.body)
        return await self._edge.serve(request, asked, self._create)

    async def record_info(self, request: web.Request) -> web.StreamResponse:
        """GET /api/v1/jobs/recordInfo?taskId=…."""
        asked = self._edge.note(request, "recordInfo")
        task_id = request.query.get("taskId", "")
        task = self._vendor.tasks.get(task_id)
        asked.facts = {"taskId": task_id} | (_task_facts(task.order.model, task.order.input) if task else {})
        return await self._edge.serve(request, asked, self._read)

    async def credit(self, request: web.Request) -> web.StreamResponse:
        """GET /api/v1/chat/credit."""
        return await self._edge.serve(request, self._edge.note(request, "credit"), self._balance)

    async def download_url(self, request: web.Request) -> web.StreamResponse:
        """POST /api/v1/common/download-url."""
        asked = self._edge.note(request, "downloadUrl")
        asked.body = await read_json(request)
        asked.facts = {"url": _text(asked.body, "url")}
        return await self._edge.serve(request, asked, self._link)

    async def result(self, request: web.Request) -> web.StreamResponse:
        """GET /k/NAME: a film; 403 for urllib's default User-Agent (three clients met it)."""
        asked = self._edge.note(request, "result")
        name = request.match_info["name"]
        task = self._vendor.films.get(name)
        asked.facts = {"url": request.path, "taskId": task.id if task else None}
        asked.facts |= _task_facts(task.order.model, task.order.input) if task else {}
        refused = request.headers.get("User-Agent", "").startswith("Python-urllib/")

        async def act(asked: Asked) -> Answer:
            return html(403, "403 Forbidden") if refused else self._film(name)

        return await self._edge.serve(request, asked, act)

    async def uploaded_file(self, request: web.Request) -> web.StreamResponse:
        """GET /kieai/PATH: an upload, until it expires."""
        asked = self._edge.note(request, "uploadedFile")
        asked.facts = {"url": request.path, "fileName": request.path.rpartition("/")[2]}
        path = f"kieai/{request.match_info['path']}"

        async def act(asked: Asked) -> Answer:
            stored = self._shelf.get(path)
            if stored is None or stored.blob.path is None:
                return html(404, "404 Not Found")
            return Answer(path=stored.blob.path, content_type=stored.mime, code=200)

        return await self._edge.serve(request, asked, act)

    async def _create(self, asked: Asked) -> Answer:
        account = await self._known(asked)
        self._vendor.admit_create(account, asked.arrival)
        settings = self._vendor.settings
        order = order_from(asked.body, settings.prices, settings.validation_code)
        task = await self._vendor.create(account, order, asked.base)
        return dataclasses.replace(created(task.id), task_id=task.id)

    async def _read(self, asked: Asked) -> Answer:
        account = await self._known(asked)
        task_id = str(asked.facts["taskId"])
        if not task_id:
            raise Rejected(self._vendor.settings.validation_code, "taskId is required")
        if task_id in self._vendor.tasks:
            self._vendor.admit_read(task_id, asked.arrival)
        data = self._vendor.record(account, task_id)
        return refusal(422, NO_RECORD) if data is None else envelope(200, "success", data)

    async def _balance(self, asked: Asked) -> Answer:
        account = await self._known(asked)
        return envelope(200, "success", account.balance)

    async def _link(self, asked: Asked) -> Answer:
        await self._known(asked)
        url = str(asked.facts["url"])
        ours = url.startswith((f"{asked.base}/k/", f"{asked.base}/kieai/"))
        return envelope(200, "success", url) if ours else refusal(422, "url is wrong")

    async def _known(self, asked: Asked) -> Account:
        if self._vendor.settings.latency:
            await asyncio.sleep(self._vendor.settings.latency)
        if asked.account is None:
            raise Rejected(401, MESSAGES[401])
        return asked.account

    def _film(self, name: str) -> Answer:
        task = self._vendor.film_of(name)
        if task is None or task.film is None:
            return html(404, "404 Not Found")
        return Answer(path=task.film, content_type="video/mp4", code=200)


def _text(body: Any, name: str) -> str:
    return str(body.get(name) or "") if isinstance(body, Mapping) else ""


def _task_facts(model: Any, values: Any) -> dict[str, Any]:
    given = values if isinstance(values, Mapping) else {}
    return {"model": model, "mode": given.get("mode"), "prompt": given.get("prompt")}


def _create_facts(body: Any) -> dict[str, Any]:
    body = body if isinstance(body, Mapping) else {}
    values = body.get("input") if isinstance(body.get("input"), Mapping) else {}
    return {
        **_task_facts(body.get("model"), values),
        "callBackUrl": body.get("callBackUrl"),
        "imageUrls": values.get("input_urls"),
        "videoUrls": values.get("video_urls"),
    }
