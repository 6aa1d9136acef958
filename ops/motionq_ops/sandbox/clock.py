"""Simulated time: it starts with the sandbox, runs ``speed`` times faster than the wall clock, and can jump."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from datetime import UTC, datetime


class Clock:
    """Simulated seconds since the start. Only durations are simulated; dates are those of the wall clock."""

    def __init__(self, speed: float = 1.0, wall: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._speed = speed
        self._base_wall = wall()
        self._base = 0.0

    def now(self) -> float:
        """Return the simulated seconds since the start."""
        return self._base + (self._wall() - self._base_wall) * self._speed

    def advance(self, seconds: float) -> None:
        """Jump forward."""
        self._base += seconds

    def set_speed(self, speed: float) -> None:
        """Run at another speed from now on; the time that has passed stays as it is."""
        self._base, self._base_wall, self._speed = self.now(), self._wall(), speed

    def wall_seconds_until(self, moment: float) -> float:
        """Return how long the wall clock runs until that simulated moment (0 if it has passed)."""
        return max(0.0, (moment - self.now()) / self._speed)


class Agenda:
    """What happens at which simulated moment: one heap, one sleeping coroutine, whatever the number of tasks."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._number = itertools.count()
        self._changed = asyncio.Event()

    def at(self, moment: float, action: Callable[[], None]) -> None:
        """Call ``action`` at that simulated moment."""
        heapq.heappush(self._heap, (moment, next(self._number), action))
        if self._heap[0][0] == moment:
            self._changed.set()

    def poke(self) -> None:
        """Look at the clock again (it jumped, or its speed changed)."""
        self._changed.set()

    def clear(self) -> None:
        """Forget everything that was to happen."""
        self._heap.clear()
        self._changed.set()

    async def run(self) -> None:
        """Fire what is due, for ever."""
        while True:
            self._changed.clear()
            self._fire_due()
            await self._sleep()

    def _fire_due(self) -> None:
        while self._heap and self._heap[0][0] <= self._clock.now():
            heapq.heappop(self._heap)[2]()

    async def _sleep(self) -> None:
        pause = self._clock.wall_seconds_until(self._heap[0][0]) if self._heap else None
        try:
            await asyncio.wait_for(self._changed.wait(), pause)
        except TimeoutError:
            return


def wall_ms() -> int:
    """Return the wall clock as the vendor writes createTime: Unix milliseconds."""
    return time.time_ns() // 1_000_000


def iso_ms(ms: int | None = None) -> str:
    """Return a moment as the vendor writes uploadedAt: ISO-8601 with milliseconds and Z."""
    moment = datetime.fromtimestamp((wall_ms() if ms is None else ms) / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
