"""The sketch of how long the vendor takes: what it keeps, how it forgets, what it says of running jobs."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motionq.contract.durations import (
    BINS,
    EDGES,
    ENOUGH,
    MEMORY,
    Lesson,
    LookRow,
    Sketch,
    best_known,
    bin_of,
    kind_of,
    kinds_like,
    lesson_of,
    median_left,
    merge,
    parse,
    share_alive,
    survival,
)

_AGES = st.floats(min_value=0.0, max_value=100_000.0)
_COUNTS = st.dictionaries(st.integers(0, BINS - 1), st.floats(0.0, 1e6), max_size=BINS)


@st.composite
def _looks(draw: st.DrawFn) -> list[LookRow]:
    rows = draw(st.lists(st.tuples(_AGES, _AGES, st.booleans()), max_size=30))
    return [(min(a, b), max(a, b), over) for a, b, over in rows]


@st.composite
def _sketches(draw: st.DrawFn) -> Sketch:
    sketch = Sketch()
    for rows in draw(st.lists(_looks(), max_size=4)):
        sketch = sketch.learn(lesson_of(rows))
    return sketch


def taught(durations: list[float]) -> Sketch:
    """A sketch of jobs that ended, each seen once."""
    sketch = Sketch()
    for seconds in durations:
        sketch = sketch.learn(lesson_of([(0.0, seconds, True)]))
    return sketch


@given(_AGES)
def test_every_age_has_its_bin(age: float) -> None:
    """A bin lies between its edges; the first takes what is below a second, the last what is above two hours."""
    i = bin_of(age)
    assert EDGES[i] <= age * (1 + 1e-9)
    assert i == BINS - 1 or age < EDGES[i + 1] * (1 + 1e-9)


@given(_looks())
def test_looks_that_follow_one_another_count_a_job_once_in_each_bin(rows: list[LookRow]) -> None:
    """However often a job is looked at on its way, it reaches each bin once and ends in one."""
    for _, age, _ in rows:
        steps = [0.0, age / 7, age / 3, age / 2, age]
        looks = [(a, b, False) for a, b in pairwise(steps)]
        often = lesson_of([*looks[:-1], (*looks[-1][:2], True)])
        once = lesson_of([(0.0, age, True)])
        assert sum(often.ended.values()) == 1.0
        assert set(often.reached.values()) <= {1.0}
        assert often == once


@given(_sketches(), _looks())
def test_a_bin_never_weighs_more_than_its_memory(sketch: Sketch, rows: list[LookRow]) -> None:
    """After any lesson each bin holds at most MEMORY visits, and as many ends as visits at most."""
    after = sketch.learn(lesson_of(rows))
    assert max(after.reached) <= MEMORY + 1e-6
    assert all(0.0 <= k <= n + 1e-6 for n, k in zip(after.reached, after.ended, strict=True))


@given(_sketches())
def test_what_is_stored_is_small_and_comes_back(sketch: Sketch) -> None:
    """A sketch is at most 2 KB of text, and reads back to four digits."""
    text = sketch.text()
    assert len(text.encode()) <= 2048
    again = parse(text)
    assert again.text() == text
    assert again.reached == pytest.approx(sketch.reached, rel=1e-3, abs=0.01)


@pytest.mark.parametrize(
    "text",
    [None, "", "[3, 120.5]", "1:2", "a:b:c", "96:1:1", "-1:5:3", "+5:5:3", "3:1:nan", "3:1:9", "3:5:-4", "3:inf:1"],
)
def test_what_cannot_be_read_is_an_empty_sketch(text: str | None) -> None:
    """An older version's value, or a broken one, teaches nothing and breaks nothing."""
    assert parse(text) == Sketch()


@given(_sketches(), _sketches(), _sketches())
def test_the_order_of_a_merge_does_not_matter(a: Sketch, b: Sketch, c: Sketch) -> None:
    """Sketches add up: in any order, and one by one or all together."""
    together = merge([a, b, c])
    for other in (merge([c, a, b]), merge([merge([a, b]), c]), merge([a, merge([b, c])])):
        assert other.reached == pytest.approx(together.reached)
        assert other.ended == pytest.approx(together.ended)


@given(_sketches())
def test_survival_falls_from_one(sketch: Sketch) -> None:
    """The share that is older falls with age and stays within 0 to 1; nothing known is an error."""
    if not sketch.known:
        with pytest.raises(ValueError, match="knows no end"):
            survival(sketch)
        return
    alive = survival(sketch)
    assert alive[0] == 1.0
    assert len(alive) == BINS
    assert all(1.0 >= a >= b >= 0.0 for a, b in pairwise(alive))


