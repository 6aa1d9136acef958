"""The sandbox as a process: everything is put together here, and only here."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from motionq_ops.sandbox.api import Api
from motionq_ops.sandbox.callbacks import Courier
from motionq_ops.sandbox.clock import Agenda, Clock
from motionq_ops.sandbox.control import Control
from motionq_ops.sandbox.edge import Edge
from motionq_ops.sandbox.faults import Rule
from motionq_ops.sandbox.hosts import files_host
from motionq_ops.sandbox.ledger import Ledger
from motionq_ops.sandbox.settings import Settings
from motionq_ops.sandbox.shelf import Shelf
from motionq_ops.sandbox.studio import Studio
from motionq_ops.sandbox.uploads import Uploads
from motionq_ops.sandbox.vendor import Vendor

_BODY_LIMIT = 64 * 1024 * 1024
_SHUTDOWN_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Config:
    """How a sandbox is started. ``port`` 0 takes a free one; several keys are several accounts."""

    host: str = "127.0.0.1"
    port: int = 0
    keys: tuple[str, ...] = ("sandbox-key",)
    hmac_key: str | None = None
    credits: float = 100_000.0
    seed: int = 1
    settings: Settings = field(default_factory=Settings)
    rules: tuple[Rule, ...] = ()
    public_url: str | None = None
    ready_file: Path | None = None
    stop_on_eof: bool = False


class CannotAnnounce(Exception):
    """The ready file can't be written; the text says why."""


def run(config: Config) -> None:
    """Serve until SIGINT or SIGTERM (with ``stop_on_eof``: or the end of stdin).

    Raises OSError (it can't listen there), CannotAnnounce.
    """
    asyncio.run(_serve(config))


async def _serve(config: Config) -> None:
    stop = asyncio.Event()
    _stop_on_signals(stop)
    if config.stop_on_eof:
        _stop_on_eof(stop)
    with tempfile.TemporaryDirectory(prefix="motionq-sandbox-", ignore_cleanup_errors=True) as folder:
        async with serving(config, Path(folder)) as port:
            _announce(config, port)
            await stop.wait()


@contextlib.asynccontextmanager
async def serving(config: Config, folder: Path) -> AsyncIterator[int]:
    """Serve inside a running event loop; yields the port. Files go to ``folder``."""
    clock = Clock(config.settings.speed)
    agenda = Agenda(clock)
    ledger = Ledger()
    vendor = Vendor(config.settings, config.keys, config.credits, clock, agenda, config.seed)
    vendor.rules.add(config.rules)
    edge = Edge(vendor, ledger, config.public_url)
    shelf = Shelf(folder, clock)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=200)) as session:
        studio = Studio(folder, shelf, session, edge.is_ours)
        vendor.connect(studio, Courier(session, ledger, clock, agenda, config.hmac_key))
        runner = web.AppRunner(
            _app(vendor, edge, shelf, studio, ledger), access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS
        )
        await runner.setup()
        ticking = asyncio.create_task(agenda.run())
        try:
            await web.TCPSite(runner, config.host, config.port, backlog=1024).start()
            yield runner.addresses[0][1]
        finally:
            ticking.cancel()
            await vendor.close()
            await runner.cleanup()
            studio.close()


def _app(vendor: Vendor, edge: Edge, shelf: Shelf, studio: Studio, ledger: Ledger) -> web.Application:
    app = web.Application(client_max_size=_BODY_LIMIT)
    app.add_routes(Api(vendor, edge, shelf).routes())
    app.add_routes(Uploads(vendor, edge, shelf, studio).routes())
    app.add_routes(Control(vendor, ledger, shelf).routes())
    return app


def _announce(config: Config, port: int) -> None:
    url = f"http://{config.host}:{port}"
    files_url = config.public_url or f"http://{files_host(f'{config.host}:{port}')}"
    print(f"motionq sandbox: {url} (speed {config.settings.speed:g}, nothing is bought)", file=sys.stderr, flush=True)
    if config.ready_file is not None:
        where = {"url": url, "files_url": files_url, "port": port, "pid": os.getpid()}
        _write_atomically(config.ready_file, where)


def _write_atomically(path: Path, value: Any) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_text(json.dumps(value), encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise CannotAnnounce(f"can't write {path}: {error.strerror}") from None


def _stop_on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)


def _stop_on_eof(stop: asyncio.Event) -> None:
    """End with the process that holds the other end of stdin, however that one ends."""
    loop = asyncio.get_running_loop()
    threading.Thread(target=_wait_for_eof, args=(lambda: loop.call_soon_threadsafe(stop.set),), daemon=True).start()


def _wait_for_eof(ended: Callable[[], object]) -> None:
    while os.read(0, 4096):
        pass
    with contextlib.suppress(RuntimeError):
        ended()
