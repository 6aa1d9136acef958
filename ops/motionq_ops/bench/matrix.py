"""Which places a crash matrix has, and what may become of a job whose worker is killed there. Pure values."""

from __future__ import annotations

from collections.abc import Iterable

from motionq_ops.bench.boundaries import REPEATED
from motionq_ops.bench.crash import Place

SUCCEEDED, UNKNOWN = "succeeded", "submit_unknown, charged unknown"
Outcome = tuple[str, int]  # what became of the job, and how many tasks the vendor made for it

# From the answer to `send` (the right to send is taken) until the task's line is in the journal nobody else knows what
# became of the purchase.
_NOT_BOUGHT = (("after", "send#1"), ("before", "POST createTask#1"))
_BOUGHT = (
    ("after", "POST createTask#1"),
    ("before", "sync line#1"),
    ("after", "sync line#1"),
    ("before", "rename line#1"),
)
_ABOUT = {("before", "send#1"), *_NOT_BOUGHT, *_BOUGHT, ("after", "rename line#1"), ("before", "move record_task#1")}
_BESIDE = "strike out submit#1"  # Celery strikes the message out in another thread, while the step runs


def places(passed: Iterable[str], *, callbacks: bool) -> list[Place]:
    """Both moments of every boundary of a clean run; of what repeats while a job waits, the first time.

    A message is taken by a command that has long been waiting at the server: there is no moment before it.
    """
    names = [name for name in dict.fromkeys(passed) if name.endswith("#1") or name.rpartition("#")[0] not in REPEATED]
    both = [Place(name, moment, callbacks) for name in names for moment in ("before", "after")]
    return [place for place in both if place.moment == "after" or not place.name.startswith("take ")]


def distinct(found: Iterable[Place]) -> list[Place]:
    """One of each kind: Celery's own bookkeeping (hold, strike out) once, for the step that spends money, and of equal
    things done twice (two files, two looks) the first. Outside of the worker nothing differs between the moment after
    one boundary and the moment before the next: of these two the first is enough, but around the purchase."""
    return [place for place in found if _is_its_own(place) and (place.moment == "after" or _is_about_money(place))]


def _is_its_own(place: Place) -> bool:
    name, _, number = place.name.rpartition("#")
    books = name.startswith(("hold ", "strike out ")) and not name.endswith(" submit")
    return not books and (number == "1" or name == "move record_task")


def _is_about_money(place: Place) -> bool:
    return (place.moment, place.name) in _ABOUT


def only_with_callbacks(found: Iterable[Place], without: Iterable[Place]) -> list[Place]:
    """Of the places with callbacks: those that differ from the ones without, and those around the purchase."""
    known = {(place.name, place.moment) for place in without}
    return [p for p in found if (p.name, p.moment) not in known or _is_about_money(p)]


def allowed(place: Place | None) -> tuple[Outcome, ...]:
    """What may become of the job; with callbacks every task that was made is found again."""
    if place is None:
        return ((SUCCEEDED, 1),)
    here = (place.moment, place.name)
    lost = (SUCCEEDED, 1) if place.callbacks else (UNKNOWN, 1)
    if place.name == _BESIDE:
        return ((SUCCEEDED, 1), (UNKNOWN, 0), lost)
    if here in _NOT_BOUGHT:
        return ((UNKNOWN, 0),)
    return (lost,) if here in _BOUGHT else ((SUCCEEDED, 1),)
