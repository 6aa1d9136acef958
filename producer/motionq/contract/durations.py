"""How long the vendor takes: a small sketch per kind of job, and the distribution that follows from it.

A sketch is a life table. Ages are cut into bins, each a tenth wider than the one before; per bin it counts how many
jobs were seen to reach it and how many ended in it. A job that still runs counts wherever it has been, so that slowness
is known before the first slow job ends. The share of a bin that ended is its *hazard*; hazards make the distribution.

Forgetting is part of each bin: it keeps the weight of its last `MEMORY` visits. So the sketch follows a vendor whose
speed changes, and a bin that is visited seldom keeps what it knows. Text in Redis: `bin:reached:ended`, with blanks
between the bins.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from operator import mul

BINS = 96  # bin 0 ends at 1 s, each other one is 10 % wide, the last one begins at 2.1 hours and has no end
GROWTH = 1.1
MEMORY = 100.0  # visits of a bin: the weight of older ones is forgotten
ENOUGH = 30.0  # ended jobs from which on a sketch stands alone
KINDS = 256  # sketches kept at most; there are two modes and seven lengths per model
_LEAST = 0.005  # a smaller count is nothing
_LOG = math.log(GROWTH)
_BIN = {str(i): i for i in range(BINS)}  # as they are written
_LENGTHS = (5.0, 7.5, 11.0, 16.0, 23.0)  # seconds of driving video that part the kinds

# What is thought of a bin that nobody has visited: jobs that outlive the known ones end like a log-logistic
# distribution around the median, which weighs as much as so many visits. So do jobs that outlive the table.
_DOUBT = 1.0
_TAIL = 3.0  # its exponent: of jobs twice as old as everything known, seven in eight end before they are four times

Edges = tuple[float, ...]
EDGES: Edges = (0.0, *(GROWTH**i for i in range(BINS)))  # bin i lies between EDGES[i] and EDGES[i + 1] seconds
Counts = Mapping[int, float]
LookRow = tuple[float, float, bool]  # the age at the look before, the age now or at the end, whether the job had ended

CALLBACKS = "callbacks"  # a field beside the kinds, whose bin 0 counts ends, and of them those no callback announced


def bin_of(seconds: float) -> int:
    """The bin of an age: 0 below one second, the last one from 2.1 hours on."""
    return min(int(math.log(seconds) / _LOG + 1e-9) + 1, BINS - 1) if seconds >= 1.0 else 0


def kind_of(model: str, mode: str, video_seconds: float) -> str:
    """The field of `durations` that jobs like this one share: `model mode length`; length 0 is an unknown one."""
    length = sum(video_seconds > limit for limit in _LENGTHS) + 1 if video_seconds > 0 else 0
    return f"{model} {mode} {length}"


def kinds_like(kind: str) -> list[str]:
    """All kinds of the same model and mode, whatever the length of the driving video."""
    stem = kind.rpartition(" ")[0]
    return [f"{stem} {i}" for i in range(len(_LENGTHS) + 2)]


@dataclass(frozen=True)
class Sketch:
    """Per bin: how many jobs reached it, and how many of them ended in it."""

    reached: tuple[float, ...] = (0.0,) * BINS
    ended: tuple[float, ...] = (0.0,) * BINS

    @property
    def known(self) -> float:
        """How many jobs' ends it knows, as far as they are not forgotten."""
        return sum(self.ended)

    def learn(self, lesson: Lesson) -> Sketch:
        """The sketch after a lesson. `learn.lua` does the same on the server."""
        ended = [a + lesson.ended.get(i, 0.0) for i, a in enumerate(self.ended)]
        # What ended somewhere was there, though the look that saw it come may have been forgotten.
        reached = [max(a + lesson.reached.get(i, 0.0), ended[i]) for i, a in enumerate(self.reached)]
        keep = [min(1.0, MEMORY / n) if n else 1.0 for n in reached]
        return Sketch(
            tuple(n * k for n, k in zip(reached, keep, strict=True)),
            tuple(n * k for n, k in zip(ended, keep, strict=True)),
        )

    def text(self) -> str:
        """As it is stored: at most 96 times 20 bytes."""
        rows = zip(range(BINS), self.reached, self.ended, strict=True)
        return " ".join(f"{i}:{n:.4g}:{k:.4g}" for i, n, k in rows if n >= _LEAST)


@dataclass(frozen=True)
class Lesson:
    """What some looks taught about one kind of job: counts per bin."""

    reached: Counts
    ended: Counts


