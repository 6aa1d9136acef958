"""The callback receiver as it is started in production: `uvicorn motionq_worker.callback:app`, a process of its own."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import re
import time
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from motionq_ops.plan import without_settings
from support.shared import nursery
from support.waiting import eventually

Headers = dict[str, str]


class ReceiverProcess:
    """Use in a `with`. `environment`: settings of motionq among it; `options`: of uvicorn."""

    def __init__(self, folder: Path, environment: dict[str, str], *options: str) -> None:
        self.log = folder / "receiver.log"
        self._command = ["uvicorn", "motionq_worker.callback:app", "--port=0", *options]
        self._environment = without_settings(environment) | {
            name: value for name, value in environment.items() if name.startswith(("MOTIONQ_", "KIE_", "REDIS_"))
        }
        self.url = ""

    def __enter__(self) -> Self:
        self.process = nursery().start(self._command, self._environment, self.log)
        try:
            self.url = eventually(self._where, timeout=30)
        except AssertionError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            eventually(lambda: self.process.code() is not None, timeout=10)
        finally:
            self.process.kill()

    def said(self) -> str:
        """Its log."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def _where(self) -> str:
        found = re.search(r"running on (http://127\.0\.0\.1:\d+)", self.said())
        assert self.process.code() is None, self.said()
        return found[1] if found else ""

    def post(self, path: str, body: bytes, headers: Headers | None = None) -> int:
        """The status of one POST on a connection of its own."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        try:
            connection.request("POST", path, body, headers or {})
            return connection.getresponse().status
        finally:
            connection.close()

    def call(self, job_id: str, nonce: str, task_id: str, headers: Headers | None = None) -> int:
        """The status of a callback of the vendor's shape."""
        return self.post(f"/callbacks/kie/{job_id}/{nonce}", callback(task_id), headers)


def callback(task_id: str) -> bytes:
    """A callback's body as the vendor documents it for jobs."""
    data = {"taskId": task_id, "state": "success", "resultJson": '{"resultUrls":["https://host/forged.mp4"]}'}
    return json.dumps({"code": 200, "msg": "Playground task completed successfully.", "data": data}).encode()


def signature(task_id: str, key: str, at: float | None = None) -> Headers:
    """The vendor's two headers, written anew from its page; `at`: seconds since the epoch, now if left out."""
    stamp = str(int(time.time() if at is None else at))
    digest = hmac.new(key.encode(), f"{task_id}.{stamp}".encode(), hashlib.sha256).digest()
    return {"X-Webhook-Timestamp": stamp, "X-Webhook-Signature": base64.b64encode(digest).decode()}
