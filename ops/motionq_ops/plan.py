"""What a local stack consists of: its folders, and the command and environment of each child. No I/O in here."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from motionq.contract.settings import NAMES, SECRETS
from motionq_ops.processes import Command
from motionq_ops.sandbox.hosts import files_host
from motionq_worker import flower_config

SANDBOX_KEY = "sandbox-key"
SANDBOX_HMAC_KEY = "sandbox-hmac-key"  # no secret: it signs the callbacks of a stand-in on this machine
LOOPBACK = "127.0.0.1"
_PYTHON = (sys.executable, "-P")  # -P: a queue.py in the folder where `up` was started must not become a module
_REDIS_NAMES = ("MOTIONQ_REDIS_URL", "REDIS_URL")
_VENDOR_NAMES = ("KIE_API_KEY", "KIE_BASE_URL", "KIE_UPLOAD_BASE_URL")
_HMAC_NAME, _PUBLIC_NAME = "KIE_WEBHOOK_HMAC_KEY", "MOTIONQ_PUBLIC_BASE_URL"
# What an app can't ask of the server in front of it. Its access log is off: a callback's path holds a capability.
_RECEIVER_OPTIONS = (
    *("--no-access-log", "--no-server-header", "--no-proxy-headers", "--ws=none"),
    *("--limit-concurrency=1000", "--timeout-keep-alive=15", "--timeout-graceful-shutdown=1"),
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A stack as it was asked for.

    `redis_url`: a server that runs already; None starts one. `staging_url`, `results_url`: as they were set; None is
    a folder in the data directory. `trusted_hosts`: as they were set. `sandbox_speed`: simulated seconds per second;
    None is no sandbox but the vendor itself. `flower_port`: None is no Flower. `callback_port`: None is no callback
    receiver. `local_callbacks`: the vendor is told the receiver's loopback address. `environment`: what the children
    inherit.
    """

    data_dir: Path
    namespace: str = "motionq"
    redis_url: str | None = None
    staging_url: str | None = None
    results_url: str | None = None
    trusted_hosts: tuple[str, ...] = ()
    server_binary: str | None = None
    workers: int = 1
    sandbox_speed: float | None = None
    flower_port: int | None = None
    callback_port: int | None = None
    local_callbacks: bool = False
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    folder: Path | None = None  # where the children run; None: where we are

    @property
    def server_folder(self) -> Path:
        """The records. Jobs made for the sandbox lie apart: they must never be bought with a real key later."""
        return self.data_dir / ("redis" if self.sandbox_speed is None else "redis-sandbox")

    @property
    def callback_url(self) -> str | None:
        """Where the callback receiver listens."""
        return f"http://{LOOPBACK}:{self.callback_port}" if self.callback_port else None

    @property
    def temporary(self) -> Path:
        """The children's temporary files, emptied at each start (a killed child leaves its own behind)."""
        return self.data_dir / "tmp"

    @property
    def ready_file(self) -> Path:
        """Where the sandbox says that it listens."""
        return self.data_dir / "sandbox.json"

    def log(self, name: str) -> Path:
        """The log of a child."""
        return self.data_dir / "logs" / f"{name}.log"


def without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without anything that configures motionq, Celery or Flower."""
    ours = NAMES | {f"{name}_FILE" for name in SECRETS}
    foreign = ("MOTIONQ_", "KIE_", "CELERY_", "FLOWER_")
    return {name: value for name, value in environment.items() if name not in ours and not name.startswith(foreign)}


def sandbox_command(plan: Plan, port: int) -> Command:
    """The vendor's stand-in; port 0 takes a free one."""
    keys = (f"--api-key={SANDBOX_KEY}", f"--hmac-key={SANDBOX_HMAC_KEY}")
    options = (f"--port={port}", f"--speed={plan.sandbox_speed:g}", *keys)
    argv = (*_PYTHON, "-m", "motionq_ops.sandbox", *options, f"--ready-file={plan.ready_file}")
    return _command(plan, "sandbox", argv, _common(plan))


