"""The queue's server as a part of the stack: on a leash, and with its log among the others."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from motionq_ops.leash import leashed
from motionq_ops.processes import set_aside
from motionq_ops.redis_server import RedisServer, find_server_binary


class QueueServer(RedisServer):
    """A RedisServer that ends with the process that started it."""

    name = "redis"

    def __init__(self, data_dir: Path, log: Path, program: str | None = None) -> None:
        """`program` is MOTIONQ_SERVER_BINARY. Raises ServerBinaryMissing."""
        self._program = find_server_binary(program)
        super().__init__(data_dir, binary=Path(sys.executable))
        self.log_file = log

    @property
    def log(self) -> Path:
        """Where it writes."""
        return self.log_file

    def start(self, timeout: float = 60.0) -> None:
        """Start it and return when it answers. Raises ServerStartError."""
        set_aside(self.log)
        super().start(timeout)

    def stop(self, timeout: float = 10.0) -> None:
        """End it in order, and take away a socket's folder that lies outside the data."""
        super().stop(timeout)
        if self.socket_path and self.socket_path.parent != self.data_dir:
            shutil.rmtree(self.socket_path.parent, ignore_errors=True)

    def ended(self) -> int | None:
        """Its exit code once it has ended; None while it runs."""
        return self._process.poll() if self._process else 1

    def _arguments(self) -> list[str]:
        return leashed([str(self._program), *super()._arguments()])[1:]  # behind sys.executable, our `binary`
