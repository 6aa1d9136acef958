"""A whole motionq for tests: a real server, real worker processes, and the sandbox as the vendor over real HTTP."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, Self

from redis import Redis

from motionq import Job, MotionQueue, Settings
from motionq.contract.keys import Keys
from motionq.contract.store import JobStore
from motionq_ops.redis_server import RedisServer
from motionq_ops.sandbox.process import SandboxProcess
from support.shared import borrow_sandbox, give_back, nursery
from support.waiting import eventually

MEDIA = Path(__file__).parents[1] / "media"
IMAGE, VIDEO = MEDIA / "astronaut.png", MEDIA / "bigbuckbunny.mp4"
DANCE = MEDIA / "dance.mp4"  # 3.2 s of the same film, small: for tests that are not about media
FAST = {  # leases as short as a loaded machine allows
    "MOTIONQ_STEP_LEASE": "3s",
    "MOTIONQ_CHECK_LEASE": "3s",
    "MOTIONQ_TICK": "0.1s",
    "MOTIONQ_CONNECT_TIMEOUT": "3s",
    "MOTIONQ_READ_TIMEOUT": "4s",
    "MOTIONQ_CONCURRENCY": "16",
    "MOTIONQ_TRANSFERS": "8",
}


class Worker:
    """One `celery -A motionq_worker.app worker`, forked from a process that has done the imports."""

    def __init__(self, name: str, environment: dict[str, str], log: Path) -> None:
        self.name, self.log = name, log
        command = ["celery", "-A", "motionq_worker.app", "worker", "-n", f"{name}@%h"]
        self._child = nursery().start(command, environment, log)

    @property
    def pid(self) -> int:
        """Its process ID."""
        return self._child.pid

    def kill(self) -> None:
        """SIGKILL, at whatever instruction it is. May be repeated."""
        self._child.kill()

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        self._child.terminate()
        eventually(lambda: self._child.code() is not None, timeout=20)
        code = self._child.code()
        assert code is not None
        return code


class Stack:
    """Use in a `with`. `settings` are environment variables, `sandbox` switches of the sandbox."""

    def __init__(
        self,
        folder: Path,
        *,
        workers: int = 1,
        speed: float = 60.0,
        appendfsync: Literal["always", "everysec"] = "always",
        sandbox: dict[str, Any] | None = None,
        hmac_key: str | None = None,
        **settings: str,
    ) -> None:
        self.folder = folder
        # With every write on disk at once an arming is durable at once: tests need not wait 2.1 s for each purchase.
        self.server = RedisServer(folder / "server", appendfsync=appendfsync)
        self._switches = {"speed": speed, "duration": 120.0, "render": "copy", **(sandbox or {})}
        self._hmac_key = hmac_key
        self.workers: list[Worker] = []
        self._wanted = workers
        self._settings = settings

    def __enter__(self) -> Self:
        self.server.start()
        self.vendor = SandboxProcess(hmac_key=self._hmac_key).start() if self._hmac_key else borrow_sandbox()
        self.vendor.settings(**self._switches)
        self.environment = self._environment()
        self.redis: Redis = Redis.from_url(self.server.url, decode_responses=True)
        self.keys = Keys()
        self.store = JobStore(self.redis, self.keys)
        folder = self.folder
        self.queue = MotionQueue(
            settings=Settings(redis_url=self.server.url, data_dir=folder, staging_url=f"file://{folder}/staging")
        )
        for _ in range(self._wanted):
            self.add_worker()
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.kill()
        self.queue.close()
        self.redis.close()
        self.vendor.stop() if self._hmac_key else give_back(self.vendor)
        self.server.stop()

    def _environment(self) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("MOTIONQ_", "KIE_", "CELERY_", "REDIS_"))}
        return (
            clean
            | FAST
            | {
                "REDIS_URL": self.server.url,
                "KIE_API_KEY": self.vendor.api_key,
                "KIE_BASE_URL": self.vendor.url,
                "KIE_UPLOAD_BASE_URL": self.vendor.url,
                "MOTIONQ_TRUSTED_HOSTS": self.vendor.files_host,
                "MOTIONQ_STAGING_URL": f"file://{self.folder}/staging",
                "MOTIONQ_RESULTS_URL": f"file://{self.folder}/results",
                "MOTIONQ_DATA_DIR": str(self.folder),
                **self._settings,
            }
        )

    def add_worker(self, **settings: str) -> Worker:
        """One more worker process."""
        name = f"w{len(self.workers) + 1}"
        worker = Worker(name, self.environment | settings, self.folder / f"{name}.log")
        self.workers.append(worker)
        return worker

    def submit(self, **options: Any) -> Job:
        """One job."""
        return self.queue.submit(**{"image": IMAGE, "video": DANCE, **options})

    def finished(self, job: Job, timeout: float = 60.0) -> Job:
        """The job when it has ended."""
        return self.queue.wait(job.id, timeout=timeout)

    def in_state(self, job: Job, *states: str, timeout: float = 30.0) -> None:
        """Waits until the job is in one of these states; one that lasts a second or less may be missed: `has_been`."""
        eventually(lambda: self.store.get(job.id).state in states, timeout)

    def has_been(self, job: Job, state: str, timeout: float = 30.0) -> None:
        """Waits until the job is in this state or was in it: for states that a busy machine may not see."""
        eventually(lambda: state in {event.state for event in self.store.get(job.id).events}, timeout)

    def bought(self, job: Job) -> list[dict[str, Any]]:
        """What the vendor's ledger saw of this job's createTask calls (its prompt is the job's label)."""
        return [line for line in self.vendor.ledger("createTask") if line.get("prompt") == job.spec.prompt]
