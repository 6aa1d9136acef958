"""The local stack: queue server, sandbox, callback receiver, workers and Flower as children of one process."""

from __future__ import annotations

import json
import shutil
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from celery.utils.nodenames import gethostname
from redis import Redis
from redis.exceptions import RedisError

from motionq.contract.connection import client_of
from motionq.contract.errors import InvalidSettings
from motionq.contract.keys import Keys
from motionq.contract.store import JobStore
from motionq_ops import amnesia, stack_file
from motionq_ops.plan import LOOPBACK, Plan, flower_command, receiver_command, sandbox_command, worker_command
from motionq_ops.processes import Child
from motionq_ops.queue_server import QueueServer
from motionq_ops.redis_server import ServerBinaryMissing, ServerError
from motionq_ops.supervisor import CannotStart, Supervisor
from motionq_worker import flower_config
from motionq_worker.gate import close_for_restart

_LOOK = 0.1  # seconds between two looks at the children
_PATIENCE = 120.0  # seconds until a stack must be ready
_GIVE_UP = 3  # deaths of one child before the stack was ready
# Seconds that each group has to end by itself, and for one question to the server: together under the promised 10 s.
_WORKERS_END, _OTHERS_END, _SERVER_END, _QUESTION = 5.5, 1.5, 1.0, 1.5
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))

Say = Callable[[str], None]


