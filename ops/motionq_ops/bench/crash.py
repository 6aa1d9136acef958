"""The crash matrix: one job's worker is killed before and after everything it does; what does the vendor's ledger say?

A job's *boundaries* are counted in a run in which nothing happens to it. Then, for each of them, a fresh job is taken
up by a fresh worker that is killed there, another worker goes on, and the job must come to its end.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from redis import Redis

from motionq import Job, MotionQueue, Settings
from motionq.contract.keys import STEPS, Keys
from motionq.contract.record import Record, to_job
from motionq.contract.states import FINAL
from motionq.contract.store import JobStore
from motionq_ops.bench.boundaries import CommandNames, load_scripts
from motionq_ops.bench.proxy import Proxies, Trap
from motionq_ops.nursery import Child, Nursery
from motionq_ops.redis_server import RedisServer, free_port
from motionq_ops.sandbox.process import SandboxProcess

PATIENCE = 60.0  # seconds within which a boundary is reached, and then a job ends, on a busy machine
SHORT = {  # leases as short as a busy machine allows
    "MOTIONQ_STEP_LEASE": "3s",
    "MOTIONQ_CHECK_LEASE": "3s",
    "MOTIONQ_TICK": "0.25s",
    "MOTIONQ_CONNECT_TIMEOUT": "3s",
    "MOTIONQ_READ_TIMEOUT": "4s",
    "MOTIONQ_CONCURRENCY": "4",
    "MOTIONQ_SUBMIT_RATE": "200/1s",
    "MOTIONQ_UNKNOWN_WINDOW": "15s",  # the callback comes 6 s after the purchase
}
SPEED, GENERATION = 60.0, 360.0  # a generation of 6 s: the first look (after 4 s) finds it still running
TRIES = 3  # a place that a busy machine did not come by (its first look came late) is tried again, more slowly
_GRACE = 3.0  # seconds after a job's end in which its first worker may still come by its place


@dataclass(frozen=True)
class Place:
    """Where a worker is killed.

    `name`: of the boundary, as `boundaries` and `disk` name it, with its number; `moment`: before | after;
    `callbacks`: whether kie.ai can reach us.
    """

    name: str
    moment: str
    callbacks: bool = False

    def __str__(self) -> str:
        return f"{self.moment} {self.name}"


@dataclass(frozen=True, kw_only=True)
class Run:
    """What became of one job.

    `reached`: whether its worker was killed where it should be; `stuck`: sets that still hold the finished job;
    `passed`: the boundaries its first worker passed; `purchases`: tasks that the vendor made for it; `asked`: its
    createTask calls there.
    """

    at: Place | None
    namespace: str
    job: Job
    record: Record
    reached: bool
    seconds: float
    stuck: tuple[str, ...]
    passed: tuple[str, ...]
    purchases: int = 0
    asked: int = 0

    @property
    def outcome(self) -> str:
        """The state, or the reason of a failure and whether it was charged."""
        failure = self.job.failure
        return self.job.state if failure is None else f"{failure.reason}, charged {failure.charged}"


class Lab:
    """One server and one vendor for many runs, each in a namespace of its own. Use in a `with`."""

    def __init__(self, folder: Path, image: Path, video: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.image, self.video = image, video
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

    def clean(self, *, callbacks: bool) -> Run:
        """A run in which nothing happens; its boundaries are `passed`."""
        return self._counted([Life(self, None, callbacks=callbacks).run()])[0]

    def killed(self, places: Iterable[Place], *, at_once: int, clean: Run) -> list[Run]:
        """One run per place, `at_once` of them side by side; `clean` is the run in which the places were counted."""
        with ThreadPoolExecutor(at_once) as pool:
            return self._counted(list(pool.map(lambda place: self._killed(place, clean), places)))

    def _killed(self, place: Place, clean: Run) -> Run:
        for number in range(TRIES):
            run = Life(self, place, callbacks=place.callbacks, clean=clean, slower=1 + 2 * number).run()
            if run.reached:
                break
        return run

    def _counted(self, runs: list[Run]) -> list[Run]:
        """With what the vendor's ledger says of each."""
        lines: dict[str, list[dict[str, Any]]] = {}
        for line in self.vendor.ledger("createTask"):
            lines.setdefault(str(line.get("prompt")), []).append(line)
        return [_with_ledger(run, lines.get(str(run.job.spec.prompt), [])) for run in runs]


def _with_ledger(run: Run, lines: Sequence[Mapping[str, Any]]) -> Run:
    return replace(run, purchases=sum(1 for line in lines if line.get("taskId")), asked=len(lines))


