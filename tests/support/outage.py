"""One job, one worker and one server (or two) that loses power, or is replaced by its replica; the vendor is shared."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from redis import Redis

from motionq import Job, MotionQueue, Settings
from motionq.contract.keys import Keys
from motionq.contract.record import Record
from motionq.contract.store import JobStore
from motionq_ops.bench.proxy import Proxies
from motionq_ops.nursery import Child, Nursery
from motionq_ops.redis_server import RedisServer, free_port
from motionq_ops.sandbox.process import SandboxProcess
from support.aof import lose_power
from support.stack import DANCE, FAST, IMAGE
from support.waiting import eventually


class Outage:
    """Use in a `with`. Durability as in production: `appendfsync everysec`."""

    def __init__(self, folder: Path, vendor: SandboxProcess, nursery: Nursery) -> None:
        self.folder, self.vendor, self.nursery = folder, vendor, nursery
        self.prompt = uuid.uuid4().hex
        self.keys = Keys()
        self.server = RedisServer(folder / "server", port=free_port())
        self._address = self.server.url
        self._children: list[Child] = []

    def __enter__(self) -> Outage:
        self.server.start()
        self._open()
        return self

    def _open(self) -> None:
        self.redis: Redis = Redis.from_url(self._address, decode_responses=True)
        self.store = JobStore(self.redis, self.keys)

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            child.kill()
        self.redis.close()
        self.server.stop()

    def worker(self) -> Child:
        """Starts a worker."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("MOTIONQ_", "KIE_", "CELERY_", "REDIS_"))}
        environment = {
            **clean,
            **FAST,
            "REDIS_URL": self._address,
            "KIE_API_KEY": self.vendor.api_key,
            "KIE_BASE_URL": self.vendor.url,
            "KIE_UPLOAD_BASE_URL": self.vendor.url,
            "MOTIONQ_TRUSTED_HOSTS": self.vendor.files_host,
            "MOTIONQ_STAGING_URL": f"file://{self.folder}/staging",
            "MOTIONQ_RESULTS_URL": f"file://{self.folder}/results",
            "MOTIONQ_DATA_DIR": str(self.folder),
            "MOTIONQ_UNKNOWN_WINDOW": "6s",
            "MOTIONQ_CONCURRENCY": "4",
        }
        name = f"w{len(self._children)}"
        arguments = ["celery", "-A", "motionq_worker.app", "worker", "-n", f"{name}@%h"]
        child = self.nursery.start(arguments, environment, self.folder / f"{name}.log")
        self._children.append(child)
        return child

    def submit(self) -> None:
        """The job."""
        settings = Settings(redis_url=self._address, data_dir=self.folder, staging_url=f"file://{self.folder}/staging")
        with MotionQueue(settings=settings) as queue:
            self.job: Job = queue.submit(image=IMAGE, video=DANCE, prompt=self.prompt)

    @property
    def record(self) -> Record:
        """The job's record now."""
        return self.store.get(self.job.id)

    def reaches(self, *states: str, timeout: float = 40.0) -> Record:
        """The record as soon as the job is in one of these states."""
        name = self.keys.job(self.job.id)
        eventually(lambda: self.redis.hget(name, "state") in states, timeout, 0.005)
        return self.record

    def lose_power(self, *, since: bytes | None) -> None:
        """The server is killed and started again without all that it wrote since this text was first in its file."""
        path = sorted((self.server.data_dir / "appendonlydir").glob("*.incr.aof"))[-1]
        kept = path.read_bytes().index(since) if since else path.stat().st_size
        lose_power(self.server, kept=kept)

    def end(self) -> tuple[str, str, int, int]:
        """The job's end: its state, its failure, its createTask calls and tasks by the vendor's ledger."""
        record = self.reaches("succeeded", "failed", timeout=60)
        lines = [line for line in self.vendor.ledger("createTask") if line.get("prompt") == self.prompt]
        failure = f"{record.failure.reason} {record.failure.charged}" if record.failure else ""
        return record.state.value, failure, len(lines), sum(1 for line in lines if line.get("taskId"))

    def posted(self) -> bool:
        """Whether the vendor has got its createTask."""
        return any(line.get("prompt") == self.prompt for line in self.vendor.ledger("createTask"))


class FailOver(Outage):
    """With a replica; clients reach whichever server is in charge through one address."""

    def __init__(self, folder: Path, vendor: SandboxProcess, nursery: Nursery) -> None:
        super().__init__(folder, vendor, nursery)
        self._stalled = False
        self._port = self.server.port

    def _open(self) -> None:
        self._proxies = Proxies().__enter__()
        link = self._proxies.switch(lambda: self.server.port, stalls=lambda: self._stalled)
        self._address = f"redis://127.0.0.1:{self._proxies.switch(lambda: self._port)}/0"
        options = {"replicaof": f"127.0.0.1 {link}", "repl-diskless-sync-delay": "0"}
        self.replica = RedisServer(self.folder / "replica", port=free_port(), options=options)
        self.replica.start()
        super()._open()
        eventually(lambda: "online" in str(self.redis.info("replication").get("slave0")), 20)

    def __exit__(self, *errors: object) -> None:
        super().__exit__(*errors)
        self._stalled = False
        self.replica.stop()
        self._proxies.__exit__()

    def stall(self) -> None:
        """From now on the replica gets nothing any more, though it is still connected; it has the job."""
        with Redis(port=self.replica.port) as replica:
            eventually(lambda: replica.exists(self.keys.job(self.job.id)), 20)
        self._stalled = True

    def promote(self) -> None:
        """The first server is gone; the replica, with what it has, takes its place."""
        with Redis(port=self.replica.port) as replica:
            replica.replicaof("NO", "ONE")
        self.server.kill()
        self._port = self.replica.port
        self._proxies.cut()
        self.redis.connection_pool.disconnect()
