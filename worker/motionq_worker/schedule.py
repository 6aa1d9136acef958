"""When to look at something next: pure functions of ages in seconds. docs/schedule.md explains them to people."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

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
_DEARER = range(11)  # doublings of a look's price, one after another, until safety looks are few
_DEAREST, _HALVINGS = 24.0, 7  # doublings at most where the budget is short, and how closely they are chosen
_GONE = 1e-4  # share of tasks that is not reckoned with any more
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
    """When to look at tasks of one kind. `trust`: the weight of what was learned against the fixed schedule, 0 to 1."""

    course: Course | None = None
    trust: float = 0.0
    fixed_stretch: float = 1.0

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
        wait = goal - age
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
    trust = math.sqrt(min(1.0, sketch.known / ENOUGH))
    return _affordable(alive, terms, Schedule(None, trust, fixed_stretch), budget)


def expected(schedule: Schedule, alive: Callable[[float], float], oldest: float = _AGES[-1]) -> tuple[float, float]:
    """Looks per job, and seconds until the last of them. `alive` says which share of jobs is older than an age.

    Each wait ends in one look, its own or a callback's. What gets as old as `oldest` counts as ended there.
    """
    age, there, looks, waited = 0.0, 1.0, 0.0, 0.0
    while there > _GONE and age < oldest:
        wait = schedule.next_look(age)
        looks, waited = looks + there, waited + there * wait
        age += wait
        there = alive(age)
    return looks, waited


def demand(schedule: Schedule, alive: Sequence[float], terms: Terms) -> float:
    """Looks per second at all tasks together; `alive` is a `survival`.

    A task is waited for until it is found, which is later than its end: what is looked at seldom is looked at long.
    Only a callback finds it at its end.
    """
    looks, waited = expected(schedule, lambda age: share_alive(alive, age))
    announced = 0.0 if terms.silent == 1.0 else (1.0 - terms.silent) * _mean([share_alive(alive, at) for at in _AGES])
    return terms.running * looks / max(1.0, terms.silent * waited + announced)


def _affordable(alive: Sequence[float], terms: Terms, draft: Schedule, budget: float) -> Schedule:
    """The draft with the best course at the lowest price of a look at which all tasks together keep to the budget.

    A dearer look makes all waits longer, those least where they matter most. The best course jumps from one price to
    the next; what lies in between is chosen too, so that no part of the budget is left.
    """
    shares = [share_alive(alive, age) for age in _AGES]

    def at(doublings: float) -> Course:
        return best_course(_AGES, shares, terms.cost * 2.0**doublings, terms.silent)

    def fits(course: Course) -> bool:
        return demand(replace(draft, course=course), alive, terms) <= budget

    low, often = _safe(at, terms)
    if fits(often):
        return replace(draft, course=often)
    high, seldom = _DEAREST, at(_DEAREST)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        course = at(middle)
        low, often, high, seldom = (low, often, middle, course) if fits(course) else (middle, course, high, seldom)
    for _ in range(_HALVINGS):
        course = _midway(often, seldom)
        often, seldom = (often, course) if fits(course) else (course, seldom)
    return replace(draft, course=seldom)


def _midway(one: Course, other: Course) -> Course:
    after = tuple((a + b) / 2 for a, b in zip(one.next_ages, other.next_ages, strict=True))
    return Course(one.ages, after, (one.looks + other.looks) / 2)


def _safe(at: Callable[[float], Course], terms: Terms) -> tuple[float, Course]:
    """The price, in doublings, and the course of an ample budget: where callbacks come, looks without one are few."""
    few = math.inf if terms.silent == 1.0 else _SAFETY + _UNSAFE * terms.silent
    for doublings in _DEARER:
        course = at(doublings)
        if course.looks <= few:
            break
    return float(doublings), course


def _mean(shares: Sequence[float]) -> float:
    pairs = zip(_AGES, _AGES[1:], shares, shares[1:], strict=False)
    return sum((b - a) * (x + y) / 2 for a, b, x, y in pairs)
