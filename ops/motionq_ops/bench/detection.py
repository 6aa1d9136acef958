"""How many status reads a job takes, and how long after its end it is found: a simulation with a clock of its own.

The learned policy is the product's own code: the same functions learn, plan and choose the next look as in a worker.
"""

from __future__ import annotations

import heapq
import math
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from motionq.contract.durations import Lesson, Sketch, lesson_of
from motionq_worker.estimates import REFRESH, silent_share
from motionq_worker.optimum import best_course
from motionq_worker.schedule import LEAST, MOST, Schedule, Terms, schedule_for

COSTS = (1.5, 2.0, 2.5, 3.0, 4.0)  # seconds: what one read is worth, for the comparison at equal delay
LOST = 0.02  # share of callbacks that never come
CALLBACK_AFTER = 1.0  # seconds from a task's end to its callback; the vendor says nothing about it
LEARNED, SETTLED, OPTIMUM, CALLBACKS = "learned", "learned, settled", "optimum", "callbacks"
_LEARNING = 0.1  # share of the jobs that are not counted as settled

Point = tuple[float, float]  # reads per job, mean delay in seconds
Ages = Callable[[float], float]  # from the age at a look to the age at the next one, seconds


@dataclass(frozen=True)
class Mode:
    """A lognormal distribution of durations: median in seconds, sigma, and its share of the jobs."""

    median: float
    sigma: float
    share: float = 1.0

    def alive(self, age: float) -> float:
        """The share that is older."""
        return 1.0 - statistics.NormalDist(0.0, self.sigma).cdf(math.log(age / self.median)) if age > 0 else 1.0


