"""`motionq demo --break-things`: three jobs, while everything around them breaks; then the vendor's books are shown."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motionq import Job, MotionQueue, QueueUnavailable, Request
from motionq.batch import Line
from motionq.contract.connection import reachable
from motionq.contract.states import State
from motionq.output import Code, note, say
from motionq.precheck import check_lines
from motionq_ops.books import Balance, balance, task_of
from motionq_ops.demo import SAMPLES, forget_settings, leave_only_results, own_folder, settings_of
from motionq_ops.local import Stack, running
from motionq_ops.plan import SANDBOX_HMAC_KEY, Plan
from motionq_ops.redis_server import free_port
from motionq_ops.sandbox.records import signature_headers
from motionq_ops.stop import Stopped, stops_on_signals
from motionq_ops.supervisor import CannotStart

JOBS = 3
SPEED = 8.0  # a generation of the sample takes some 135 simulated seconds, so 17 real ones: time to break things
_PATIENCE = 80.0  # seconds for what must come, on a busy machine
_LOOK = 0.1
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_BOUGHT = {State.RUNNING: JOBS - 1, State.SUBMIT_UNKNOWN: 1}


def break_things(*, image: Path | None, video: Path | None, speed: float | None) -> int:
    """Run it; returns the exit code: 0 when all three succeeded, each bought once.

    Raises InvalidJob, InvalidSettings, CannotStart.
    """
    request = Request(
        image=image or SAMPLES / "astronaut.png", video=video or SAMPLES / "bigbuckbunny.mp4", mode="720p"
    )
    for bad in check_lines([Line(1, request)]):
        raise bad.error
    forget_settings()
    with stops_on_signals():
        try:
            return _run(request, speed or SPEED)
        except Stopped:
            note("stopped")
            return Code.INTERRUPTED


def _run(request: Request, speed: float) -> int:
    note("starting a queue server, two workers and a callback receiver, against a stand-in for kie.ai")
    with own_folder() as folder:
        plan = Plan(
            data_dir=folder,
            workers=2,
            sandbox_speed=speed,
            callback_port=free_port(),
            local_callbacks=True,
            environment=os.environ,
            folder=folder,
        )
        with running(plan, note) as stack, MotionQueue(settings=settings_of(stack)) as queue:
            jobs, books = _Show(stack, queue).play(request)
        for job in jobs:
            say(timeline(job))
        say(verdict(books))
        if not _good(jobs, books):
            note(f"this is not as it should be: the logs are in {folder / 'logs'}")
            return Code.FAILED
        leave_only_results(folder)
        return Code.DONE


def _good(jobs: Sequence[Job], books: Balance) -> bool:
    once = books.per_job == {1: JOBS} and not (books.lost or books.doubled)
    return once and all(job.state is State.SUCCEEDED for job in jobs)


# -- what is shown ----------------------------------------------------------------------------------------------------
def timeline(job: Job) -> str:
    """A job's states in one line, with the seconds since it was submitted at which each began."""
    parts: list[str] = []
    last = None
    for event in job.events:
        if event.state != last:
            seconds = max(0.0, (event.at - job.created_at).total_seconds())
            parts.append(f"{event.state} {seconds:.1f}")
        last = event.state
    return f"job {job.id}: {' > '.join(parts)} s"


def verdict(books: Balance) -> str:
    """The last line, from the vendor's ledger and the records."""
    return f"jobs {books.jobs}, purchases {books.tasks}, lost {len(books.lost)}, doubled {len(books.doubled)}"


def child(part: str) -> int | None:
    """The process ID of our child whose command line contains `part`."""
    listing = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=", "-o", "ppid=", "-o", "command="], capture_output=True, text=True, check=True
    )
    rows = (line.split(None, 2) for line in listing.stdout.splitlines())
    found = (int(row[0]) for row in rows if len(row) == 3 and row[1] == str(os.getpid()) and part in row[2])
    return next(found, None)


