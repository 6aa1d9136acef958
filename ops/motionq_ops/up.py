"""`motionq up`: the local stack in the foreground, until Ctrl+C."""

from __future__ import annotations

import os
import signal
import socket
from dataclasses import dataclass
from pathlib import Path

from motionq.contract.errors import InvalidSettings
from motionq.contract.settings import Settings, data_dir, load
from motionq.output import Code, note, say
from motionq_ops.local import Stack, running
from motionq_ops.plan import LOOPBACK, Plan
from motionq_ops.redis_server import free_port
from motionq_ops.stop import Stopped, stops_on_signals

DEFAULT_WORKERS = min(2, os.cpu_count() or 1)


@dataclass(frozen=True, kw_only=True)
class Ports:
    """Ports as they were asked for on the command line; 0 is none, None leaves it to the settings."""

    flower: int | None
    callback: int | None


def up(
    *,
    sandbox: bool,
    speed: float,
    workers: int | None,
    folder: Path | None,
    flower_port: int | None,
    callback_port: int | None = None,
) -> int:
    """Run a stack until a signal ends it; returns the exit code. `speed`: of the sandbox's clock.

    Raises InvalidSettings, AlreadyRunning, CannotStart, QueueUnavailable.
    """
    settings = load(dotenv=True, data_dir=folder) if folder else load(dotenv=True)
    if not sandbox and settings.kie_api_key is None:
        raise InvalidSettings("KIE_API_KEY is not set (`motionq up --sandbox` needs none, and no money)")
    asked = Ports(flower=flower_port, callback=callback_port)
    plan = _plan(settings, sandbox, speed, DEFAULT_WORKERS if workers is None else workers, asked)
    ready = False
    with stops_on_signals():
        try:
            with running(plan, note) as stack:
                _introduce(stack)
                say("motionq: ready")
                ready = True
                stack.hold()
        except Stopped as stopped:
            note("stopped")
            interrupted = stopped.number == signal.SIGINT and not ready
    return Code.INTERRUPTED if interrupted else Code.DONE


def _plan(settings: Settings, sandbox: bool, speed: float, workers: int, asked: Ports) -> Plan:
    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
    return Plan(
        data_dir=settings.data_dir,
        namespace=settings.namespace,
        redis_url=redis_url,
        staging_url=settings.staging_url,
        results_url=settings.results_url,
        trusted_hosts=settings.trusted_hosts,
        server_binary=settings.server_binary,
        workers=workers,
        sandbox_speed=speed if sandbox else None,
        flower_port=_port("Flower", "--flower-port", asked.flower, settings.flower_port),
        callback_port=_callback_port(settings, sandbox, asked.callback),
        local_callbacks=sandbox and settings.public_base_url is None,
        environment=dict(os.environ),
    )


def _callback_port(settings: Settings, sandbox: bool, asked: int | None) -> int | None:
    """The port for the callback receiver. Where a proxy leads to it, another one than was set would not be found."""
    option, port = "--callback-port", settings.callback_port if asked is None else asked
    if sandbox and settings.public_base_url is None:
        return _port("the callback receiver", option, asked, settings.callback_port)
    if port and settings.public_base_url is None:
        note("no callback receiver: MOTIONQ_PUBLIC_BASE_URL is not set, so kie.ai has no address to call")
        return None
    if port and not is_free(port):
        raise InvalidSettings(f"{option}: {port} is taken, and callbacks to MOTIONQ_PUBLIC_BASE_URL are led there")
    return port or None


def _port(what: str, option: str, asked: int | None, default: int) -> int | None:
    """A port; 0 is none. One that was asked for must be free, the default gives way to another."""
    port = default if asked is None else asked
    if port == 0:
        return None
    if is_free(port):
        return port
    if asked is not None:
        raise InvalidSettings(f"{option}: {port} is taken (0 leaves {what} out)")
    other = free_port()
    note(f"port {port} is taken: {what} takes {other}")
    return other


def is_free(port: int) -> bool:
    """Whether we could listen on this port of the loopback interface now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _introduce(stack: Stack) -> None:
    plan = stack.plan
    note(f"data     {plan.data_dir}")
    if plan.redis_url is None:
        note(f"server   {stack.redis_url}")
    if stack.sandbox_url:
        note(f"sandbox  {stack.sandbox_url} (speed {plan.sandbox_speed:g}, nothing is bought)")
    if stack.flower_url:
        note(f"flower   {stack.flower_url}")
    if plan.callback_url:
        note(f"callback {plan.callback_url}" + (" (the sandbox calls it)" if plan.local_callbacks else ""))
    note(f"workers  {plan.workers}; logs in {plan.log('').parent}")
    if plan.data_dir != data_dir():
        note(f"other commands find this stack with MOTIONQ_DATA_DIR={plan.data_dir}")
