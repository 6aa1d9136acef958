"""The helper beside a worker: it has imported the decoders' libraries, and forks one decoder per file.

It is `python -m motionq_worker.decoders`, with its control channel, a socket, as stdin. A byte there brings another
socket, in which one JSON request lies: what `decoding.main` takes. The decoder answers in that socket; when it has
ended, the helper adds one line, `{"code": N}` as `os.waitstatus_to_exitcode` says it, or `{"errno": N}` if none could
be forked. A socket that its owner closes before that has its decoder killed. When the control channel ends, since the
worker has, the helper kills all decoders and ends. It decodes nothing and has no thread, so each fork is a clean one.
"""

from __future__ import annotations

import errno
import gc
import importlib
import json
import os
import resource
import selectors
import signal
import socket
import sys
from contextlib import suppress
from typing import NoReturn

from motionq_worker import decoding

# Else each decoder would import them: some 60 ms of processor time.
_LIBRARIES = (
    "av",
    "av.subtitles.stream",
    "PIL.Image",
    "PIL.JpegImagePlugin",
    "PIL.PngImagePlugin",
    "PIL.WebPImagePlugin",
)
_LONGEST = 64 * 1024  # bytes of a request; a path has 4096 at most
_MOST_FILES = 1024  # open ones: every number below is closed in a decoder


class Decoders:
    """The decoders that run, each with the socket of who waits for it."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._woken, waker = socket.socketpair()
        waker.setblocking(False)
        self._waker = waker
        self._running: dict[socket.socket, int] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ, self._take)
        self._selector.register(self._woken, selectors.EVENT_READ, self._reap)

    def serve(self) -> None:
        """Until the control channel ends."""
        signal.set_wakeup_fd(self._waker.fileno())  # a child's end makes `select` return
        signal.signal(signal.SIGCHLD, lambda *_: None)
        with suppress(EOFError):
            while True:
                for key, _ in self._selector.select():
                    key.data()

    def kill_all(self) -> None:
        """No decoder outlives the helper."""
        for pid in self._running.values():
            os.kill(pid, signal.SIGKILL)
        for pid in self._running.values():
            os.waitpid(pid, 0)

    def _take(self) -> None:
        """The next request; raises EOFError when the worker is gone."""
        asked, handles, _, _ = socket.recv_fds(self._control, 1, 1)
        if not asked:
            raise EOFError
        self._control.send(b"!")  # the worker keeps its copy until then: macOS may lose one that is on its way
        for handle in handles:
            self._start(socket.socket(fileno=handle))

    def _start(self, answer: socket.socket) -> None:
        request = answer.recv(_LONGEST)
        try:
            pid = os.fork()
        except OSError as error:
            _say(answer, {"errno": error.errno or errno.EAGAIN})
            return
        if pid == 0:
            _decode(request, answer)
        self._running[answer] = pid
        self._selector.register(answer, selectors.EVENT_READ, lambda: self._kill(answer))

    def _kill(self, answer: socket.socket) -> None:
        """Nobody waits any more."""
        if answer in self._running:  # else it was reaped a moment ago, and its ID may be another's
            self._selector.unregister(answer)
            os.kill(self._running[answer], signal.SIGKILL)

    def _reap(self) -> None:
        self._woken.recv(4096)
        for answer, pid in list(self._running.items()):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                del self._running[answer]
                with suppress(KeyError):
                    self._selector.unregister(answer)
                _say(answer, {"code": os.waitstatus_to_exitcode(status)})


def _say(answer: socket.socket, words: dict[str, int]) -> None:
    """The last line in a request's socket. Never waits: who does not read has gone."""
    with answer, suppress(OSError):
        answer.send(f"\n{json.dumps(words)}\n".encode(), socket.MSG_DONTWAIT)
        answer.shutdown(socket.SHUT_WR)  # whoever else may have a copy of it


def _decode(request: bytes, answer: socket.socket) -> NoReturn:
    """In the child: nothing of the helper's is open, and the socket is stdout."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        os.dup2(answer.fileno(), sys.stdout.fileno())
        os.closerange(3, _MOST_FILES)
        decoding.main(*json.loads(request))
        code = 0
    finally:
        os._exit(code)


def _prepare() -> None:
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if not 0 <= soft <= _MOST_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (_MOST_FILES, most))
    for ours in (signal.SIGINT, signal.SIGTERM):  # a worker that is told to stop still ends what it has begun
        signal.signal(ours, signal.SIG_IGN)
    if sys.platform != "darwin":  # its frameworks do not survive a fork: there each decoder imports them
        for name in _LIBRARIES:
            importlib.import_module(name)
        importlib.import_module("PIL.Image").preinit()
    gc.freeze()  # what is there stays shared: no decoder's garbage collection writes to it


def _control() -> socket.socket:
    """The control channel under another number: stdin is nothing, for the decoders."""
    control = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return control


def main() -> None:
    """Serve one worker."""
    decoders = Decoders(_control())
    _prepare()
    try:
        decoders.serve()
    finally:
        decoders.kill_all()


if __name__ == "__main__":
    main()