class Life:
    """One job, from its submission to its end, and the processes around it.

    `clean`: the run in which the place was counted; `slower`: how much longer than others its generation takes.
    """

    def __init__(
        self, lab: Lab, at: Place | None, *, callbacks: bool, clean: Run | None = None, slower: int = 1
    ) -> None:
        self._lab = lab
        self._at = at
        self._clean = clean
        self._slower = slower
        self.namespace = f"crash{uuid.uuid4().hex[:10]}"
        self._folder = lab.folder / self.namespace
        self._folder.mkdir()
        self._keys = Keys(self.namespace)
        self._store = JobStore(lab.redis, self._keys)
        self._children: list[Child] = []
        self._trap = Trap(self._kill, at.name if at else None, at.moment if at else "before")
        self._vendor = lab.proxies.vendor(lab.vendor.url, self._trap)
        self._port = free_port() if callbacks else 0

    def run(self) -> Run:
        """Submits, kills, goes on, and looks at what is left."""
        began = time.monotonic()
        if self._port:
            self._start_receiver()
        job = self._submit()
        self._start_victim()
        reached = self._at is None or self._dies(job)
        if self._at and reached:
            self._start_worker("rescuer", self._environment())
        self._wait(lambda: self._ended(job) and self._at_rest())
        for child in self._children:
            child.kill()
        record = self._store.get(job.id)
        return Run(
            at=self._at,
            namespace=self.namespace,
            job=to_job(record),
            record=record,
            reached=reached,
            seconds=time.monotonic() - began,
            stuck=self._stuck(),
            passed=(*self._trap.passed, *self._disk()),
        )

    # -- the processes ------------------------------------------------------------------------------------------
    def _environment(self, redis: str | None = None) -> dict[str, str]:
        """A worker's, with nothing of ours around it."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("MOTIONQ_", "KIE_", "CELERY_", "REDIS_"))}
        public = {"MOTIONQ_PUBLIC_BASE_URL": f"http://127.0.0.1:{self._port}"} if self._port else {}
        return {
            **clean,
            **SHORT,
            **public,
            "REDIS_URL": redis or self._lab.server.url,
            "KIE_API_KEY": self._lab.vendor.api_key,
            "KIE_BASE_URL": self._vendor,
            "KIE_UPLOAD_BASE_URL": self._vendor,
            "MOTIONQ_TRUSTED_HOSTS": "localhost",  # the sandbox's results, through the same proxy
            "MOTIONQ_NAMESPACE": self.namespace,
            "MOTIONQ_DATA_DIR": str(self._folder),
            "MOTIONQ_STAGING_URL": f"file://{self._lab.folder}/staging",
            "MOTIONQ_RESULTS_URL": f"file://{self._folder}/results",
        }

    def _submit(self) -> Job:
        settings = Settings(
            redis_url=self._lab.server.url,
            namespace=self.namespace,
            data_dir=self._folder,
            staging_url=f"file://{self._lab.folder}/staging",
        )
        self._borrow_uploads()
        prompt = f"{self.namespace} {self._at or 'clean'}"
        if self._slower > 1:
            self._lab.vendor.add_fault("duration", match={"prompt": prompt}, seconds=GENERATION * self._slower)
        with MotionQueue(settings=settings) as queue:
            return queue.submit(image=self._lab.image, video=self._lab.video, prompt=prompt)

    def _borrow_uploads(self) -> None:
        """A worker that is killed after its uploads need not make them: they lie at the vendor since the clean run."""
        if self._at is None or self._clean is None:
            return
        passed = self._clean.passed
        if self._at.name in passed and passed.index(self._at.name) > passed.index("move uploaded#1"):
            theirs = Keys(self._clean.namespace)
            for content in self._clean.record.contents:
                self._lab.redis.copy(theirs.upload(content), self._keys.upload(content))

    def _start_receiver(self) -> None:
        arguments = ["uvicorn", "motionq_worker.callback:app", "--port", str(self._port), "--log-level", "warning"]
        self._start("receiver", arguments, self._environment())

    def _start_victim(self) -> None:
        names = CommandNames(self._lab.redis, self.namespace)
        redis = self._lab.proxies.redis(str(self._lab.server.socket_path), self._trap, names)
        disk = {"folder": str(self._folder), "log": str(self._folder / "disk.log")}
        if self._at:
            disk |= {"boundary": self._at.name, "moment": self._at.moment}
        self._victim = self._start_worker("victim", self._environment(redis), disk)

    def _start_worker(self, name: str, environment: dict[str, str], disk: dict[str, str] | None = None) -> Child:
        arguments = ["celery", "-A", "motionq_worker.app", "worker", "-n", f"{name}@%h"]
        return self._start(name, arguments, environment, disk)

    def _start(
        self, name: str, arguments: list[str], environment: dict[str, str], disk: dict[str, str] | None = None
    ) -> Child:
        child = self._lab.nursery.start(arguments, environment, self._folder / f"{name}.log", disk=disk)
        self._children.append(child)
        return child

    def _kill(self) -> None:
        """Called by the trap, in the event loop: nothing passes until the worker is dead."""
        self._victim.kill()

    # -- what becomes of it -------------------------------------------------------------------------------------
    def _dies(self, job: Job) -> bool:
        """Whether the worker is killed at its place, before the job has ended without it."""
        self._wait(lambda: self._victim.code() is not None or self._ended(job))
        dead = self._wait(lambda: self._victim.code() is not None, _GRACE)
        if dead:
            self._trap.sprung.set()  # killed at the disk: the proxies are free for the next one
        return dead

    def _ended(self, job: Job) -> bool:
        return self._lab.redis.hget(self._keys.job(job.id), "state") in FINAL

    def _at_rest(self) -> bool:
        """What comes a moment after the end: the journal's line is erased, a named task struck out."""
        return not self._stuck() and not list(self._folder.glob("journal/*/*.json"))

    def _stuck(self) -> tuple[str, ...]:
        """What a finished job leaves behind and must not: slots, alarms, places in a line."""
        names = [self._keys.slots, self._keys.tenants, self._keys.candidates, *map(self._keys.due, STEPS)]
        return tuple(name for name in names if self._lab.redis.zcard(name))

    def _disk(self) -> list[str]:
        log = self._folder / "disk.log"
        return log.read_text(encoding="utf-8").split("\n")[:-1] if log.exists() else []

    def _wait(self, until: Callable[[], bool], seconds: float = PATIENCE) -> bool:
        deadline = time.monotonic() + seconds
        while not (met := until()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return met
