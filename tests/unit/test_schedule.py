"""When a running task is looked at next: never too often, never too late, and as good as the best that is known."""

from __future__ import annotations

import itertools
import math
import random
import statistics
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motionq.contract.durations import Sketch, lesson_of, survival
from motionq_ops.bench import detection
from motionq_ops.bench.detection import Case, Mode, fixed, follow
from motionq_worker.estimates import silent_share
from motionq_worker.optimum import Course, best_course
from motionq_worker.schedule import LEAST, MOST, Schedule, Terms, demand, next_look, retry_in, schedule_for

_DAY = 86_400.0
_DURATIONS = st.lists(st.floats(0.5, 20_000.0), max_size=60)


@st.composite
def _schedules(draw: st.DrawFn) -> Schedule:
    """Schedules of any vendor: what ended, what was seen running, on any terms."""
    sketch = Sketch()
    for seconds, over in zip(draw(_DURATIONS), itertools.cycle([True, True, draw(st.booleans())])):
        sketch = sketch.learn(lesson_of([(0.0, seconds, over)]))
    callbacks = draw(st.booleans())
    return schedule_for(
        sketch,
        Terms(
            cost=draw(st.floats(0.1, 60.0)),
            silent=draw(st.floats(0.01, 0.99)) if callbacks else 1.0,
            running=draw(st.integers(0, 1_000_000)),
            reads=draw(st.floats(0.1, 1000.0)),
        ),
    )


def lognormal(jobs: int, median: float, sigma: float, seed: int) -> list[float]:
    """Durations in seconds."""
    dice = random.Random(seed)
    return [dice.lognormvariate(math.log(median), sigma) for _ in range(jobs)]


def taught(durations: Sequence[float]) -> Sketch:
    """What a sketch knows when these have ended."""
    sketch = Sketch()
    for seconds in durations:
        sketch = sketch.learn(lesson_of([(0.0, seconds, True)]))
    return sketch


def price(durations: Sequence[float], course: Callable[[float], float], cost: float) -> float:
    """Seconds of delay per job, reads counted at their cost."""
    found = follow(durations, [course])
    return statistics.fmean(job.reads * cost + job.delay for job in found)


# -- the fixed schedule --------------------------------------------------------------------------------------------
@given(st.floats(0.0, 2 * _DAY))
def test_the_fixed_wait_is_bounded_and_grows(age: float) -> None:
    """While nothing is known the wait is 1 s to 15 minutes, and longer for older tasks."""
    assert 0.0 < next_look(age) <= 900.0
    assert age < 4.0 or next_look(age) <= next_look(age * 1.5)


def test_nothing_known_is_the_fixed_schedule() -> None:
    """An empty sketch leaves the fixed schedule as it is: the first look after 4 s."""
    schedule = schedule_for(Sketch(), Terms(cost=2.5))
    assert [schedule.next_look(age) for age in (0.0, 4.0, 150.0, 7200.0)] == [
        next_look(age) for age in (0.0, 4.0, 150.0, 7200.0)
    ]
    assert next_look(0.0) == 4.0


def test_retries_double_up_to_five_minutes() -> None:
    """A free step is tried again after 2, 4, 8 … 300 seconds."""
    assert [retry_in(n) for n in (0, 1, 2, 3, 20)] == [2.0, 4.0, 8.0, 16.0, 300.0]


# -- any schedule --------------------------------------------------------------------------------------------------
@settings(max_examples=60, deadline=None)
@given(_schedules(), st.lists(st.floats(0.0, 2 * _DAY), min_size=1, max_size=20))
def test_every_wait_lies_between_a_second_and_fifteen_minutes(schedule: Schedule, ages: list[float]) -> None:
    """Whatever was learned, whatever the terms, at whatever age."""
    assert all(LEAST <= schedule.next_look(age) <= MOST for age in ages)
    assert (LEAST, MOST) == (1.0, 900.0)


@settings(max_examples=30, deadline=None)
@given(_schedules())
def test_looks_follow_one_another_to_the_end_of_patience(schedule: Schedule) -> None:
    """The ages at which a job is looked at rise, and reach 24 hours without a flood of looks on the way."""
    age, looks = 0.0, 0
    while age < _DAY:
        after = age + schedule.next_look(age)
        assert after > age
        age, looks = after, looks + 1
    assert looks < 3000


