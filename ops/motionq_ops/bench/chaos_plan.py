"""What `motionq bench chaos` does, and when: a list of events drawn from a seed. No I/O in here.

The same numbers give the same plan. (What comes of it differs: the processes are real.)
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

TENANTS = ("film", "games", "news")
CLIPS = 6  # different driving videos
_CANCELLED = 0.03  # share of the jobs that somebody cancels
_CANCEL_WITHIN = 8.0  # seconds after its submission
_LONG = 60.0  # seconds from which a run has room for a time-out at the vendor, which settles after two minutes
RESUMED_EVERY = 3.0  # seconds after which a stubborn person opens the gate, whatever has closed it
_TROUBLES_PER_SECOND = 1.0


@dataclass(frozen=True, kw_only=True)
class Event:
    """`at`: seconds from the start. `number`: of the job or the worker. `rule`: an order for the sandbox."""

    at: float
    what: str
    number: int = 0
    rule: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Trouble:
    """One kind of trouble. `rule`: what the sandbox is told, else it is something that we do.

    `most`: of how many requests at most, in a run of 500 jobs; the number grows with the jobs, and is 1 at least.
    `long`: only in runs of a minute or more.
    """

    what: str
    rule: dict[str, Any] = field(default_factory=dict)
    most: float = 0.0
    long: bool = False


def _faults(call: str, *faults: str, most: float = 3.0, **options: Any) -> Iterator[Trouble]:
    for fault in faults:
        yield Trouble("fault", {"call": call, "fault": fault, **options}, most)


# Not in here: `lie_500` and `task_bound_elsewhere`, with which the vendor itself says what is not so.
TROUBLES = (
    *(Trouble("worker_killed") for _ in range(4)),
    Trouble("server_killed"),
    Trouble("server_restarted"),
    Trouble("receiver_killed"),
    *(Trouble("forged") for _ in range(3)),
    *_faults("createTask", "drop_after", "drop_after", "drop_before", "cut_json", "reset", "html_502", "code_500"),
    *_faults("createTask", "html_502", "reset", "http_524", "http_500_empty", made=True),
    *_faults("createTask", "hang", most=1, made=True),
    *_faults("createTask", "hang", "code_402", "code_455", "code_429", most=1),
    *_faults("recordInfo", "drop_before", "html_502", "cut_json", "null_record", "strange_state", most=20),
    *_faults("recordInfo", "code_500", "code_429", "hang", most=5),
    *_faults("credit", "drop_before", "html_502"),
    *_faults("upload", "drop_after", "html_502"),
    *_faults("result", "result_404", "result_cut", "result_html", "drop_after"),
    *_faults("generation", "fail_generation", most=4),
    *_faults("generation", "fail_generation", most=2, code=422, msg="The image is not supported"),
    *_faults("callback", "callback_never", "callback_duplicate", "callback_forged", most=10),
    *_faults("callback", "callback_unsigned", "callback_crossed", "callback_early", "callback_alternate", most=5),
    *_faults("callback", "callback_late", most=10, seconds=480.0),  # simulated seconds
    Trouble("fault", {"call": "generation", "fault": "fail_524"}, 2.0, long=True),
    Trouble("fault", {"call": "generation", "fault": "fail_524_flip"}, 2.0, long=True),
)


def draw(*, seed: int, jobs: int, seconds: float, workers: int) -> tuple[Event, ...]:
    """The events, in order: every kind of trouble once before any comes again, at random moments."""
    dice = random.Random(seed)
    found = [*_submissions(dice, jobs, seconds)]
    found += [Event(at=n * RESUMED_EVERY, what="resumed") for n in range(1, int(seconds / RESUMED_EVERY))]
    for kind in _kinds(dice, seconds):
        found += _events(dice, kind, dice.uniform(0.0, seconds), jobs, workers)
    return tuple(sorted(found, key=lambda event: event.at))


def _submissions(dice: random.Random, jobs: int, seconds: float) -> Iterator[Event]:
    """Spread over nine tenths of the time, so that trouble meets the last ones too."""
    for number in range(jobs):
        at = dice.uniform(0.0, 0.9 * seconds)
        yield Event(at=at, what="submitted", number=number)
        if dice.random() < _CANCELLED:
            yield Event(at=at + dice.uniform(0.0, _CANCEL_WITHIN), what="cancelled", number=number)


def _kinds(dice: random.Random, seconds: float) -> Sequence[Trouble]:
    deck = [kind for kind in TROUBLES if seconds >= _LONG or not kind.long]
    wanted = max(len(deck), round(seconds * _TROUBLES_PER_SECOND))
    drawn: list[Trouble] = []
    while len(drawn) < wanted:
        drawn += dice.sample(deck, len(deck))
    return drawn[:wanted]


def _events(dice: random.Random, kind: Trouble, at: float, jobs: int, workers: int) -> Iterator[Event]:
    """A kind of trouble, and what ends it."""
    if kind.what == "fault":
        times = dice.randint(1, max(1, round(kind.most * jobs / 500)))
        # Callback faults can meet in one callback: with some skipped they also come alone.
        skip = dice.randint(0, jobs // 20) if kind.rule["call"] == "callback" else 0
        yield Event(at=at, what="fault", rule=kind.rule | {"times": times, "skip": skip})
        return
    number = dice.randrange(workers) if kind.what == "worker_killed" else dice.getrandbits(32)
    yield Event(at=at, what=kind.what, number=number)
    if kind.what.endswith("_killed"):
        part = kind.what.removesuffix("_killed")
        yield Event(at=at + dice.uniform(0.1, 2.0), what=f"{part}_started", number=number)