class Stack:
    """One stack. Start and look from the main thread (see leash.py)."""

    def __init__(self, plan: Plan, say: Say) -> None:
        self.plan = plan
        self.redis_url = plan.redis_url or ""
        self.sandbox_url: str | None = None
        self._supervisor = Supervisor(say)
        self._server: QueueServer | None = None
        self._sandbox: Child | None = None
        self._flower: Child | None = None
        self._receiver: Child | None = None
        self._workers: list[Child] = []
        self._redis: Redis | None = None
        self._since = 0

    @property
    def flower_url(self) -> str | None:
        """Where Flower's pages are."""
        if not self.plan.flower_port:
            return None
        path = flower_config.prefix(self.plan.environment, self.plan.folder or Path())
        return f"http://{LOOPBACK}:{self.plan.flower_port}{path}"

    # -- start ----------------------------------------------------------------------------------------------------
    def start(self) -> None:
        """Start everything; the children come up side by side. Raises ServerError, CannotStart, QueueUnavailable."""
        self._prepare_folders()
        self._start_server()
        self._redis = client_of(self.redis_url, socket_timeout=_QUESTION)
        self._since = self._store().now()
        if self.plan.sandbox_speed is not None:
            amnesia.mark(self._store())
            amnesia.forget(self._store())
            self._sandbox = self._start(Child(sandbox_command(self.plan, port=0)))
        if self.plan.flower_port:
            self._flower = self._start(Child(flower_command(self.plan, self.redis_url)))
        if self.plan.callback_port:
            self._receiver = self._start(Child(receiver_command(self.plan, self.redis_url)))
        if self._sandbox:
            self._find_sandbox(self._sandbox)
        for number in range(1, self.plan.workers + 1):
            command = worker_command(self.plan, f"w{number}", self.redis_url, self.sandbox_url)
            self._workers.append(self._start(Child(command)))
        stack_file.write(self.plan.data_dir, self.addresses())

    def _prepare_folders(self) -> None:
        shutil.rmtree(self.plan.temporary, ignore_errors=True)
        for folder in (self.plan.temporary, self.plan.log("").parent, self.plan.data_dir / "flower"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.plan.ready_file.unlink(missing_ok=True)

    def _start_server(self) -> None:
        if self.plan.redis_url:
            return
        self._server = QueueServer(self.plan.server_folder, self.plan.log("redis"), self.plan.server_binary)
        self._server.start()
        self.redis_url = self._server.url
        self._supervisor.watch(self._server)

    def _start(self, child: Child) -> Child:
        child.start()
        self._supervisor.watch(child)
        return child

    def _find_sandbox(self, sandbox: Child) -> None:
        """Wait until it listens; from now on it starts at this port, which the workers know."""
        self._until(self.plan.ready_file.exists)
        where = json.loads(self.plan.ready_file.read_text(encoding="utf-8"))
        self.sandbox_url = str(where["url"])
        sandbox.command = sandbox_command(self.plan, port=int(where["port"]))

    def addresses(self) -> dict[str, Any]:
        """What other commands need to know."""
        return {
            "redis_url": self.redis_url,
            "namespace": self.plan.namespace,
            "staging_url": self.plan.staging_url,
            "results_url": self.plan.results_url,
            "sandbox_url": self.sandbox_url,
            "flower_url": self.flower_url,
            "callback_url": self.plan.callback_url,
        }

    # -- run ------------------------------------------------------------------------------------------------------
    def wait_until_ready(self) -> None:
        """Return when everything answers. Raises CannotStart."""
        self._until(self.ready)

    def _until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not condition():
            self.look()
            self._supervisor.give_up_after(_GIVE_UP)
            if time.monotonic() > deadline:
                raise CannotStart(f"the stack was not ready after {_PATIENCE:g} s; the logs are in {self._logs()}")
            time.sleep(_LOOK)

    def ready(self) -> bool:
        """Whether the server, every worker, Flower and the callback receiver answer."""
        pages = ((self.flower_url, "/healthcheck"), (self.plan.callback_url, "/healthz"))
        return self._workers_live() and all(answers(f"{url}{path}") for url, path in pages if url)

    def _workers_live(self) -> bool:
        """Whether each of our workers has given a sign of life since the start."""
        ours = {f"{worker.name}@{gethostname()}" for worker in self._workers}
        with suppress(RedisError):
            if self._redis is not None and self._redis.ping():
                workers = self._redis.zrangebyscore(Keys(self.plan.namespace).workers, self._since, "+inf")
                return ours <= set(workers)
        return False

    def look(self) -> None:
        """Look after the children once; what has ended starts again after a pause."""
        self._supervisor.look()

    def hold(self) -> NoReturn:
        """Look after the children until a signal comes (it raises `Stopped`)."""
        while True:
            self.look()
            time.sleep(_LOOK)

    # -- stop -----------------------------------------------------------------------------------------------------
    def stop(self) -> None:
        """End everything in order, within 10 s: workers, then Flower, sandbox and receiver, the queue's server."""
        stack_file.remove(self.plan.data_dir)
        _end(self._workers, _WORKERS_END)
        self._put_armed_back()
        _end([child for child in (self._flower, self._sandbox, self._receiver) if child], _OTHERS_END)
        if self._redis:
            self._redis.close()
        if self._server:
            self._server.stop(_SERVER_END)

    def _put_armed_back(self) -> None:
        """Before our server stops: what is armed was not sent, but would count as possibly sent under the next one.

        After the workers have ended, since a living one would arm the same jobs again.
        """
        if self._server and self._server.ended() is None and self._redis:
            with suppress(RedisError):
                close_for_restart(self._store())

    def _store(self) -> JobStore:
        if self._redis is None:
            raise CannotStart("the queue's server does not run")
        return JobStore(self._redis, Keys(self.plan.namespace))

    def _logs(self) -> str:
        return str(self.plan.log("").parent)


@contextmanager
def running(plan: Plan, say: Say) -> Iterator[Stack]:
    """A stack that is ready, and ends with the block.

    Raises AlreadyRunning, InvalidSettings, CannotStart, QueueUnavailable; call inside `stops_on_signals`.
    """
    with stack_file.sole_owner(plan.data_dir):
        stack = Stack(plan, say)
        try:
            stack.start()
            stack.wait_until_ready()
            yield stack
        except ServerBinaryMissing as error:
            raise InvalidSettings(str(error)) from error
        except ServerError as error:
            raise CannotStart(str(error)) from error
        finally:
            stack.stop()


def _end(children: list[Child], seconds: float) -> None:
    """Ask all to end, wait `seconds` for all of them together, then kill those that are left."""
    deadline = time.monotonic() + seconds
    for child in children:
        child.terminate()
    for child in children:
        child.wait(deadline - time.monotonic())
        child.kill()


def answers(url: str) -> bool:
    """Whether a web address answers 200 within a second."""
    with suppress(OSError), _DIRECT.open(url, timeout=1.0) as answer:
        return int(answer.status) == 200
    return False