def lesson_of(looks: Iterable[LookRow]) -> Lesson:
    """The lesson of looks at jobs of one kind.

    Successive looks at a job tile its age, so that it is counted once in each bin that it passes.
    """
    reached: dict[int, float] = {}
    ended: dict[int, float] = {}
    for before, age, over in looks:
        first, last = bin_of(before) + 1, bin_of(age)
        if over:
            last = max(last, bin_of(before), 1)  # it still ran at the look before, whatever the clocks say
            ended[last] = ended.get(last, 0.0) + 1.0
        for i in range(first, last + 1):
            reached[i] = reached.get(i, 0.0) + 1.0
    return Lesson(reached, ended)


@lru_cache(maxsize=KINDS)  # thousands of jobs of one kind are shown at once
def parse(text: str | None) -> Sketch:
    """A stored sketch; what can't be read is an empty one (an older version's, a broken one)."""
    reached, ended = [0.0] * BINS, [0.0] * BINS
    try:
        for row in (text or "").split():
            i, n, k = row.split(":")
            reached[_BIN[i]], ended[_BIN[i]] = float(n), float(k)
    except (ValueError, KeyError):
        return Sketch()
    sound = all(0.0 <= k <= n + _LEAST and math.isfinite(n) for n, k in zip(reached, ended, strict=True))
    return Sketch(tuple(reached), tuple(ended)) if sound else Sketch()


def merge(sketches: Iterable[Sketch]) -> Sketch:
    """All of them as one: counts add up."""
    found = list(sketches)
    if not found:
        return Sketch()
    return Sketch(
        tuple(map(math.fsum, zip(*(s.reached for s in found), strict=True))),
        tuple(map(math.fsum, zip(*(s.ended for s in found), strict=True))),
    )


def best_known(kind: str, texts: Mapping[str, str]) -> Sketch:
    """What is known of a kind of job from the stored sketches: its own, or, while that is little, of all lengths."""
    own = parse(texts.get(kind))
    return own if own.known >= ENOUGH else merge(parse(texts[other]) for other in kinds_like(kind) if other in texts)


@lru_cache(maxsize=KINDS)
def survival(sketch: Sketch) -> tuple[float, ...]:
    """The share of jobs that are older than each of `EDGES[:-1]`; a robust guess where nothing is known.

    Raises ValueError for a sketch that knows no end.
    """
    median = _median(_shares(sketch, [k / n if n else 0.0 for n, k in _rows(sketch)]))
    median = min(median, EDGES[1 + max(i for i, n in enumerate(sketch.reached) if n)])
    doubts = _doubts(median)
    return _shares(sketch, [(k + _DOUBT * h) / (n + _DOUBT) for (n, k), h in zip(_rows(sketch), doubts, strict=True)])


def median_left(alive: Sequence[float], age: float) -> float:
    """Seconds in which half of the jobs of this age will have ended; `alive` is a `survival`."""
    goal = share_alive(alive, age) / 2
    for i in range(min(bin_of(age), BINS - 2), BINS - 1):
        if alive[i + 1] <= goal:
            return max(0.0, _between(alive, i, goal) - age)
    oldest = max(age, EDGES[BINS - 1])
    return oldest * math.pow(alive[-1] / goal, 1.0 / _TAIL) - age  # beyond the table: by the distribution's tail


def share_alive(alive: Sequence[float], age: float) -> float:
    """The survival at any age, between the edges as if ends were spread evenly there."""
    i = bin_of(age)
    if i >= BINS - 1:
        return alive[-1]
    return alive[i] + (alive[i + 1] - alive[i]) * (age - EDGES[i]) / (EDGES[i + 1] - EDGES[i])


def _rows(sketch: Sketch) -> Iterator[tuple[float, float]]:
    return zip(sketch.reached, sketch.ended, strict=True)


def _shares(sketch: Sketch, hazards: Sequence[float]) -> tuple[float, ...]:
    if not sketch.known:
        raise ValueError("the sketch knows no end")
    return tuple(accumulate((max(0.0, 1.0 - h) for h in hazards[:-1]), mul, initial=1.0))


def _median(alive: Sequence[float]) -> float:
    i = next((i for i in range(BINS - 1) if alive[i + 1] <= 0.5), BINS - 2)
    return _between(alive, i, 0.5)


def _between(alive: Sequence[float], i: int, goal: float) -> float:
    """The age in bin i at which `goal` is alive."""
    fall = alive[i] - alive[i + 1]
    part = min(1.0, max(0.0, (alive[i] - goal) / fall)) if fall > 0 else 1.0
    return EDGES[i] + part * (EDGES[i + 1] - EDGES[i])


def _doubts(median: float) -> list[float]:
    """The hazard of each bin that a log-logistic distribution around the median has."""
    alive = [1.0 / (1.0 + (edge / median) ** _TAIL) for edge in EDGES]
    return [1.0 - after / before for before, after in pairwise(alive)]
