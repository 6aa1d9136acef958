"""Loss of power on the queue's server: it is killed, and the end of its append-only file is gone."""

from __future__ import annotations

from pathlib import Path

from motionq_ops.redis_server import RedisServer


def appended(server: RedisServer) -> int:
    """Bytes of the server's growing append-only file at this moment; the server has written all it answered for.

    A command's bytes are written before its answer is sent (what `everysec` puts off is the fsync alone).
    """
    return _growing(server).stat().st_size


def lose_power(server: RedisServer, *, kept: int) -> None:
    """Kills the server, cuts its file to the whole commands among the first `kept` bytes, and starts it again."""
    server.kill()
    path = _growing(server)
    raw = path.read_bytes()
    path.write_bytes(raw[: whole_commands(raw, kept)])
    server.start()


def _growing(server: RedisServer) -> Path:
    found = sorted((server.data_dir / "appendonlydir").glob("*.incr.aof"))
    return found[-1]


def whole_commands(raw: bytes, limit: int) -> int:
    """Length of the longest beginning of `raw`, at most `limit` bytes, that ends between two commands.

    A transaction (what a script wrote stands between MULTI and EXEC) is one command: a server that finds half of one
    drops it. Lines that begin with # are notes of the server.
    """
    at = end = 0
    inside = False
    while at < len(raw):
        verb, at = _next(raw, at)
        inside = (inside or verb == b"MULTI") and verb != b"EXEC"
        if at > limit:
            break
        if not inside:
            end = at
    return end


def _next(raw: bytes, at: int) -> tuple[bytes, int]:
    """The command (or note) at this offset, and the offset behind it."""
    line_end = raw.index(b"\r\n", at) + 2
    if raw[at : at + 1] == b"#":
        return b"#", line_end
    verb = b""
    place = line_end
    for number in range(int(raw[at + 1 : line_end])):
        size_end = raw.index(b"\r\n", place) + 2
        size = int(raw[place + 1 : size_end])
        if number == 0:
            verb = raw[size_end : size_end + size].upper()
        place = size_end + size + 2
    return verb, place
