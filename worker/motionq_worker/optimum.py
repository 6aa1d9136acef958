"""When to look at a task whose end nobody announces: the checking problem of Barlow, Hunter and Proschan, exactly.

A look costs `cost` seconds of delay. A task that ends at t and is found at the next look x costs x - t more. Ends have
the distribution F; F(t) and M(t), the integral of s dF(s) up to t, are known on a grid of ages. A share `silent` of
ends is announced by nobody (1 without callbacks). The best expected cost from a look at age i on, times the chance to
get there:

    V(i) = min over j > i of   cost * (alive(j) + silent * (F(j) - F(i)))                     the look itself
                             + silent * (t(j) * (F(j) - F(i)) - (M(j) - M(i)))  +  V(j)      the delay it finds

In F(i) each j is a straight line, and its slope -silent * (cost + t(j)) falls with j: a lower envelope gives all minima
in one pass, so that five hundred ages take about a millisecond, without any approximation beyond the grid.

R. E. Barlow, L. C. Hunter, F. Proschan: Optimum Checking Procedures, J. SIAM 11 (1963) 1078-1095.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

Line = tuple[float, float, int]  # slope, height at 0, name


@dataclass(frozen=True)
class Course:
    """For each age of a grid the age of the best next look. `looks` is how many looks a job is expected to take."""

    ages: tuple[float, ...]
    next_ages: tuple[float, ...]
    looks: float

    def after(self, age: float) -> float | None:
        """The age of the best look after this one; None beyond the grid."""
        i = bisect_right(self.ages, age) - 1
        return self.next_ages[i] if 0 <= i < len(self.next_ages) else None


def best_course(ages: Sequence[float], alive: Sequence[float], cost: float, silent: float = 1.0) -> Course:
    """The course of least expected cost. `ages` rise from 0; `alive[i]` is the share of jobs older than `ages[i]`.

    What is alive at the last age counts as ending there. `silent` is above 0 and at most 1.
    """
    done = [1.0 - share for share in alive]
    mass = _first_moments(ages, alive)
    last = len(ages) - 1
    value, best = [0.0] * (last + 1), [last] * last
    lines = _Envelope()
    for i in range(last - 1, -1, -1):
        j = i + 1
        height = cost * (alive[j] + silent * done[j]) + silent * (ages[j] * done[j] - mass[j]) + value[j]
        lines.add((-silent * (cost + ages[j]), height, j))
        lowest, best[i] = lines.lowest(done[i])
        value[i] = lowest + silent * mass[i]
    looks = _expected_looks(alive, best, silent)
    return Course(tuple(ages), tuple(ages[j] for j in best), looks)


def _first_moments(ages: Sequence[float], alive: Sequence[float]) -> list[float]:
    """M: ends are taken to be spread evenly between two ages."""
    moments = [0.0]
    for i in range(1, len(ages)):
        moments.append(moments[-1] + (alive[i - 1] - alive[i]) * (ages[i - 1] + ages[i]) / 2)
    return moments


def _expected_looks(alive: Sequence[float], best: Sequence[int], silent: float) -> float:
    """Looks per job that follow no callback."""
    i, looks = 0, 0.0
    while i < len(best) and alive[i] > 0:
        j = best[i]
        looks += alive[j] + silent * (alive[i] - alive[j])
        i = j
    return looks


class _Envelope:
    """The lower envelope of lines whose slopes rise as they are added, asked at places that fall."""

    def __init__(self) -> None:
        self._lines: deque[Line] = deque()

    def add(self, line: Line) -> None:
        lines = self._lines
        while len(lines) > 1 and not _needed(lines[-2], lines[-1], line):
            lines.pop()
        lines.append(line)

    def lowest(self, x: float) -> tuple[float, int]:
        """The least height at x, and which line has it. Lines that are lowest further right only are dropped."""
        lines = self._lines
        while len(lines) > 1 and _height(lines[1], x) <= _height(lines[0], x):
            lines.popleft()
        return _height(lines[0], x), lines[0][2]


def _height(line: Line, x: float) -> float:
    return line[0] * x + line[1]


def _needed(a: Line, b: Line, c: Line) -> bool:
    """Whether b is lowest anywhere between the two others; slopes rise from a to c."""
    return (b[1] - c[1]) * (b[0] - a[0]) < (a[1] - b[1]) * (c[0] - b[0])
