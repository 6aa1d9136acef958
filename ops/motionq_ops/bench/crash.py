"""The crash matrix: one job's worker is killed before and after everything it does; what does the vendor's ledger say?

A job's *boundaries* are counted in a run in which nothing happens to it. Then, for each of them, a fresh job is taken
up by a fresh worker that is killed there, another worker goes on, and the job must come to its end.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from redis import Redis

from motionq import Job, MotionQueue, Settings
from motionq.contract.keys import STEPS, Keys
from motionq.contract.record import Record, to_job
from motionq.contract.states import FINAL
from motionq.contract.store import JobStore
from motionq_ops.bench.boundaries import REPEATED, CommandNames, load_scripts
from motionq_ops.bench.nursery import Child, Nursery
from motionq_ops.bench.proxy import Proxies, Trap
from motionq_ops.redis_server import RedisServer, free_port
from motionq_ops.sandbox.process import SandboxProcess

PATIENCE = 60.0  # seconds within which a boundary is reached, and then a job ends, on a busy machine
SHORT = {  # leases as short as a busy machine allows
    "MOTIONQ_STEP_LEASE": "3s",
    "MOTIONQ_CHECK_LEASE": "3s",
    "MOTIONQ_TICK": "0.1s",
    "MOTIONQ_CONNECT_TIMEOUT": "3s",
    "MOTIONQ_READ_TIMEOUT": "4s",
    "MOTIONQ_CONCURRENCY": "4",
    "MOTIONQ_SUBMIT_RATE": "200/1s",
}
WINDOW = "15s"  # MOTIONQ_UNKNOWN_WINDOW; the callback comes 5 s after the purchase
SPEED, GENERATION = 60.0, 270.0  # a generation of 4.5 s: the first look (after 4 s) finds it still running
# Between these two a task may exist whose ID nobody has: the worker has the right to send, the line is not yet on disk.
_SENDS, _ON_DISK = "send#1", "rename line#1"


@dataclass(frozen=True, order=True)
class Boundary:
    """`name`: as `boundaries` and `disk` name it, with its number; `moment`: before | after."""

    name: str
    moment: str

    def __str__(self) -> str:
        return f"{self.moment} {self.name}"


@dataclass(frozen=True, kw_only=True)
class Run:
    """What became of one job. `reached`: whether its worker was killed where it should be.

    `purchases`: tasks that the vendor made for it; `asked`: its createTask calls there.
    """

    at: Boundary | None
    namespace: str
    job: Job
    record: Record
    reached: bool
    seconds: float
    stuck: tuple[str, ...]
    passed: tuple[str, ...] = ()
    purchases: int = 0
    asked: int = 0

    @property
    def outcome(self) -> str:
        """The state, or the reason of a failure and whether it was charged."""
        failure = self.job.failure
        return self.job.state if failure is None else f"{failure.reason}, charged {failure.charged}"


class Lab:
    """One server and one vendor for many runs, each in a namespace of its own. Use in a `with`."""

    def __init__(self, folder: Path, image: Path, video: Path, *, callbacks: bool = False) -> None:
        self.folder = folder
        self.callbacks = callbacks
        self._media = image, video
        # With every write on disk at once an arming is durable at once: no run waits 2.1 s for it.
        self.server = RedisServer(folder / "server", appendfsync="always")
        switches = {"duration": GENERATION, "render": "none", "rate_limit": "off", "read_limit": 0}
        self.vendor = SandboxProcess(speed=SPEED, credits=1e9, settings=switches)
        self.nursery = Nursery()
        self.proxies = Proxies()

    def __enter__(self) -> Self:
        self.server.start()
        self.vendor.start()
        self.nursery.__enter__()
        self.proxies.__enter__()
        self.redis: Redis = Redis.from_url(self.server.url, decode_responses=True)
        load_scripts(self.redis)
        return self

    def __exit__(self, *_: object) -> None:
        self.proxies.__exit__()
        self.nursery.__exit__()
        self.redis.close()
        self.vendor.stop()
        self.server.stop()

    def clean(self) -> Run:
        """A run in which nothing happens; its boundaries are `passed`."""
        return self._counted([_Life(self, None).run()])[0]

    def killed(self, places: Sequence[Boundary], *, at_once: int) -> list[Run]:
        """One run per place, `at_once` of them side by side."""
        with ThreadPoolExecutor(at_once) as pool:
            return self._counted(list(pool.map(lambda place: _Life(self, place).run(), places)))

    def _counted(self, runs: list[Run]) -> list[Run]:
        """With what the vendor's ledger says of each."""
        lines: dict[str, list[dict[str, Any]]] = {}
        for line in self.vendor.ledger("createTask"):
            lines.setdefault(str(line.get("prompt")), []).append(line)
        return [_with_ledger(run, lines.get(str(run.job.spec.prompt), [])) for run in runs]


def _with_ledger(run: Run, lines: Sequence[Mapping[str, Any]]) -> Run:
    made = sum(1 for line in lines if line.get("taskId"))
    return Run(**{**vars(run), "purchases": made, "asked": len(lines)})


