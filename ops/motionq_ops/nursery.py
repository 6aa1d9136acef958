"""Starts workers fast, by forking them from a process that has imported their libraries already.

A worker started this way is `python -m celery -A motionq_worker.app worker` all the same; only the imports are done
(measured: 1.7 s of processor time become 0.4 s). Run as a program this is that process; it reads one JSON request a
line from stdin, and ends, with all its children, when stdin does.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

# Not motionq_worker.app and .callback: they read the settings when they are imported.
LIBRARIES = (
    "celery.bin.celery",
    "celery.bin.worker",
    "celery.apps.worker",
    "celery.concurrency.thread",
    "celery.worker.autoscale",
    "celery.app.events",
    "celery.app.control",
    "celery.app.log",
    "celery.events.state",
    "celery.worker.control",
    "celery.worker.worker",
    "kombu.transport.redis",
    "motionq_worker.consumer",
    "motionq_worker.flower_config",
    "motionq_worker.observability",
    "motionq_worker.receiver",
    "motionq_worker.tasks",
    "motionq_ops.bench.disk",
    "uvicorn.__main__",
    "uvicorn.protocols.http.auto",
    "uvicorn.loops.auto",
    "uvicorn.lifespan.on",
)


@dataclass(frozen=True)
class Child:
    """A process that the nursery started."""

    nursery: Nursery
    pid: int

    def kill(self) -> None:
        """SIGKILL; the process is gone when this returns. May be repeated."""
        self.nursery.ask({"kill": self.pid})

    def terminate(self) -> None:
        """SIGTERM, if it runs."""
        if self.code() is None:
            os.kill(self.pid, signal.SIGTERM)  # its ID can't be another's yet: only `code` and `kill` wait for it

    def code(self) -> int | None:
        """Its exit code (below 0: the signal that ended it), or None while it runs."""
        code = self.nursery.ask({"poll": self.pid})["code"]
        return None if code is None else int(code)


class Nursery:
    """Use in a `with`. Safe to use from several threads; every child is killed at the end."""

    def __init__(self, *, libraries: Sequence[str] = ()) -> None:
        """`libraries`: modules to import beside those of a worker."""
        self._libraries = libraries
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "motionq_ops.nursery", *self._libraries],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        process, self._process = self._process, None
        if process and process.stdin and process.stdout:
            process.stdin.close()
            process.wait()
            process.stdout.close()

    def start(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        *,
        disk: Mapping[str, str] | None = None,
        errors: Path | None = None,
        stdin: Path | None = None,
        folder: Path | None = None,
    ) -> Child:
        """`python -m ARGUMENTS` with this environment, in this folder or ours.

        `log` takes what it says, `errors` what it says on stderr if that is to be apart; `disk` is what `disk.watch`
        gets in the child.
        """
        order = {
            "arguments": [*arguments],
            "environment": {**environment},
            "streams": [str(stdin or os.devnull), str(log), str(errors or log)],
            "folder": str(folder or Path.cwd()),
            "disk": disk,
        }
        return Child(self, int(self.ask({"start": order})["pid"]))

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request, one answer. Raises RuntimeError when the nursery is gone."""
        with self._lock:
            process = self._process
            if process is None or process.stdin is None or process.stdout is None:
                raise RuntimeError("the nursery does not run")
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            answer: dict[str, Any] = json.loads(process.stdout.readline() or '{"error": 1}')
        if "error" in answer:
            raise RuntimeError("the nursery ended")
        return answer


# -- the process itself ------------------------------------------------------------------------------------------------


def _serve(requests: IO[str], answers: IO[str]) -> None:
    ended: dict[int, int | None] = {}
    for line in requests:
        answers.write(json.dumps(_answer(json.loads(line), ended)) + "\n")
        answers.flush()
    for pid in ended:
        _kill(pid, ended)


def _answer(request: dict[str, Any], ended: dict[int, int | None]) -> dict[str, Any]:
    if "start" in request:
        pid = _fork(request["start"])
        ended[pid] = None
        return {"pid": pid}
    if "kill" in request:
        return {"code": _kill(request["kill"], ended)}
    return {"code": _reap(request["poll"], ended, os.WNOHANG)}


def _kill(pid: int, ended: dict[int, int | None]) -> int | None:
    if ended[pid] is None:
        os.kill(pid, signal.SIGKILL)  # its ID can't be another's yet: it has not been waited for
        _reap(pid, ended, 0)
    return ended[pid]


def _reap(pid: int, ended: dict[int, int | None], options: int) -> int | None:
    if ended[pid] is None and (done := os.waitpid(pid, options))[0]:
        ended[pid] = os.waitstatus_to_exitcode(done[1])
    return ended[pid]


def _fork(order: dict[str, Any]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            _become(order)
        finally:
            os._exit(1)
    return pid


def _become(order: dict[str, Any]) -> None:
    """In the child: everything that another start would have given it, then its program."""
    os.setsid()
    os.closerange(3, 64)  # the nursery's pipes, which must end with it
    _redirect(*order["streams"])
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    if order["disk"]:
        importlib.import_module("motionq_ops.bench.disk").watch(**order["disk"])
    module, *rest = order["arguments"]
    sys.argv = [module, *rest]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _redirect(stdin: str, stdout: str, stderr: str) -> None:
    append = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    for target, path, flags in ((0, stdin, os.O_RDONLY), (1, stdout, append), (2, stderr, append)):
        handle = os.open(path, flags, 0o600)
        os.dup2(handle, target)
        os.close(handle)


if __name__ == "__main__":
    for name in (*LIBRARIES, *sys.argv[1:]):
        importlib.import_module(name)
    gc.freeze()  # what is there stays shared: no child's garbage collection writes to it
    # The pipes get numbers of their own, since a child's stdin and stdout are others.
    _serve(os.fdopen(os.dup(0), encoding="utf-8"), os.fdopen(os.dup(1), "w", encoding="utf-8"))
