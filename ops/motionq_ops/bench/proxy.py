"""TCP proxies that stand between one worker and its Redis and its vendor, and can end the worker at any boundary.

`before`: the command has left the worker whole, and never reaches the server. `after`: the server's answer has come
back whole, and never reaches the worker. Between the two the worker is dead: it is killed while the proxies pass
nothing on.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from motionq_ops.bench.boundaries import CommandNames, name_of_request
from motionq_ops.bench.wire import read_answer, read_command, read_reply, read_request

_LARGEST = 64 * 1024 * 1024  # bytes of a message's part
_GONE = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)
T = TypeVar("T")
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Trap:
    """Counts the boundaries of one worker; at one of them it kills the worker, and nothing passes any more.

    `boundary`: `NAME#N`, the N-th of this name; None counts only. `moment`: before | after. `kill` returns when the
    worker is dead. `redis` says whether a boundary lies there (or at the vendor).
    """

    def __init__(self, kill: Callable[[], None], boundary: str | None = None, moment: str = "before") -> None:
        self._kill = kill
        self._at = (boundary, moment)
        self._begun: Counter[str] = Counter()
        self.passed: list[str] = []
        self.sprung = threading.Event()

    def begins(self, name: str | None) -> str | None:
        """A command of this name is about to be passed on; returns its number, or None if it does not count."""
        if name is None:
            return None
        self._begun[name] += 1
        here = f"{name}#{self._begun[name]}"
        self._look(here, "before")
        return here

    def ended(self, here: str | None) -> None:
        """The server's answer to it has come."""
        if here is None or self.sprung.is_set():
            return
        self.passed.append(here)
        self._look(here, "after")

    def _look(self, here: str, moment: str) -> None:
        if (here, moment) == self._at and not self.sprung.is_set():
            self.sprung.set()
            self._kill()


class Proxies:
    """The event loop, in a thread, in which all proxies of a benchmark live. Use in a `with`."""

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def redis(self, socket_path: str, trap: Trap, names: CommandNames) -> str:
        """A proxy before the server behind this unix socket; returns its address. A sprung trap ends it for good."""
        serve = _RedisLine(socket_path, trap, names).serve
        return f"redis://127.0.0.1:{self._listen(serve)}/0"

    def vendor(self, url: str, trap: Trap) -> str:
        """A proxy before the vendor; returns its address. Once the trap has sprung it passes everything on."""
        return f"http://127.0.0.1:{self._listen(_VendorLine(url, trap).serve)}"

    def switch(self, ports: Callable[[], int], *, stalls: Callable[[], bool] = lambda: False) -> int:
        """A proxy that takes each new connection to the port which `ports` names at that moment; returns its port.

        While `stalls` says so, what the server sends is held back.
        """
        return self._listen(_Switch(ports, stalls).serve)

    def cut(self) -> None:
        """Ends all connections of all proxies; they go on listening."""
        self._run(self._end_connections())

    def _listen(self, serve: Serve) -> int:
        return self._run(self._start(serve))

    async def _start(self, serve: Serve) -> int:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            try:
                with contextlib.suppress(*_GONE, asyncio.CancelledError):
                    await serve(reader, writer)
            finally:
                self._tasks.discard(task)
                writer.transport.abort()

        server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=_LARGEST)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        await self._end_connections()
        await asyncio.sleep(0)  # transports close one turn later

    async def _end_connections(self) -> None:
        ending = list(self._tasks)
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)


async def _both(*ways: Coroutine[Any, Any, None]) -> None:
    """Two directions of one connection: when one ends, so does the other."""
    tasks = [asyncio.ensure_future(way) for way in ways]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _copy(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stalls: Callable[[], bool] = lambda: False
) -> None:
    while data := await reader.read(65536):
        while stalls():
            await asyncio.sleep(0.01)
        writer.write(data)
        await writer.drain()


class _Switch:
    """Bytes to and from whichever port is the right one when a connection is made."""

    def __init__(self, ports: Callable[[], int], stalls: Callable[[], bool]) -> None:
        self._ports = ports
        self._stalls = stalls

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        there, back = await asyncio.open_connection("127.0.0.1", self._ports())
        try:
            await _both(_copy(reader, back), _copy(there, writer, self._stalls))
        finally:
            back.transport.abort()


class _RedisLine:
    """Passes a worker's commands on, and the server's replies back."""

    def __init__(self, socket_path: str, trap: Trap, names: CommandNames) -> None:
        self._path = socket_path
        self._trap = trap
        self._names = names

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        there, back = await asyncio.open_unix_connection(self._path, limit=_LARGEST)
        asked: deque[tuple[str | None, bool]] = deque()  # per command: its boundary, and whether it may take a message
        try:
            await _both(self._commands(reader, back, asked), self._replies(there, writer, asked))
        finally:
            back.transport.abort()

    async def _commands(
        self, reader: asyncio.StreamReader, back: asyncio.StreamWriter, asked: deque[tuple[str | None, bool]]
    ) -> None:
        queued: list[list[bytes]] | None = None
        while not self._trap.sprung.is_set():
            raw, words = await read_command(reader)
            verb = words[0].upper()
            if verb == b"MULTI":
                queued, name = [], None
            elif verb == b"EXEC":
                name, queued = self._names.of_transaction(queued or []), None
            elif queued is not None:
                queued.append(words)
                name = None
            else:
                name = self._names.of(words)
            here = self._trap.begins(name) if not self._trap.sprung.is_set() else None
            if self._trap.sprung.is_set():
                return
            # Subscriptions are answered many times, or not at all: whatever comes back is passed on as it is.
            if not verb.endswith(b"SUBSCRIBE"):
                asked.append((here, verb == b"BRPOP"))
            back.write(raw)
            await back.drain()

    async def _replies(
        self, there: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: deque[tuple[str | None, bool]]
    ) -> None:
        while True:
            raw, value = await read_reply(there)
            if self._trap.sprung.is_set():
                return
            if asked:
                here, takes = asked.popleft()
                if takes and (name := self._names.of_taken(value)):
                    here = self._trap.begins(name)
                self._trap.ended(here)
            if self._trap.sprung.is_set():
                return
            writer.write(raw)
            await writer.drain()


class _VendorLine:
    """Passes HTTP requests on, each whole, and the answers back, each whole."""

    def __init__(self, url: str, trap: Trap) -> None:
        self._host, self._port = urlsplit(url).hostname, urlsplit(url).port
        self._trap = trap

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: of a worker that may be killed, or (once that is dead) of the one that goes on."""
        free = self._trap.sprung.is_set()
        there, back = await asyncio.open_connection(self._host, self._port, limit=_LARGEST)
        try:
            while await self._exchange(reader, writer, there, back, free):
                pass
        finally:
            back.transport.abort()

    async def _exchange(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        there: asyncio.StreamReader,
        back: asyncio.StreamWriter,
        free: bool,
    ) -> bool:
        request = await read_request(reader)
        here = None
        if not free:
            if self._trap.sprung.is_set():
                return False
            here = self._trap.begins(name_of_request(*request.start[:2]))
            if self._trap.sprung.is_set():
                return False
        back.write(request.raw)
        answer = await read_answer(there, request.start[0])
        if not free:
            self._trap.ended(here)
            if self._trap.sprung.is_set():
                return False
        writer.write(answer.raw)
        await writer.drain()
        return not (request.last or answer.last)