@settings(max_examples=25)
@given(st.floats(20.0, 1500.0), st.floats(0.1, 0.6), st.integers(0, 1000))
def test_a_sketch_knows_the_distribution(median: float, sigma: float, seed: int) -> None:
    """After 300 jobs of a lognormal distribution median and spread are known: the median within a fifth of sigma."""
    dice = random.Random(seed)
    alive = survival(taught([dice.lognormvariate(math.log(median), sigma) for _ in range(300)]))
    assert share_alive(alive, median) == pytest.approx(0.5, abs=0.2)
    assert share_alive(alive, median * math.exp(2.5 * sigma)) < 0.1
    assert share_alive(alive, median * math.exp(-2.5 * sigma)) > 0.9


def test_jobs_that_still_run_are_known_to_be_slow() -> None:
    """Fifty ended after 100 s; then fifty are seen running at 200 s: half of all jobs is now expected to get there."""
    before = taught([100.0] * 50)
    after = before.learn(lesson_of([(0.0, 200.0, False)] * 50))
    assert share_alive(survival(before), 150.0) < 0.05
    assert share_alive(survival(after), 150.0) == pytest.approx(0.5, abs=0.05)
    assert after.known == before.known


def test_a_vendor_that_slows_down_is_believed_within_a_hundred_jobs() -> None:
    """After 300 jobs of 100 s, a hundred of 200 s move the median to them."""
    slow = taught([100.0] * 300 + [200.0] * 100)
    assert median_left(survival(slow), 0.0) == pytest.approx(200.0, rel=0.1)


def test_half_of_those_that_are_left() -> None:
    """The median that is left shrinks as a job grows old, and is a quarter as long again beyond everything known."""
    alive = survival(taught([100.0 + n for n in range(100)]))
    assert median_left(alive, 0.0) == pytest.approx(150.0, rel=0.05)
    assert median_left(alive, 140.0) < median_left(alive, 50.0) == pytest.approx(100.0, rel=0.1)
    assert median_left(alive, 90_000.0) == pytest.approx(90_000.0 * (2 ** (1 / 3) - 1))


def test_jobs_that_are_longer_than_the_table_have_time_left() -> None:
    """Sixty jobs of 9,000 s, where the table ends at 7,778: it is known at any age that they take about so long."""
    alive = survival(taught([9000.0] * 60))
    ends = [age + median_left(alive, age) for age in (0.0, 10.0, 1000.0, 5000.0, 7700.0)]
    assert ends == pytest.approx([9000.0] * 5, rel=0.1)
    assert median_left(alive, EDGES[BINS - 1] - 1) == pytest.approx(median_left(alive, EDGES[BINS - 1] + 1), rel=0.02)


@given(_sketches(), st.floats(0.0, 100_000.0))
def test_what_is_left_is_a_time(sketch: Sketch, age: float) -> None:
    """At any age, whatever was learned: not below nothing, and finite."""
    if sketch.known:
        assert 0.0 <= median_left(survival(sketch), age) < math.inf


def test_a_kind_without_enough_of_its_own_learns_from_all_lengths() -> None:
    """Below thirty ends a kind is told what jobs of all lengths say; from then on its own."""
    short, long = kind_of("m", "720p", 4.0), kind_of("m", "720p", 29.0)
    texts = {short: taught([60.0] * 100).text(), long: taught([300.0] * 5).text(), "m 1080p 1": "1:1:1"}
    assert best_known(short, texts).known >= ENOUGH
    assert best_known(long, texts).known == pytest.approx(best_known(short, texts).known + 5.0)
    texts[long] = taught([300.0] * 31).text()
    assert median_left(survival(best_known(long, texts)), 0.0) == pytest.approx(300.0, rel=0.1)
    assert best_known("other 720p 1", texts) == Sketch()


def test_kinds_are_few_and_name_one_another() -> None:
    """Every length of a driving video falls into one of seven kinds of its model and mode."""
    kinds = {kind_of("m", "720p", seconds) for seconds in (0.0, 3.0, 5.0, 5.1, 10.0, 11.5, 20.0, 30.0, 1e9)}
    assert kinds == {f"m 720p {n}" for n in range(7)}
    assert kinds == set(kinds_like("m 720p 3"))


@given(_COUNTS)
def test_a_lesson_may_say_anything(counts: dict[int, float]) -> None:
    """Counts of any size are kept within the memory."""
    sketch = Sketch().learn(Lesson(counts, counts))
    assert max(sketch.reached) <= MEMORY + 1e-6
