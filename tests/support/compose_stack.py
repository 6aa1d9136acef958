"""The services of docker-compose.yml as processes of this machine.

What a container would give each of them is put in its place, and nothing else is changed: host names become the
loopback address, ports free ones, volumes and /tmp folders, and every process gets the environment of its service and
nothing of ours. Workers get a name each, as each container's host name would give them one; the server is bound to the
loopback address.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from motionq_ops.redis_server import free_port
from support.compose import ROOT, Service, services
from support.waiting import eventually

_PORTS = (6379, 8787, 5555, 8788, 8900, 6399)
_PROGRAMS = {
    "celery": ("-m", "celery"),
    "uvicorn": ("-m", "uvicorn"),
    "motionq": ("-c", "from motionq_ops.entry import main; main()"),
    "python": (),
}
_PASSED = ("PATH", "LANG", "LC_ALL", "HOME")


class ComposeStack:
    """Use in a `with`. `variables`: what `.env` or `--env-file` says."""

    def __init__(self, folder: Path, variables: Mapping[str, str], leave_out: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.ports = {port: free_port() for port in _PORTS}
        self.services = {s.name: s for s in services(variables) if s.name not in leave_out}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        try:
            self.start("redis")
            self.wait_until_healthy("redis")
            for name in self.services:
                if name != "redis":
                    self.start(name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(reversed(self._processes)):  # the server ends last
            self.stop(name)

    def start(self, name: str) -> None:
        """Run the service's own command."""
        service = self.services[name]
        for mount in service.raw.get("volumes", []):
            if isinstance(mount, str) and not mount.startswith("./"):
                (self.folder / mount.split(":")[0]).mkdir(exist_ok=True)
        (self.folder / f"tmp-{name}").mkdir(exist_ok=True)
        with self.log(name).open("ab") as log:
            self._processes[name] = subprocess.Popen(
                self._words(service) + self._additions(service),
                env=self.environment(name),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self, name: str) -> int:
        """SIGTERM, and its exit code; after 30 s SIGKILL."""
        process = self._processes.pop(name)
        process.terminate()
        try:
            return process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def run(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        """`docker compose exec NAME WORDS…`"""
        return subprocess.run(
            _program(list(words)),
            env=self.environment(name),
            capture_output=True,
            text=True,
            cwd=self.folder,
            timeout=60,
        )

    def check(self, name: str) -> subprocess.CompletedProcess[str]:
        """Run the service's own health check once."""
        service = self.services[name]
        return self.run(name, *(self._here(service, word) for word in service.check))

    def wait_until_healthy(self, name: str, timeout: float = 60.0) -> None:
        """Returns when the health check passes."""

        def healthy() -> bool:
            assert self._processes[name].poll() is None, f"{name} ended: {self.said(name)}"
            return self.check(name).returncode == 0

        eventually(healthy, timeout, interval=0.1)

    def environment(self, name: str) -> dict[str, str]:
        """What the service's container would see."""
        service = self.services[name]
        kept = {key: os.environ[key] for key in _PASSED if key in os.environ}
        given = {key: self._here(service, value) for key, value in service.environment.items()}
        return kept | {"TMPDIR": str(self.folder / f"tmp-{name}")} | given

    def log(self, name: str) -> Path:
        """Where it writes."""
        return self.folder / f"{name}.log"

    def said(self, name: str) -> str:
        """What it wrote."""
        return self.log(name).read_text(encoding="utf-8", errors="replace")

    def url(self, port: int) -> str:
        """Where a port of a container is now."""
        return f"http://127.0.0.1:{self.ports[port]}"

    def _words(self, service: Service) -> list[str]:
        return _program([self._here(service, word) for word in service.words])

    def _additions(self, service: Service) -> list[str]:
        if service.name == "redis":
            return ["--bind", "127.0.0.1"]
        return ["-n", f"{service.name}@%h"] if "worker" in service.words else []

    def _here(self, service: Service, text: str) -> str:
        """A word or a value, with the container's addresses and places replaced by ours."""
        for pattern, ours in self.replacements(service):
            text = re.sub(pattern, ours, text)
        return text

    def replacements(self, service: Service) -> list[tuple[str, str]]:
        """What stands in a container, as a pattern, and what takes its place here."""
        places = [mount.split(":")[:2] for mount in service.raw.get("volumes", []) if isinstance(mount, str)]
        return [
            *((place(target), str((ROOT if source[0] == "." else self.folder) / source)) for source, target in places),
            *((rf"(?<!\d){port}(?!\d)", str(ours)) for port, ours in self.ports.items()),
            (r"(?<=[/@])(redis|sandbox|callback)(?=:\d)", "127.0.0.1"),
            (r"0\.0\.0\.0", "127.0.0.1"),
        ]


def place(path: str) -> str:
    """A pattern for a path of a container, alone or as the beginning of another."""
    return rf"(?<![\w.]){re.escape(path)}(?![\w.])"


def _program(words: list[str]) -> list[str]:
    """The same program of this environment."""
    if words[0] not in _PROGRAMS:
        return words
    return [sys.executable, *_PROGRAMS[words[0]], *words[1:]]
