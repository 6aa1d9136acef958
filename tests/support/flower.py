"""Flower beside a stack, with a login and under a prefix, as an operator would publish it."""

from __future__ import annotations

from typing import Any

import requests

from motionq_ops.redis_server import free_port
from support.shared import nursery
from support.stack import Stack
from support.waiting import eventually

LOGIN = ("operator", "fl0wer-pa55word")


class Flower:
    """Use in a `with`. `url` is where its pages begin."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        port = free_port()
        self.url = f"http://127.0.0.1:{port}/flower"
        self._command = ["celery", "-A", "motionq_worker.app", "flower", f"--port={port}"]
        self.log = stack.folder / "flower.log"

    def __enter__(self) -> Flower:
        login = {"FLOWER_BASIC_AUTH": ":".join(LOGIN), "FLOWER_URL_PREFIX": "flower"}
        patience = {"FLOWER_INSPECT_TIMEOUT": "10000"}  # ms
        self._process = nursery().start(self._command, self._stack.environment | login | patience, self.log)
        try:
            eventually(self._answers, timeout=30)
        except AssertionError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            eventually(lambda: self._process.code() is not None, timeout=20)
        finally:
            self._process.kill()

    def _answers(self) -> bool:
        assert self._process.code() is None, self.log.read_text(encoding="utf-8")
        try:
            return requests.get(f"{self.url}/healthcheck", timeout=2).ok
        except requests.ConnectionError:
            return False

    def get(self, path: str, **options: Any) -> requests.Response:
        """One page or one call of the API; with the login, unless `auth` says otherwise."""
        return requests.get(f"{self.url}{path}", timeout=10, **{"auth": LOGIN, **options})

    def post(self, path: str) -> int:
        """The status of a call that would change something."""
        return requests.post(f"{self.url}{path}", auth=LOGIN, timeout=10).status_code

    def rows(self, search: str) -> dict[str, Any]:
        """The rows that a search finds, by Celery task ID."""
        found: dict[str, Any] = self.get("/api/tasks", params={"search": search}).json()
        return found
