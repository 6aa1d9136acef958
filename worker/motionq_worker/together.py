"""Many callers, one round trip: what waits while a blocking call is under way goes along with the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

AT_ONCE = 100

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Together(Generic[Item, Answer]):
    """Turns `call`, which takes many items and blocks, into a coroutine for one. One thread is busy with it at most.

    `call` answers one value per item, in their order; what it raises is raised to every caller of that round. For one
    event loop. A caller that is cancelled while it waits leaves the line.
    """

    def __init__(self, call: Callable[[Sequence[Item]], Sequence[Answer]]) -> None:
        self._call = call
        self._line: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._running: asyncio.Task[None] | None = None

    async def __call__(self, item: Item) -> Answer:
        """The answer for this item."""
        mine: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._line.append((item, mine))
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await mine

    async def _run(self) -> None:
        while self._line:
            some, self._line = self._line[:AT_ONCE], self._line[AT_ONCE:]
            await self._round([(item, future) for item, future in some if not future.done()])
        self._running = None

    async def _round(self, some: list[tuple[Item, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await asyncio.to_thread(self._call, [item for item, _ in some])
        except Exception as error:  # whoever asked knows what to make of it
            for _, future in some:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), answer in zip(some, answers, strict=True):
            if not future.done():
                future.set_result(answer)
