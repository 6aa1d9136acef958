"""`motionq up`: the local stack in the foreground, until Ctrl+C."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

from motionq.contract.errors import InvalidSettings
from motionq.contract.settings import Settings, data_dir, load
from motionq.output import Code, note, say
from motionq_ops.local import Stack, running
from motionq_ops.plan import LOOPBACK, Plan
from motionq_ops.redis_server import free_port
from motionq_ops.stop import Stopped, stops_on_signals

DEFAULT_WORKERS = min(2, os.cpu_count() or 1)


def up(*, sandbox: bool, speed: float, workers: int | None, folder: Path | None, flower_port: int | None) -> int:
    """Run a stack until a signal ends it; returns the exit code. `speed`: of the sandbox's clock.

    Raises InvalidSettings, AlreadyRunning, CannotStart, QueueUnavailable.
    """
    settings = load(dotenv=True, data_dir=folder) if folder else load(dotenv=True)
    if not sandbox and settings.kie_api_key is None:
        raise InvalidSettings("KIE_API_KEY is not set (`motionq up --sandbox` needs none, and no money)")
    plan = _plan(settings, sandbox, speed, DEFAULT_WORKERS if workers is None else workers, flower_port)
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


def _plan(settings: Settings, sandbox: bool, speed: float, workers: int, flower_port: int | None) -> Plan:
    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
    if redis_url and sandbox:
        note("the sandbox now answers for all jobs of the server that REDIS_URL names")
    return Plan(
        data_dir=settings.data_dir.expanduser().absolute(),
        namespace=settings.namespace,
        redis_url=redis_url,
        server_binary=settings.server_binary,
        workers=workers,
        sandbox_speed=speed if sandbox else None,
        flower_port=_flower_port(flower_port, settings.flower_port),
        environment=dict(os.environ),
    )


def _flower_port(asked: int | None, default: int) -> int | None:
    """The port for Flower; 0 is none. One that was asked for must be free, the default gives way to another."""
    port = default if asked is None else asked
    if port == 0:
        return None
    if is_free(port):
        return port
    if asked is not None:
        raise InvalidSettings(f"--flower-port: {port} is taken (0 leaves Flower out)")
    other = free_port()
    note(f"port {port} is taken: Flower takes {other}")
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
    note(f"workers  {plan.workers}; logs in {plan.log('').parent}")
    if plan.data_dir != data_dir():
        note(f"other commands find this stack with MOTIONQ_DATA_DIR={plan.data_dir}")