@settings(max_examples=30, deadline=None)
@given(_DURATIONS, st.floats(1.0, 50_000.0))
def test_a_task_that_outlives_everything_known_is_neither_flooded_nor_forgotten(
    known: list[float], patience: float
) -> None:
    """From the oldest known age on, while it grows tenfold, a task is looked at 8 to 120 times."""
    schedule = schedule_for(taught([*known, 100.0]), Terms(cost=2.5))
    age = oldest = max([100.0, *known])
    looks = 0
    while age < 10 * oldest:
        age, looks = age + schedule.next_look(age), looks + 1
    assert 8 <= looks <= 120 + 10 * oldest / MOST


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 10), st.integers(0, 100))
def test_far_more_jobs_than_reads_make_all_waits_long(factor: int, seed: int) -> None:
    """With more tasks than the read rate allows for, the looks of all of them together keep to it."""
    durations = lognormal(200, 150.0, 0.3, seed)
    terms = Terms(cost=2.5, running=20_000 * factor, reads=50.0)
    schedule = schedule_for(taught(durations), terms)
    mean = statistics.fmean(durations)
    # Tasks that last for ever are the most that can be asked of it, so count looks up to the mean age.
    age, looks = 0.0, 0
    while age < mean:
        age, looks = age + schedule.next_look(age), looks + 1
    assert looks <= max(1, math.ceil(50.0 * mean / terms.running))


@pytest.mark.parametrize(
    ("running", "delay"), [(1500, 12.0), (2000, 14.0), (3000, 22.0), (5000, 36.0), (7000, 60.0), (10_000, 110.0)]
)
def test_a_scarce_budget_is_used_and_never_exceeded(running: int, delay: float) -> None:
    """Four fifths of 50 reads a second: with 1,500 to 10,000 running at least 85 % of them are used, and not one more.

    A task runs until it is found, so that late looks are fewer per second too. One by one, 2,000 jobs use as much.
    """
    durations = lognormal(2000, 150.0, 0.3, seed=1)
    sketch, terms = taught(durations), Terms(cost=2.5, running=running, reads=50.0)
    schedule = schedule_for(sketch, terms)
    assert 0.85 * 40.0 <= demand(schedule, survival(sketch), terms) <= 40.0
    looks, late = _as_used(schedule, durations)
    assert 0.85 * 40.0 <= running * looks / (statistics.fmean(durations) + late) <= 1.02 * 40.0
    assert late <= delay


def _as_used(schedule: Schedule, durations: Sequence[float]) -> tuple[float, float]:
    """Looks per job, and its mean delay in seconds."""
    found = follow(durations, [lambda age: age + schedule.next_look(age)])
    return statistics.fmean(job.reads for job in found), statistics.fmean(job.delay for job in found)


def test_an_ample_budget_changes_nothing() -> None:
    """With a thousand running the schedule is the one of an idle queue: there is no step before the budget is short."""
    sketch = taught(lognormal(500, 150.0, 0.3, seed=1))
    few, many = (schedule_for(sketch, Terms(cost=2.5, running=n, reads=50.0)) for n in (1, 1000))
    assert few.course == many.course


def test_more_jobs_never_have_shorter_waits() -> None:
    """From 1,000 to 100,000 running the first look at a task comes later and later, up to 15 minutes."""
    sketch = taught(lognormal(500, 150.0, 0.3, seed=1))
    crowds = [int(1000 * 1.5**n) for n in range(12)]
    firsts = [schedule_for(sketch, Terms(cost=2.5, running=n, reads=50.0)).next_look(0.0) for n in crowds]
    assert firsts == sorted(firsts)
    assert (firsts[0] < 120.0, firsts[-1]) == (True, MOST)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 20_000), st.integers(0, 100))
def test_what_a_schedule_demands_is_what_its_looks_add_up_to(running: int, seed: int) -> None:
    """Reckoned from the survival, looks per second are those of jobs one by one, within a tenth."""
    durations = lognormal(300, 150.0, 0.3, seed)
    sketch, terms = taught(durations), Terms(cost=2.5, running=running, reads=50.0)
    schedule = schedule_for(sketch, terms)
    looks, late = _as_used(schedule, durations)
    expected = running * looks / (statistics.fmean(durations) + late)
    assert demand(schedule, survival(sketch), terms) == pytest.approx(expected, rel=0.1)


def test_a_callback_is_a_look_too() -> None:
    """Where nine in ten are announced, each job's callback counts, and it is waited for until then only."""
    terms = Terms(cost=2.5, silent=0.1, running=1000, reads=50.0)
    alive = survival(taught([100.0] * 300))
    schedule = Schedule(Course((0.0, 200.0), (200.0,), 0.1), 1.0)
    # Each job has one look, after 200 s or after its end, 100 s as its bin knows it.
    expected = 1000 / (0.1 * 200.0 + 0.9 * 100.0)
    assert demand(schedule, alive, terms) == pytest.approx(expected, rel=0.05)


# -- the optimum ---------------------------------------------------------------------------------------------------
@settings(max_examples=20, deadline=None)
@given(st.floats(60.0, 600.0), st.floats(0.1, 0.6), st.floats(1.0, 10.0), st.integers(0, 1000))
def test_what_is_learned_beats_every_fixed_interval(median: float, sigma: float, cost: float, seed: int) -> None:
    """On the durations that were learned, the schedule costs less than the best of twenty fixed intervals."""
    durations = lognormal(100, median, sigma, seed)
    schedule = schedule_for(taught(durations), Terms(cost=cost))
    learned = price(durations, lambda age: age + schedule.next_look(age), cost)
    intervals = [median * 0.01 * 1.26**n for n in range(20)]
    assert learned <= min(price(durations, fixed(max(1.0, seconds)), cost) for seconds in intervals)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.01, 1.0), min_size=2, max_size=9), st.floats(0.05, 5.0), st.sampled_from([1.0, 0.3, 0.02]))
