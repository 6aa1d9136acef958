"""`motionq bench chaos`: many jobs, and for some minutes everything goes wrong; then peace, and the books are compared.

Real parts throughout: a queue server, worker processes, the callback receiver, and the sandbox as the vendor. What
happens and when is drawn from a seed (chaos_plan.py).
"""

from __future__ import annotations

import os
import random
import secrets
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr
from redis import Redis
from redis.exceptions import RedisError

from motionq import Job, MotionQueue, QueueUnavailable, Settings, actions
from motionq.contract.errors import ActionRefused, InvalidSettings
from motionq.contract.keys import Keys
from motionq.contract.record import Record
from motionq.contract.states import FINAL, UNFINISHED, State
from motionq.contract.store import JobStore
from motionq_ops.bench.chaos_plan import CLIPS, RESUMED_EVERY, TENANTS, Event, draw
from motionq_ops.bench.clips import CLIP, IMAGE, write_clips
from motionq_ops.bench.parts import forget_settings
from motionq_ops.books import Balance, balance, task_of
from motionq_ops.invariants import violations
from motionq_ops.nursery import Child, Nursery
from motionq_ops.plan import SANDBOX_HMAC_KEY, SANDBOX_KEY, Plan, receiver_command, worker_command
from motionq_ops.processes import Command
from motionq_ops.queue_server import QueueServer
from motionq_ops.redis_server import ServerBinaryMissing, ServerError, free_port
from motionq_ops.sandbox.process import SandboxFailed, SandboxProcess
from motionq_ops.sandbox.records import signature_headers
from motionq_ops.supervisor import CannotStart
from motionq_worker.gate import close_for_restart

