"""A server whose disk can be held up, and which tells how much of its file is safe (slow_disk.c)."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis

from motionq_ops.redis_server import RedisServer
from support import eventually
from support.aof import appended

SOURCE = Path(__file__).parent / "slow_disk.c"
COMPILER = shutil.which("cc")


class SlowDisk:
    """The disk of one server."""

    def __init__(self, folder: Path, binary: Path) -> None:
        assert COMPILER
        self._folder = folder
        folder.mkdir()
        library = folder / "slow_disk.so"
        subprocess.run([COMPILER, "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"], check=True)
        self._program = folder / "server"
        self._program.write_text(f'#!/bin/sh\nSLOW_DISK={folder} LD_PRELOAD={library} exec {binary} "$@"\n')
        self._program.chmod(0o700)
        self.server = RedisServer(folder / "data", binary=self._program)

    def hold(self) -> None:
        """From now on no sync ends. Everything so far is safe, and none is under way."""
        with Redis.from_url(self.server.url) as redis:
            redis.set("held", "soon")  # so that there is something to sync
        eventually(lambda: self.safe() == appended(self.server) and not self.busy())
        (self._folder / "held").touch()

    def release(self) -> None:
        """The disk goes on."""
        (self._folder / "held").unlink()

    def safe(self) -> int:
        """Bytes of the server's file that a loss of power spares."""
        return int((self._folder / "synced").read_text() or 0) if (self._folder / "synced").exists() else 0

    def busy(self) -> bool:
        """Whether the server says that it syncs."""
        with Redis.from_url(self.server.url, decode_responses=True) as redis:
            return int(redis.info("persistence")["aof_pending_bio_fsync"]) > 0


@contextmanager
def slow_disk(folder: Path, binary: Path) -> Iterator[SlowDisk]:
    """The server runs, its disk is quick."""
    disk = SlowDisk(folder, binary)
    with disk.server:
        yield disk
        (folder / "held").unlink(missing_ok=True)