def worker_command(plan: Plan, name: str, redis_url: str, sandbox_url: str | None) -> Command:
    """A worker; pool, concurrency and queues are in the app's own configuration."""
    argv = (*_celery(), "worker", "-n", f"{name}@%h")
    environment = _app_environment(plan, redis_url)
    if sandbox_url is None:
        environment |= {k: v for k, v in plan.environment.items() if _of_vendor(k)}
    else:
        environment |= {"KIE_API_KEY": SANDBOX_KEY, "KIE_BASE_URL": sandbox_url, "KIE_UPLOAD_BASE_URL": sandbox_url}
        environment["NO_PROXY"] = environment["no_proxy"] = _exempt(plan.environment)
        # The sandbox's results lie under another name than its API, as the vendor's do, and on a private address.
        results = files_host(urlsplit(sandbox_url).netloc)
        environment["MOTIONQ_TRUSTED_HOSTS"] = ",".join((*plan.trusted_hosts, results))
    if plan.local_callbacks and plan.callback_url:
        environment[_PUBLIC_NAME] = plan.callback_url
    return _command(plan, name, argv, environment)


def receiver_command(plan: Plan, redis_url: str) -> Command:
    """The callback receiver on the loopback interface. It needs no key of the vendor, so it gets none.

    The sandbox signs, and with the sandbox a signature is asked for, so that this way is walked too.
    """
    # Uvicorn puts its "app dir" before all other modules, by default the folder where `up` was started.
    options = (f"--app-dir={plan.temporary}", f"--host={LOOPBACK}", f"--port={plan.callback_port}", *_RECEIVER_OPTIONS)
    argv = (*_PYTHON, "-m", "uvicorn", "motionq_worker.callback:app", *options)
    environment = _app_environment(plan, redis_url)
    if plan.sandbox_speed is not None:
        environment.pop(f"{_HMAC_NAME}_FILE", None)
        environment[_HMAC_NAME] = SANDBOX_HMAC_KEY
    return _command(plan, "callback", argv, environment)


def flower_command(plan: Plan, redis_url: str) -> Command:
    """Flower on the loopback interface. It needs no key of the vendor, so it gets none."""
    argv = (*_celery(), "flower", f"--address={LOOPBACK}", f"--port={plan.flower_port}")
    environment = flower_config.options(plan.data_dir) | _app_environment(plan, redis_url)  # what is set by others wins
    return _command(plan, "flower", argv, environment)


def _celery() -> tuple[str, ...]:
    return (*_PYTHON, "-m", "celery", "-A", "motionq_worker.app")


def _command(plan: Plan, name: str, argv: tuple[str, ...], environment: Mapping[str, str]) -> Command:
    return Command(name=name, argv=argv, environment=environment, log=plan.log(name), folder=plan.folder)


def _common(plan: Plan) -> dict[str, str]:
    # CELERY_BROKER_URL would take Celery to another server without a word.
    left_out = ("CELERY_BROKER_URL", *_REDIS_NAMES, *(f"{name}_FILE" for name in _REDIS_NAMES))
    kept = {k: v for k, v in plan.environment.items() if k not in left_out and not _of_vendor(k)}
    return kept | {
        "MOTIONQ_DATA_DIR": str(plan.data_dir),
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(plan.temporary),
    }


def _app_environment(plan: Plan, redis_url: str) -> dict[str, str]:
    return _common(plan) | {"MOTIONQ_REDIS_URL": redis_url, "MOTIONQ_NAMESPACE": plan.namespace}


def _of_vendor(name: str) -> bool:
    return name.removesuffix("_FILE") in _VENDOR_NAMES


def _exempt(environment: Mapping[str, str]) -> str:
    """NO_PROXY with the loopback address in it: the sandbox is never behind a proxy."""
    given = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    return ",".join(part for part in (given, LOOPBACK, "localhost") if part)
