"""The search: every order of events, breadth first, so that what goes wrong is shown by a shortest trace."""

from __future__ import annotations

import gc
import time
from collections import deque
from dataclasses import dataclass

from model.model import Model, Steps
from model.outside import HAPPENS, PEOPLE
from model.safety import broken_promise, broken_step
from model.steps import BEGINS, GOES_ON
from model.world import World, finished

STUCK = "no fair way to an end"


@dataclass(frozen=True)
class Found:
    """What a search found. `complete`: every world was seen, or something is wrong."""

    states: int
    complete: bool
    wrong: str | None = None
    trace: tuple[str, ...] = ()

    def steps(self) -> list[str]:
        """The trace to what is wrong, numbered."""
        return [f"    {n}. {what}" for n, what in enumerate(self.trace, 1)]


def following(m: Model, w: World) -> Steps:
    """Everything that can happen now."""
    for part in _BEGINS:
        yield from part(m, w)
    for e in dict.fromkeys(w.executions):
        yield from _GOES_ON[e.step, e.stage](m, w, e)


_BEGINS = (*BEGINS, *HAPPENS)
_GOES_ON = {**GOES_ON, **PEOPLE}


class Search:
    """The worlds seen so far: each with its number, how it was reached first, and from where it is reached fairly."""

    def __init__(self, m: Model) -> None:
        self._model = m
        start = m.tidy(m.start())
        self._numbers = {start: 0}
        self._reached: list[tuple[int, str]] = [(-1, "start")]
        self._fair: list[list[int]] = [[]]
        self._finished: list[int] = []
        self._queue = deque([start])

    def run(self, seconds: float) -> Found:
        """Looks at every world, and then whether each has a fair way to an end."""
        ends = time.monotonic() + seconds
        while self._queue:
            if time.monotonic() > ends:
                return Found(len(self._numbers), complete=False)
            if found := self._look_at(self._queue.popleft()):
                return found
        stuck = self._stuck()
        wrong, trace = (None, ()) if stuck is None else (STUCK, self._trace(stuck))
        return Found(len(self._numbers), complete=True, wrong=wrong, trace=trace)

    def _look_at(self, w: World) -> Found | None:
        number = self._numbers[w]
        if finished(w):
            self._finished.append(number)
        for what, untidy, fair in following(self._model, w):
            after = self._model.tidy(untidy)
            if wrong := broken_step(w, what, after):
                return Found(len(self._numbers), complete=True, wrong=wrong, trace=(*self._trace(number), what))
            known = self._numbers.get(after)
            if known is None:
                known = self._add(after, number, what)
                if wrong := broken_promise(self._model, after):
                    return Found(len(self._numbers), complete=True, wrong=wrong, trace=self._trace(known))
            if fair:
                self._fair[known].append(number)
        return None

    def _add(self, w: World, before: int, what: str) -> int:
        number = self._numbers[w] = len(self._reached)
        self._reached.append((before, what))
        self._fair.append([])
        self._queue.append(w)
        return number

    def _trace(self, number: int) -> tuple[str, ...]:
        steps = []
        while number:
            number, what = self._reached[number]
            steps.append(what)
        return tuple(reversed(steps))

    def _stuck(self) -> int | None:
        """Walks the fair steps backwards from the ends; the first world that is not met has no way to an end."""
        met, todo = set(self._finished), list(self._finished)
        while todo:
            for before in self._fair[todo.pop()]:
                if before not in met:
                    met.add(before)
                    todo.append(before)
        return next((number for number in range(len(self._reached)) if number not in met), None)


def search(m: Model, seconds: float = 600.0) -> Found:
    """Searches one model; `seconds` of patience."""
    gc.disable()  # millions of small tuples, and no cycles
    try:
        return Search(m).run(seconds)
    finally:
        gc.enable()
