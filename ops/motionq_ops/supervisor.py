"""Keeps the parts of the stack running: what dies is started again, with growing pauses."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from motionq.contract.errors import MotionQueueError
from motionq_ops.processes import Service, last_words

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds
HEALTHY_AFTER = 60.0  # seconds; who lived so long starts again with the first pause


class CannotStart(MotionQueueError):
    """A part of the stack ends again and again before the stack was ready; the message is one sentence."""


def next_pause(previous: float, lived: float) -> float:
    """Seconds until a service is started again that lived `lived` seconds after a pause of `previous`.

    0.5 s, doubling to 30 s; back to 0.5 s for one that had lived a minute.
    """
    if previous == 0 or lived >= HEALTHY_AFTER:
        return FIRST_PAUSE
    return min(previous * 2, LONGEST_PAUSE)


def how_it_ended(code: int) -> str:
    """An exit code in words."""
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"


@dataclass
class _Watched:
    service: Service
    started: float
    pause: float = 0.0
    due: float | None = None  # when it is started again; None while it runs
    deaths: int = 0


class Supervisor:
    """Watches services and starts again what has ended; `say` receives one line for each such event."""

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._watched: list[_Watched] = []

    def watch(self, service: Service) -> None:
        """Keep an eye on a service that was just started."""
        self._watched.append(_Watched(service, self._clock()))

    def look(self) -> None:
        """Look at each service once. Call it a few times per second, from the main thread."""
        for one in self._watched:
            if one.due is None:
                self._look_at(one)
            elif self._clock() >= one.due:
                self._start(one)

    def give_up_after(self, deaths: int) -> None:
        """Raises CannotStart if a service has ended that often."""
        for one in self._watched:
            if one.deaths >= deaths:
                raise CannotStart(_complaint(one.service))

    def _look_at(self, one: _Watched) -> None:
        code = one.service.ended()
        if code is None:
            return
        self._rest(one, self._clock() - one.started)
        self._say(f"{one.service.name} ended ({how_it_ended(code)}); it starts again in {one.pause:g} s")

    def _start(self, one: _Watched) -> None:
        try:
            one.service.start()
        except (OSError, RuntimeError) as error:
            self._rest(one, 0.0)
            self._say(f"{one.service.name} does not start ({error}); next try in {one.pause:g} s")
            return
        one.started, one.due = self._clock(), None
        self._say(f"{one.service.name} runs again")

    def _rest(self, one: _Watched, lived: float) -> None:
        one.deaths += 1
        one.pause = next_pause(one.pause, lived)
        one.due = self._clock() + one.pause


def _complaint(service: Service) -> str:
    return f"{service.name} does not start: {last_words(service.log)} (its log: {service.log})"