def test_the_course_is_the_best_of_all(falls: list[float], cost: float, silent: float) -> None:
    """Against every set of ages there is on a small grid: no other costs less."""
    ages = [float(n) for n in range(len(falls) + 1)]
    alive = [1.0 - share / sum(falls) for share in itertools.accumulate([0.0, *falls])]
    best = best_course(ages, alive, cost, silent)
    last, inner = len(ages) - 1, range(1, len(ages) - 1)
    sets = (chosen for n in range(len(falls)) for chosen in itertools.combinations(inner, n))
    least = min(_expected(ages, alive, [*chosen, last], cost, silent) for chosen in sets)
    assert _expected(ages, alive, _walk(best.next_ages, ages), cost, silent) == pytest.approx(least)


def _walk(after: Sequence[float], ages: Sequence[float]) -> list[int]:
    found = [0]
    while found[-1] < len(after):
        found.append(ages.index(after[found[-1]]))
    return found[1:]


def _expected(ages: Sequence[float], alive: Sequence[float], looks: Sequence[int], cost: float, silent: float) -> float:
    """Straight from the definition: for each step between two ages, who ends there and when it is found."""
    total, i = 0.0, 0
    for j in looks:
        total += cost * (alive[j] + silent * (alive[i] - alive[j]))
        for n in range(i, j):
            total += silent * (alive[n] - alive[n + 1]) * (ages[j] - (ages[n] + ages[n + 1]) / 2)
        i = j
    return total


# -- a whole life, on a clock of its own ---------------------------------------------------------------------------
@pytest.mark.parametrize("sigma", [0.15, 0.3, 0.6])
def test_the_learned_schedule_comes_close_to_the_optimum(sigma: float) -> None:
    """600 jobs from the first one on cost a fifth more than if the distribution had been known, at most.

    A fixed interval with the same delay needs more reads.
    """
    mode, durations = Mode(150.0, sigma), lognormal(600, 150.0, sigma, seed=4)
    learned = detection.figures("", "", detection.learn(durations, 10.0, 2.5, seed=4))
    interval = detection.figures("", "", follow(durations, [fixed(2 * learned.mean)]))
    assert 2.5 * learned.reads + learned.mean <= 1.2 * price(durations, detection.optimum([mode], 2.5), 2.5)
    assert learned.reads < interval.reads


@pytest.mark.parametrize(("before", "after"), [(150.0, 300.0), (300.0, 100.0)])
def test_a_vendor_that_changes_its_speed_is_followed(before: float, after: float) -> None:
    """In the 200 jobs after the change reads do not explode and nothing waits for minutes; then all is well again."""
    phases = Case("", ((Mode(before, 0.3),), (Mode(after, 0.3),)))
    found = detection.learn(phases.durations(800, seed=7), 10.0, 2.5, seed=7)
    shift, settled = detection.figures("", "", found[400:600]), detection.figures("", "", found[600:])
    assert shift.reads <= 14
    assert shift.p95 <= 0.6 * before
    assert settled.reads <= 8
    assert settled.mean <= 16.0


def test_callbacks_need_one_look_and_a_few_for_safety() -> None:
    """One callback in fifty is lost: at most 1.3 reads per job, and those without one are found all the same."""
    found = detection.learn(lognormal(1000, 150.0, 0.3, seed=2), 10.0, 2.5, seed=2, callbacks=True)
    said = detection.figures("", "", found)
    assert said.reads <= 1.3
    assert said.p95 == pytest.approx(detection.CALLBACK_AFTER)
    assert max(job.delay for job in found) <= 300.0


def test_callbacks_that_never_come_are_not_relied_upon() -> None:
    """An account whose callbacks do not arrive is polled as if it had none."""
    durations = lognormal(600, 150.0, 0.3, seed=5)
    calls = Sketch()
    for _ in durations:
        calls = calls.learn(detection.Lesson({0: 1}, {0: 1}))
    terms = Terms(cost=2.5, silent=silent_share(calls))
    schedule, polled = (schedule_for(taught(durations), t) for t in (terms, Terms(cost=2.5)))
    lost = follow(durations, [lambda age: age + schedule.next_look(age)])
    usual = follow(durations, [lambda age: age + polled.next_look(age)])
    assert terms.silent > 0.95
    assert statistics.fmean(job.delay for job in lost) <= 1.2 * statistics.fmean(job.delay for job in usual)


def test_the_share_of_silent_ends_is_never_nothing() -> None:
    """Before anything was seen a tenth is expected to be lost, and never less than one in a hundred."""
    assert silent_share(Sketch()) == 0.1
    assert silent_share(Sketch().learn(detection.Lesson({0: 1000}, {0: 0}))) == 0.01