# -- what happens -----------------------------------------------------------------------------------------------------
@dataclass
class _Show:
    """Three jobs and four blows. Nothing waits on the clock: each blow waits for the state that it is to hit."""

    stack: Stack
    queue: MotionQueue

    def play(self, request: Request) -> tuple[list[Job], Balance]:
        """The finished jobs, and the books."""
        self._jobs = [job.id for job in self.queue.submit_many([request] * JOBS)]
        first, second, _ = self._jobs
        self._drop_answer(second)
        self._until(lambda: Counter(job.state for job in self._now()) == _BOUGHT, "the jobs are bought")
        note(
            f"dropped kie.ai's answer to the createTask of job {second}: a task was made, and nobody knows its ID; "
            "the job waits as submit_unknown, nothing is bought again, kie.ai's callback will bring the ID"
        )
        self._kill_worker(first)
        self._forge(first, second)
        self._restart_server()
        self._until(lambda: self._one(second).task_id is not None, "the callback comes")
        note(f"the callback came, and brought the task ID of job {second}: {self._one(second).task_id}")
        self._until(lambda: all(job.done for job in self._now()), "the jobs end")
        return self._now(), self._books()

    def _drop_answer(self, job_id: str) -> None:
        """Its purchase's callback address names the job: so the fault meets this job alone."""
        rule = {"call": "createTask", "fault": "drop_after", "match": {"callBackUrl": job_id}}
        self._sandbox("/sandbox/faults", rule)

    def _kill_worker(self, job_id: str) -> None:
        name = next((e.worker for e in reversed(self._one(job_id).events) if e.worker), None) or "w1"
        name = name.partition("@")[0]
        pid = child(f"{name}@")
        if pid is None:
            raise CannotStart(f"worker {name} does not run")
        note(
            f"killing worker {name} (SIGKILL), which bought job {job_id}: the record has the task ID, the other worker "
            "looks after it"
        )
        os.kill(pid, signal.SIGKILL)
        self._until(lambda: child(f"{name}@") not in (None, pid), "the worker runs again")

    def _restart_server(self) -> None:
        pid = self._server_pid()
        note("killing the queue's server (SIGKILL): every record is in its append-only file, and the alarms with them")
        os.kill(pid, signal.SIGKILL)
        self._until(lambda: self._server_pid() != pid, "the server runs again")

    def _server_pid(self) -> int:
        with reachable():
            return int(self.queue.store.redis.info("server")["process_id"])

    def _forge(self, first: str, second: str) -> None:
        """To the right address, since that is the hardest case: its nonce is known to kie.ai and to us alone."""
        task_id = str(self._one(first).task_id)
        address = next(line["callBackUrl"] for line in self._asked() if second in line["callBackUrl"])
        unsigned = self._call_back(address, task_id, {})
        signed = self._call_back(address, task_id, signature_headers(SANDBOX_HMAC_KEY, task_id, int(time.time())))
        note(
            f"forged a callback which says that the task of job {first} is that of job {second}: unsigned it gets "
            f"{unsigned}; signed {signed}, but it only says where to look: kie.ai's record names another purchase"
        )
        self._until(lambda: self._candidate_gone(second), "the forged callback is looked at")
        if self._one(second).task_id == task_id:
            raise CannotStart("a forged callback was believed")

    def _candidate_gone(self, job_id: str) -> bool:
        return not any(line.candidate for line in self.queue.store.get(job_id).purchases)

    def _call_back(self, address: str, task_id: str, headers: dict[str, str]) -> int:
        body = json.dumps({"code": 200, "msg": "success", "data": {"taskId": task_id, "state": "success"}}).encode()
        try:
            with _DIRECT.open(urllib.request.Request(address, body, headers), timeout=10.0) as answer:  # noqa: S310
                return int(answer.status)
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code

    # -- looking --------------------------------------------------------------------------------------------------
    def _until(self, condition: Callable[[], bool], what: str) -> None:
        """Waits, and looks after the stack. Raises CannotStart when it takes too long."""
        ends = time.monotonic() + _PATIENCE
        while not self._holds(condition):
            if time.monotonic() > ends:
                raise CannotStart(f"waited {_PATIENCE:g} s in vain until {what}")
            self.stack.look()
            time.sleep(_LOOK)

    def _holds(self, condition: Callable[[], bool]) -> bool:
        try:
            return condition()
        except QueueUnavailable:
            return False

    def _now(self) -> list[Job]:
        return [self._one(job_id) for job_id in self._jobs]

    def _one(self, job_id: str) -> Job:
        return self.queue.get(job_id)

    # -- the vendor -----------------------------------------------------------------------------------------------
    def _books(self) -> Balance:
        asked = self._asked()
        made = [line for line in asked if line["taskId"]]
        speed = self.stack.plan.sandbox_speed or SPEED
        tasks = [task_of(line, self._sandbox(f"/sandbox/tasks/{line['taskId']}"), speed) for line in made]
        return balance(asked, tasks, self.queue.store.get_many(self._jobs))

    def _asked(self) -> list[dict[str, Any]]:
        lines: list[dict[str, Any]] = self._sandbox("/sandbox/ledger?call=createTask")["requests"]
        return lines

    def _sandbox(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with _DIRECT.open(f"{self.stack.sandbox_url}{path}", data, timeout=10.0) as answer:
            return json.load(answer)