class _Life:
    """One job, from its submission to its end."""

    def __init__(self, lab: Lab, at: Boundary | None) -> None:
        self._lab = lab
        self._at = at
        self.namespace = f"crash{uuid.uuid4().hex[:10]}"
        self.folder = lab.folder / self.namespace
        self.folder.mkdir()
        self._keys = Keys(self.namespace)
        self._store = JobStore(lab.redis, self._keys)
        self._worker: Child | None = None
        self._trap = Trap(self._kill, at.name if at else None, at.moment if at else "before")

    def run(self) -> Run:
        """Submits, kills, goes on, and looks at what is left."""
        began = time.monotonic()
        receiver = self._start_receiver() if self._lab.callbacks else None
        job = self._submit()
        self._start_victim()
        reached = self._at is None or self._wait_for_its_death()
        rescuer = self._start_worker("rescuer", self._environment(vendor=self._vendor)) if self._at else None
        job = self._finished(job)
        stuck = self._stuck()
        for child in (self._worker, rescuer, receiver):
            if child:
                child.kill()
        return Run(
            at=self._at,
            namespace=self.namespace,
            job=job,
            record=self._store.get(job.id),
            reached=reached,
            seconds=time.monotonic() - began,
            stuck=stuck,
            passed=(*self._trap.passed, *self._disk()),
        )

    def _environment(self, *, vendor: str, redis: str | None = None) -> dict[str, str]:
        """A worker's, with nothing of ours around it."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("MOTIONQ_", "KIE_", "CELERY_", "REDIS_"))}
        storage = {name: f"file://{self._lab.folder}/{name}" for name in ("staging", "results")}
        public = {"MOTIONQ_PUBLIC_BASE_URL": self._public} if self._lab.callbacks else {}
        return {
            **clean,
            **SHORT,
            **public,
            "REDIS_URL": redis or self._lab.server.url,
            "KIE_API_KEY": self._lab.vendor.api_key,
            "KIE_BASE_URL": vendor,
            "KIE_UPLOAD_BASE_URL": vendor,
            "MOTIONQ_NAMESPACE": self.namespace,
            "MOTIONQ_DATA_DIR": str(self.folder),
            "MOTIONQ_STAGING_URL": storage["staging"],
            "MOTIONQ_RESULTS_URL": f"file://{self.folder}/results",
            "MOTIONQ_UNKNOWN_WINDOW": WINDOW,
        }

    def _submit(self) -> Job:
        image, video = self._lab._media
        settings = Settings(
            redis_url=self._lab.server.url,
            namespace=self.namespace,
            data_dir=self.folder,
            staging_url=f"file://{self._lab.folder}/staging",
        )
        with MotionQueue(settings=settings) as queue:
            return queue.submit(image=image, video=video, prompt=f"{self.namespace} {self._at or 'clean'}")

    def _start_receiver(self) -> Child:
        port = free_port()
        self._public = f"http://127.0.0.1:{port}"
        arguments = ["uvicorn", "motionq_worker.callback:app", "--port", str(port), "--log-level", "warning"]
        environment = self._environment(vendor=self._lab.vendor.url)
        return self._lab.nursery.start(arguments, environment, self.folder / "receiver.log")

    def _start_victim(self) -> None:
        names = CommandNames(self._lab.redis, self.namespace)
        socket_path = str(self._lab.server.socket_path)
        redis = self._lab.proxies.redis(socket_path, self._trap, names)
        self._vendor = self._lab.proxies.vendor(self._lab.vendor.url, self._trap)
        disk = {"folder": str(self.folder), "log": str(self.folder / "disk.log")}
        if self._at:
            disk |= {"boundary": self._at.name, "moment": self._at.moment}
        self._worker = self._start_worker("victim", self._environment(vendor=self._vendor, redis=redis), disk)

    def _start_worker(self, name: str, environment: dict[str, str], disk: dict[str, str] | None = None) -> Child:
        arguments = ["celery", "-A", "motionq_worker.app", "worker", "-n", f"{name}@%h"]
        return self._lab.nursery.start(arguments, environment, self.folder / f"{name}.log", disk=disk)

    def _kill(self) -> None:
        """Called by the trap, in the event loop: nothing passes until the worker is dead."""
        if self._worker:
            self._worker.kill()

    def _wait_for_its_death(self) -> bool:
        deadline = time.monotonic() + PATIENCE
        while self._worker and self._worker.code() is None:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        self._trap.sprung.set()  # killed at the disk: the proxies are free for the next one
        return True

    def _finished(self, job: Job) -> Job:
        deadline = time.monotonic() + PATIENCE
        while self._store.get(job.id).state not in FINAL and time.monotonic() < deadline:
            time.sleep(0.05)
        return to_job(self._store.get(job.id), self._store.events(job.id))

    def _stuck(self) -> tuple[str, ...]:
        """What a finished job leaves behind and must not: slots, alarms, places in a line."""
        names = [self._keys.slots, self._keys.tenants, self._keys.candidates, *map(self._keys.due, STEPS)]
        return tuple(name for name in names if self._lab.redis.zcard(name))

    def _disk(self) -> list[str]:
        log = self.folder / "disk.log"
        return log.read_text(encoding="utf-8").split("\n")[:-1] if log.exists() else []


def places(passed: Iterable[str]) -> list[Boundary]:
    """Both moments of every boundary of a clean run; of what repeats while a job waits, the first time."""
    names = [name for name in dict.fromkeys(passed) if name.endswith("#1") or name.rpartition("#")[0] not in REPEATED]
    # A message is taken by a command that has long been waiting at the server: there is no moment before it.
    return [Boundary(n, m) for n in names for m in ("before", "after") if (m, n[:5]) != ("before", "take ")]


def may_be_unknown(passed: Sequence[str]) -> frozenset[Boundary]:
    """The places of a clean run between which a purchase's fate is known to nobody, once the worker is dead.

    From the answer to `send` (the right to send is taken) until the task's line is in the journal. What Celery strikes
    out meanwhile, in another thread, counts as inside.
    """
    inside = [
        Boundary("send#1", "after"),
        Boundary("POST createTask#1", "before"),
        Boundary("POST createTask#1", "after"),
    ]
    inside += [Boundary("sync line#1", "before"), Boundary("sync line#1", "after"), Boundary("rename line#1", "before")]
    return frozenset(inside)
