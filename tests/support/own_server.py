"""A server of a test's own, of the same kind as the shared one, which the test may fill, stop and configure."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from motionq_ops.redis_server import RedisServer, find_server_binary


def own_server(request: pytest.FixtureRequest, folder: Path, **options: Any) -> RedisServer:
    """Not started yet; for a test marked `redis_server`, whose fixtures ask for `server`."""
    kind = request.node.callspec.params["server"]
    binary = find_server_binary() if kind == "valkey" else Path(str(shutil.which("redis-server")))
    return RedisServer(folder, binary=binary, **options)
