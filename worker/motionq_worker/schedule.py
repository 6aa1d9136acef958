"""When to look at something next: pure functions of ages in seconds. docs/schedule.md explains them to people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from motionq.contract.durations import BINS, EDGES, ENOUGH, Sketch, share_alive, survival
from motionq_worker.optimum import Course, best_course

_FIRST, _SHORTEST, _LONGEST = 4.0, 3.0, 900.0  # seconds
_SHARE = 0.12  # of its age: beyond six minutes the wait grows in proportion
_VAGUE = 5.0  # seconds: twice the usual cost of a look

LEAST, MOST = 1.0, _LONGEST  # seconds between two looks at one task, whatever is known
_ALONE = 0.5  # share of its age for which a task is left alone at most, once it was looked at: vendors stand still too
_PARTS = 5  # into which each bin of the sketch is cut
_AGES = (0.0, *(EDGES[i] + (EDGES[i + 1] - EDGES[i]) * k / _PARTS for i in range(1, BINS - 1) for k in range(_PARTS)))
_BUDGET = 0.8  # of the read rate: the rest is for callbacks, and for what chance heaps up
_DEARER = tuple(2.0**k for k in range(11))  # prices of a look, one after another, until the budget suffices
_FIXED_READS = 0.08  # a second for each task, of the fixed schedule
_SAFETY = 0.15  # looks per job that no callback asks for, where all callbacks come
_UNSAFE = 5.0  # how many more there may be, times the share of callbacks that do not come


def next_look(age: float) -> float:
    """Seconds until a running task that is `age` seconds old is looked at again: thinning out to 15 minutes.

    The fixed schedule, for as long as nothing is known: if the chance to end within a second is 1 / age, as it is where
    every order of magnitude is as likely as the other, the best wait is the root of 2 x cost x age.
    """
    if age < _FIRST:
        return _FIRST - age
    return min(max(_SHORTEST, math.sqrt(_VAGUE * age), age * _SHARE), _LONGEST)


def retry_in(tries: int) -> float:
    """Seconds until a free step is tried again after `tries` failures: 2 s, doubling, up to 5 minutes."""
    return min(2.0 * 2.0 ** min(max(0, tries), 10), 300.0)


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a schedule has to reckon with.

    `cost`: seconds of delay that one look is worth (MOTIONQ_READ_COST). `silent`: share of ends that no callback
    announces, above 0; 1 without callbacks. `running`: tasks that are waited for. `reads`: looks per second that are
    allowed (MOTIONQ_READ_RATE).
    """

    cost: float
    silent: float = 1.0
    running: int = 0
    reads: float = math.inf


@dataclass(frozen=True)
class Schedule:
    """When to look at tasks of one kind. `trust` (0 to 1) is the weight of what was learned against the fixed schedule.

    `stretch` is by how much every wait is prolonged, since the budget of looks suffices for no more.
    """

    course: Course | None = None
    trust: float = 0.0
    fixed_stretch: float = 1.0
    stretch: float = 1.0

    def next_look(self, age: float) -> float:
        """Seconds from a look at this age to the next one: between LEAST and MOST."""
        fixed = next_look(age) * self.fixed_stretch
        learned = self._learned(age)
        wait = fixed if learned is None else fixed ** (1.0 - self.trust) * learned**self.trust
        return min(max(LEAST, wait), MOST)

    def _learned(self, age: float) -> float | None:
        goal = self.course.after(age) if self.course else None
        if goal is None:
            return None
        wait = (goal - age) * self.stretch
        patience = max(_ALONE * age, next_look(age)) * self.fixed_stretch
        return max(LEAST, wait if age < LEAST else min(wait, patience))


def schedule_for(sketch: Sketch, terms: Terms) -> Schedule:
    """The best schedule for tasks whose durations are known from a sketch; the fixed one while it knows nothing."""
    sparse = 1.0 / math.sqrt(terms.silent)  # the best wait grows with the root of the price; see docs/schedule.md
    budget = _BUDGET * terms.reads
    fixed_stretch = max(sparse, terms.running * _FIXED_READS / budget)
    if sketch.known < 1.0:
        return Schedule(fixed_stretch=fixed_stretch)
    alive = survival(sketch)
    shares = [share_alive(alive, age) for age in _AGES]
    course, needed = _affordable(shares, terms, budget)
    trust = math.sqrt(min(1.0, sketch.known / ENOUGH))
    return Schedule(course, trust, fixed_stretch, max(1.0, needed / budget))


def _affordable(shares: Sequence[float], terms: Terms, budget: float) -> tuple[Course, float]:
    """The best course at the lowest price of a look at which all tasks together keep to the budget; its looks a second.

    A dearer look makes all waits longer, those least where they matter most. Where callbacks come the price rises too,
    until looks without one are few.
    """
    per_look = terms.running / _mean(shares)
    few = math.inf if terms.silent == 1.0 else _SAFETY + _UNSAFE * terms.silent
    for dearer in _DEARER:
        course = best_course(_AGES, shares, terms.cost * dearer, terms.silent)
        needed = per_look * (course.looks + 1.0 - terms.silent)
        if needed <= budget and course.looks <= few:
            break
    return course, needed


def _mean(shares: Sequence[float]) -> float:
    pairs = zip(_AGES, _AGES[1:], shares, shares[1:], strict=False)
    return max(1.0, sum((b - a) * (x + y) / 2 for a, b, x, y in pairs))