SPEED = 60.0  # a generation takes some two seconds
_VENDOR = {"render": "none", "rate_limit": "off", "read_limit": 0}
_RATE = 40  # submissions per second; so many jobs at most are armed at once
_SHORT = {  # leases as short as a busy machine allows
    "MOTIONQ_STEP_LEASE": "3s",
    "MOTIONQ_CHECK_LEASE": "3s",
    "MOTIONQ_TICK": "0.1s",
    "MOTIONQ_CONNECT_TIMEOUT": "3s",
    "MOTIONQ_READ_TIMEOUT": "4s",
    "MOTIONQ_CONCURRENCY": "16",
    "MOTIONQ_TRANSFERS": "8",
    "MOTIONQ_READ_RATE": "500/1s",
    "MOTIONQ_SUBMIT_RATE": f"{_RATE}/1s",
    "MOTIONQ_UNKNOWN_WINDOW": "8s",  # shorter than the latest callback, so that failed jobs are healed, too
}
_QUIET = 12.0  # seconds without a change after which peace is complete: the latest callback comes 8 s after its task
_PATIENCE, _PATIENCE_PER_JOB = 240.0, 0.25  # seconds; a time-out at the vendor settles after two minutes
_CLIP_SIZE = CLIP.stat().st_size + 100_000  # bytes
_USED_UP = 60.0  # seconds
_TO_BE_BOUGHT = (State.QUEUED, State.UPLOADING, State.READY, State.ARMED, State.SUBMITTING)
_START, _LOOK = 60.0, 0.2
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Storm:
    """What is asked for. `seconds`: of trouble."""

    jobs: int
    seconds: float
    seed: int
    workers: int


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of it. `did`: what was done to motionq; `met`: faults that a request met; `peace`: seconds it took.

    `stuck`: a sentence for each job that did not end, and for each rule of the queue's sets that does not hold.
    """

    balance: Balance
    states: dict[str, int]
    reasons: dict[str, int]
    stuck: tuple[str, ...]
    did: dict[str, int]
    met: dict[str, int]
    peace: float


def bench(storm: Storm, say: Say) -> Outcome:
    """Call in the main thread (see leash.py). Raises CannotStart, InvalidSettings."""
    forget_settings()
    plan = draw(seed=storm.seed, jobs=storm.jobs, seconds=storm.seconds, workers=storm.workers)
    with tempfile.TemporaryDirectory(prefix="motionq-chaos-") as folder, _running(storm, Path(folder)) as stage:
        say(f"{storm.seconds:g} s of trouble for {storm.jobs:,} jobs: {len(plan):,} events")
        stage.wait_for_workers()
        stage.suffer(plan, say)
        stage.use_up(say)
        say("peace: all parts run, the vendor is well")
        peace = stage.make_peace(say)
        return stage.outcome(peace)


@contextmanager
def _running(storm: Storm, folder: Path) -> Iterator[Stage]:
    plan = Plan(
        data_dir=folder,
        workers=storm.workers,
        sandbox_speed=SPEED,
        callback_port=free_port(),
        local_callbacks=True,
        environment=os.environ | _SHORT | {"MOTIONQ_MAX_IN_FLIGHT": str(max(100, storm.jobs))},
        folder=folder,
    )
    for path in (plan.temporary, plan.log("").parent):
        path.mkdir(parents=True)
    try:
        # The disk is written once a second, as `motionq up` has it.
        server = QueueServer(plan.server_folder, plan.log("redis"), os.environ.get("MOTIONQ_SERVER_BINARY"))
        seed = (f"--seed={storm.seed}",)
        keys = {"api_keys": (SANDBOX_KEY,), "hmac_key": SANDBOX_HMAC_KEY}
        vendor = SandboxProcess(speed=SPEED, credits=1e9, settings=_VENDOR, arguments=seed, **keys)  # type: ignore[arg-type]
        with server, vendor, Nursery() as nursery:
            settings = Settings(redis_url=SecretStr(server.url), data_dir=folder)
            with MotionQueue(settings=settings) as queue, Redis.from_url(server.url, decode_responses=True) as redis:
                stage = Stage(storm, plan, server, vendor, nursery, queue, redis)
                stage.start_all()
                yield stage
    except ServerBinaryMissing as error:
        raise InvalidSettings(str(error)) from error
    except (ServerError, SandboxFailed) as error:
        raise CannotStart(str(error)) from error


@dataclass
class Stage:
    """The running parts, and what happens to them."""

    storm: Storm
    plan: Plan
    server: QueueServer
    vendor: SandboxProcess
    nursery: Nursery
    queue: MotionQueue
    redis: Redis
    jobs: dict[int, Job] = field(default_factory=dict)
    did: Counter[str] = field(default_factory=Counter)
    _children: dict[str, Child] = field(default_factory=dict)
    _owed: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.keys = Keys(self.plan.namespace)
        self.store = JobStore(self.redis, self.keys)
        self._dice = random.Random(self.storm.seed)
        self._clips = write_clips(self.plan.data_dir, CLIPS, _CLIP_SIZE)

    # -- trouble --------------------------------------------------------------------------------------------------
    def suffer(self, plan: Sequence[Event], say: Say) -> None:
        """Everything in the plan, at its time (or as soon after it as this machine can)."""
        began, told = time.monotonic(), 0.0
        for event in plan:
            time.sleep(max(0.0, began + event.at - time.monotonic()))
            self._do(event)
            if event.at - told > 10.0:
                told = event.at
                say(f"{event.at:.0f} s: {len(self.jobs):,} jobs submitted")

    def _do(self, event: Event) -> None:
        """One event; what the queue's server can't take just then is not done, or (a job) submitted later."""
        with suppress(QueueUnavailable, RedisError):
            if event.what == "submitted":
                self._submit(event.number)
            elif event.what == "fault":
                self.vendor.control("POST", "/sandbox/faults", event.rule)
            else:
                getattr(self, f"_{event.what}")(event.number)
                self.did[event.what] += not event.what.endswith("_started")

    def _submit(self, number: int) -> None:
        """As a caller does who asks again with the same key until it is answered."""
        self._owed.append(number)
        while self._owed:
            one = self._owed[-1]
            self.jobs[one] = self.queue.submit(
                image=IMAGE,
                video=self._clips[one % CLIPS],
                tenant=TENANTS[one % len(TENANTS)],
                idempotency_key=f"chaos-{one}",
            )
            self._owed.pop()

    def _cancelled(self, number: int) -> None:
        if number in self.jobs:
            with suppress(ActionRefused):
                actions.cancel(self.store, self.jobs[number].id)

    def _resumed(self, _: int) -> None:
        self.store.resume()

    def _worker_killed(self, number: int) -> None:
        self._children[f"w{number + 1}"].kill()

    def _worker_started(self, number: int) -> None:
        name = f"w{number + 1}"
        self._start(worker_command(self.plan, name, self.server.url, self.vendor.url))

    def _receiver_killed(self, _: int) -> None:
        self._children["callback"].kill()

    def _receiver_started(self, _: int) -> None:
        self._start(receiver_command(self.plan, self.server.url))

    def _server_killed(self, _: int) -> None:
        self.server.kill()

    def _server_started(self, _: int) -> None:
        if not self.server.pid:
            self.server.start()

    def _server_restarted(self, _: int) -> None:
        """As the runbook has it: the gate is closed, what is armed goes back in line, then the server restarts."""
        if self.server.pid:
            self.store.pause("operator", "a planned restart")
            close_for_restart(self.store)
            self.server.restart()
            self.store.resume()

    def _forged(self, number: int) -> None:
        """Callbacks by somebody who knows a job, but not its nonce; unsigned, and signed as if the key were known."""
        jobs = [*self.jobs.values()]
        job_id = jobs[number % len(jobs)].id if jobs else "0" * 26
        task_id = secrets.token_hex(16)
        for headers in ({}, signature_headers(SANDBOX_HMAC_KEY, task_id, int(time.time()))):
            url = f"{self.plan.callback_url}/callbacks/kie/{job_id}/{secrets.token_hex(20)}"
            body = b'{"code": 200, "data": {"taskId": "%s", "state": "success"}}' % task_id.encode()
            with suppress(OSError), _DIRECT.open(urllib.request.Request(url, body, headers), timeout=2.0):  # noqa: S310
                pass

    # -- parts ----------------------------------------------------------------------------------------------------
    def start_all(self) -> None:
        """The receiver and the workers, unless they run."""
        self._start(receiver_command(self.plan, self.server.url))
        for number in range(self.storm.workers):
            self._worker_started(number)

    def _start(self, command: Command) -> None:
        """Fork it, unless it runs. What ends by itself (a worker whose server is away) is started by the next call."""
        child = self._children.get(command.name)
        if child is None or child.code() is not None:
            module = list(command.argv[command.argv.index("-m") + 1 :])
            self._children[command.name] = self.nursery.start(module, command.environment, command.log)

    def wait_for_workers(self) -> None:
        """Until every worker has given a sign of life. Raises CannotStart."""
        ends = time.monotonic() + _START
        while self.redis.zcard(self.keys.workers) < self.storm.workers:
            if time.monotonic() > ends:
                raise CannotStart(f"the workers did not start within {_START:g} s")
            time.sleep(_LOOK)

    def use_up(self, say: Say) -> None:
        """The vendor goes on to break, and the person to open the gate, until all is bought; a minute at most.

        On a slow machine few jobs would meet anything else.
        """
        ends = time.monotonic() + _USED_UP
        while time.monotonic() < ends:
            self._do(Event(at=0.0, what="server_started"))
            self.start_all()
            if self._owed:
                self._do(Event(at=0.0, what="submitted", number=self._owed.pop()))
            self._do(Event(at=0.0, what="resumed"))
            waiting = sum(self.store.counts()[state] for state in _TO_BE_BOUGHT)
            if not waiting:
                break
            say(f"{waiting:,} jobs are still to be bought")
            time.sleep(RESUMED_EVERY)

    # -- peace ----------------------------------------------------------------------------------------------------
    def make_peace(self, say: Say) -> float:
        """Until all jobs have ended and nothing changes any more; seconds. What has not ended by then is stuck.

        Nobody opens the gate any more: what has closed it must let go by itself.
        """
        began = time.monotonic()
        self.vendor.clear_faults()
        patience, quiet, before = _PATIENCE + _PATIENCE_PER_JOB * self.storm.jobs, began, None
        while (now := time.monotonic()) - began < patience and now - quiet < _QUIET:
            self.start_all()
            counts = self.store.counts()
            left = sum(counts[state] for state in UNFINISHED)
            if left or counts != before:
                quiet = now
            if before is not None and counts != before and left:
                say(f"{left:,} jobs to go")
            before = counts
            time.sleep(_LOOK if not left else 1.0)
        return max(0.0, quiet - began)

    # -- the books ------------------------------------------------------------------------------------------------
    def outcome(self, peace: float) -> Outcome:
        """What the ledger and the records say."""
        ids = [job.id for job in self.jobs.values()]
        records = self.store.get_many(ids)
        asked = self.vendor.ledger("createTask")
        tasks = [task_of(line, self.vendor.task(line["taskId"]), SPEED) for line in asked if line.get("taskId")]
        faults = Counter(f"{line['call']}: {line['fault']}" for line in self.vendor.ledger() if line["fault"])
        return Outcome(
            balance=balance(asked, tasks, records),
            states=dict(Counter(record.state.value for record in records)),
            reasons=dict(Counter(r.failure.reason for r in records if r.failure).most_common()),
            stuck=(*self._missing(records), *_unfinished(records), *self._out_of_place(ids)),
            did={what: times for what, times in sorted(self.did.items()) if times},
            met=dict(faults.most_common()),
            peace=peace,
        )

    def _missing(self, records: Sequence[Record]) -> Iterator[str]:
        missing = self.storm.jobs - len(records)
        if missing:
            yield f"{missing} jobs that were taken in are not on record"

    def _out_of_place(self, ids: Sequence[str]) -> Iterator[str]:
        yield from violations(
            self.redis, self.keys, jobs=ids, tenants=TENANTS, cap=max(100, self.storm.jobs), rate=_RATE
        )
        for name in (self.keys.candidates, self.keys.slots):
            if left := self.redis.zcard(name):
                yield f"{left} members are left in {name}"


def _unfinished(records: Sequence[Record]) -> Iterator[str]:
    for record in records:
        if record.state not in FINAL:
            yield f"job {record.id} is still {record.state}"
