"""`motionq exporter` as a process: where it listens, what it says when the queue's server is away, how it ends."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from support import eventually
from support.command import Command
from support.figures import Samples, by_tenant, figure, parsed
from support.life import Life, life

_MOTIONQ = (sys.executable, "-c", "from motionq_ops.entry import main; main()", "exporter")


class _Exporter:
    """Use in a `with`; ended by SIGTERM."""

    def __init__(self, command: Command, folder: Path) -> None:
        self._env, self._folder = command.env, folder

    def __enter__(self) -> Self:
        with (self._folder / "exporter.log").open("wb") as out:
            self.process = subprocess.Popen(
                [*_MOTIONQ, "--port", "0"],
                cwd=self._folder,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        try:
            self.url = eventually(self._where, timeout=30)
        except AssertionError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def said(self) -> str:
        return (self._folder / "exporter.log").read_text(encoding="utf-8")

    def scrape(self) -> Samples:
        with urllib.request.urlopen(self.url, timeout=30) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=")
            return parsed(answer.read().decode())

    def _where(self) -> str:
        assert self.process.poll() is None, self.said()
        _, found, rest = self.said().partition("metrics at ")
        return rest.split()[0] if found and rest.endswith("\n") else ""


@pytest.fixture
def lived(redis_url: str, namespace: str) -> Iterator[Life]:
    """Jobs in the namespace of the exporter."""
    with life(redis_url, namespace, max_in_flight=5, submit_rate=(20, 10.0), kie_api_key="key") as jobs:
        yield jobs


def test_it_answers_on_the_loopback_address_until_it_is_told_to_end(
    lived: Life, motionq: Command, tmp_path: Path
) -> None:
    """One line says where; each scrape has the figures of the moment; SIGTERM ends it with 0 and no further word."""
    with _Exporter(motionq, tmp_path) as exporter:
        before = exporter.scrape()
        lived.reach("running", "j1", tenant="acme")
        after = exporter.scrape()

    assert [figure(found, "jobs", state="running") for found in (before, after)] == [0, 1]
    assert [by_tenant(found, "tenant_jobs") for found in (before, after)] == [{}, {("running", "acme"): 1}]
    assert exporter.url.startswith("http://127.0.0.1:")
    assert exporter.process.returncode == 0
    assert exporter.said() == f"motionq: metrics at {exporter.url}\n"


def test_a_server_that_is_away_is_a_figure(motionq: Command, tmp_path: Path) -> None:
    """The exporter stays up and says so; no other figure is made up, and its log shows no password."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        motionq.env["REDIS_URL"] = f"redis://:hunter2@127.0.0.1:{closed.getsockname()[1]}/0"
        with _Exporter(motionq, tmp_path) as exporter:
            found = exporter.scrape()

    assert set(found) == {"motionq_up", "motionq_scrape_seconds"}
    assert figure(found, "up") == 0
    assert exporter.process.returncode == 0
    assert "no figures" in exporter.said()
    assert "hunter2" not in exporter.said()
    assert "Traceback" not in exporter.said()


def test_a_port_that_is_taken_is_told_in_one_line(motionq: Command, tmp_path: Path) -> None:
    """Exit 2 and the address, no traceback."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        run = subprocess.run(
            [*_MOTIONQ, "--port", str(port)], cwd=tmp_path, env=motionq.env, capture_output=True, text=True, timeout=60
        )

    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == f"motionq: can't listen on 127.0.0.1:{port}: Address already in use\n"