@dataclass(frozen=True)
class Case:
    """A vendor. `phases` follow one another, each for an equal part of the run; each is a mixture of modes."""

    name: str
    phases: tuple[tuple[Mode, ...], ...]

    def durations(self, jobs: int, seed: int) -> list[float]:
        """Of all jobs in the order of their submission, seconds."""
        dice = random.Random(seed)
        found = []
        for n in range(jobs):
            modes = self.phase(n, jobs)
            (mode,) = dice.choices(modes, [m.share for m in modes])
            found.append(dice.lognormvariate(math.log(mode.median), mode.sigma))
        return found

    def phase(self, n: int, jobs: int) -> tuple[Mode, ...]:
        """The distribution of the n-th job's duration."""
        return self.phases[n * len(self.phases) // jobs]


CASES = (
    Case("sigma 0.15", ((Mode(150, 0.15),),)),
    Case("sigma 0.3", ((Mode(150, 0.3),),)),
    Case("sigma 0.6", ((Mode(150, 0.6),),)),
    Case("two modes", ((Mode(90, 0.15, 0.6), Mode(300, 0.15, 0.4)),)),
    Case("slower from the middle", ((Mode(150, 0.3),), (Mode(300, 0.3),))),
    Case("faster from the middle", ((Mode(300, 0.3),), (Mode(150, 0.3),))),
)


@dataclass(frozen=True, kw_only=True)
class Load:
    """So many jobs, one every `every` seconds, and all of it again with other dice; `cost` is the product's setting."""

    jobs: int
    every: float
    seed: int
    repeats: int
    cost: float


@dataclass(frozen=True)
class Found:
    """What became of one job: how often it was read, and how many seconds after its end it was found."""

    reads: int
    delay: float


def follow(durations: Sequence[float], courses: Sequence[Ages]) -> list[Found]:
    """Jobs under a policy that does not learn; `courses`: the one of each phase of the run, in equal parts."""
    return [_follow(end, courses[n * len(courses) // len(durations)]) for n, end in enumerate(durations)]


def _follow(end: float, course: Ages) -> Found:
    age, reads = course(0.0), 1
    while age < end:
        age, reads = course(age), reads + 1
    return Found(reads, age - end)


def fixed(seconds: float) -> Ages:
    """A look every so many seconds."""
    return lambda age: age + seconds


def exponential(age: float) -> float:
    """Waits of 3 s, 4.5 s, 6.75 s … 60 s, each half as long again as the one before."""
    at, wait = 3.0, 3.0
    while at <= age + 1e-9:
        wait = min(wait * 1.5, 60.0)
        at += wait
    return at


def optimum(modes: Sequence[Mode], cost: float) -> Ages:
    """The best course there is when the distribution is known: dynamic programming on a fine grid of ages."""
    ages = [0.0, *(1.008**i for i in range(1200))]
    shares = [sum(m.share * m.alive(age) for m in modes) for age in ages]
    course = best_course(ages, shares, cost)

    def after(age: float) -> float:
        best = course.after(age)
        return age + MOST if best is None else min(max(best, age + LEAST), age + MOST)

    return after


class Learner:
    """What a worker process does between looks: it learns from each, and plans anew every ten seconds."""

    def __init__(self, cost: float, *, callbacks: bool = False) -> None:
        self._cost = cost
        self._callbacks = callbacks
        self._sketch, self._calls = Sketch(), Sketch()
        self._planned = float("-inf")
        self._schedule = Schedule()

    def wait(self, now: float, age: float) -> float:
        """Seconds until the next look at a task of this age."""
        if now - self._planned >= REFRESH:
            silent = silent_share(self._calls) if self._callbacks else 1.0
            self._schedule = schedule_for(self._sketch, Terms(cost=self._cost, silent=silent))
            self._planned = now
        return self._schedule.next_look(age)

    def look(self, before: float, age: float, over: bool, *, announced: bool = False) -> None:
        """A look has found the task running at this age, or ended at it."""
        self._sketch = self._sketch.learn(lesson_of([(before, age, over)]))
        if over and self._callbacks:
            self._calls = self._calls.learn(Lesson({0: 1}, {0: int(not announced)}))


def learn(durations: Sequence[float], every: float, cost: float, seed: int, *, callbacks: bool = False) -> list[Found]:
    """All jobs under the product's policy, from the first one on, of which nothing is known."""
    learner, dice = Learner(cost, callbacks=callbacks), random.Random(-seed)
    calls = [callbacks and dice.random() >= LOST for _ in durations]
    # When, which job, its age at the look before, whether a callback asks for the look.
    events = [(n * every, n, 0.0, False) for n in range(len(durations))]
    found = [Found(0, 0.0)] * len(durations)
    while events:
        now, n, before, called = heapq.heappop(events)
        age, end, reads = now - n * every, durations[n], found[n].reads
        if age > 0:
            reads += 1
            found[n] = Found(reads, max(0.0, age - end))
            learner.look(before, min(age, end), age >= end, announced=called)
            if age >= end:
                continue
        poll, call = now + learner.wait(now, age), n * every + end + CALLBACK_AFTER if calls[n] else math.inf
        heapq.heappush(events, (min(poll, call), n, age, call <= poll))
    return found


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One policy on one case. Reads per job; seconds from a job's end to its detection."""

    case: str
    policy: str
    jobs: int
    reads: float
    mean: float
    p50: float
    p95: float


def figures(case: str, policy: str, found: Sequence[Found]) -> Figures:
    """What is reported of the jobs."""
    delays = sorted(job.delay for job in found)
    return Figures(
        case=case,
        policy=policy,
        jobs=len(found),
        reads=statistics.fmean(job.reads for job in found),
        mean=statistics.fmean(delays),
        p50=statistics.median(delays),
        p95=delays[int(0.95 * (len(delays) - 1))],
    )


def run(case: Case, load: Load) -> list[Figures]:
    """Every policy on the same durations, all repeats together."""
    tried: dict[str, list[Found]] = {}
    for seed in range(load.seed, load.seed + load.repeats):
        for policy, found in _try_all(case, load, seed).items():
            tried.setdefault(policy, []).extend(found)
    return [figures(case.name, policy, found) for policy, found in tried.items()]


def _try_all(case: Case, load: Load, seed: int) -> dict[str, list[Found]]:
    durations = case.durations(load.jobs, seed)
    learned = learn(durations, load.every, load.cost, seed)
    return {
        "fixed 5 s": follow(durations, [fixed(5.0)]),
        "fixed 15 s": follow(durations, [fixed(15.0)]),
        "exponential": follow(durations, [exponential]),
        LEARNED: learned,
        SETTLED: learned[int(_LEARNING * load.jobs) :],
        OPTIMUM: follow(durations, [optimum(modes, load.cost) for modes in case.phases]),
        CALLBACKS: learn(durations, load.every, load.cost, seed, callbacks=True),
    }


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A case at several costs of a read: (reads per job, mean delay) of what is learned, settled, and the optimum."""

    case: str
    learned: tuple[Point, ...]
    settled: tuple[Point, ...]
    optimum: tuple[Point, ...]


def sweep(case: Case, load: Load, costs: Sequence[float] = COSTS) -> Sweep:
    """The curves on which policies can be compared at equal delay."""
    points = [_points(case, load, cost) for cost in costs]
    learned, settled, best = zip(*points, strict=True)
    return Sweep(case=case.name, learned=learned, settled=settled, optimum=best)


def _points(case: Case, load: Load, cost: float) -> tuple[Point, Point, Point]:
    learned, settled, best = list[Found](), list[Found](), list[Found]()
    for seed in range(load.seed, load.seed + load.repeats):
        durations = case.durations(load.jobs, seed)
        found = learn(durations, load.every, cost, seed)
        learned += found
        settled += found[int(_LEARNING * load.jobs) :]
        best += follow(durations, [optimum(modes, cost) for modes in case.phases])
    return _point(learned), _point(settled), _point(best)


def _point(found: Sequence[Found]) -> Point:
    said = figures("", "", found)
    return said.reads, said.mean


def reads_at(curve: Sequence[Point], delay: float) -> float:
    """Reads per job at a mean delay, between the two measured points around it (else the nearest two prolonged)."""
    points = sorted(curve, key=lambda point: point[1])
    pairs = list(pairwise(points))
    (reads, low), (others, high) = next((pair for pair in pairs if delay <= pair[1][1]), pairs[-1])
    return reads + (others - reads) * (delay - low) / (high - low)
