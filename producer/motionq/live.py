"""Watching jobs until they end: a live table where stderr is a terminal, else one line for each change."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from motionq.client import MotionQueue
from motionq.contract.job import Job
from motionq.output import note
from motionq.tables import Fitting, bare, fitted, span, style_of, taken
from motionq.waits import Waits, held_by_the_gate

_MOST_ROWS = 20
_MOST_IDS = 3
_COLUMNS = ("JOB", "STATE", "TIME", "LEFT", "NOTE")
# On a narrow terminal the note is cut first; then the time that is left goes, then the note.
_FITTING = Fitting(order=("LEFT", "NOTE", "TIME"), shrinks={"NOTE": 16})


@dataclass(frozen=True)
class Look:
    """A job as it was seen at one moment, and why it waited."""

    job: Job
    at: datetime
    why: str = ""

    @property
    def left(self) -> float | None:
        """Seconds until it is probably done; None also while nobody knows when the gate opens."""
        return None if held_by_the_gate(self.why) else self.job.eta_seconds


class View(AbstractContextManager["View"], Protocol):
    """What shows progress while `follow` waits."""

    def show(self, look: Look) -> None:
        """The job was looked at."""

    def leave(self, look: Look) -> None:
        """The job has ended; stdout may be written until the next `show`."""


def follow(queue: MotionQueue, job_ids: Sequence[str], timeout: float | None = None) -> Iterator[Job]:
    """Each job when it has ended, with its events, until all have or `timeout` seconds are over.

    Progress goes to stderr. On Ctrl+C it is said there how many jobs go on, and KeyboardInterrupt is raised.
    """
    unfinished = dict.fromkeys(job_ids)
    waits = Waits(queue)
    try:
        with _view() as view:
            for job in queue.watch(list(unfinished), timeout=timeout):
                look = Look(job, datetime.now(UTC), waits.of(job))
                if job.done:
                    unfinished.pop(job.id)
                    view.leave(look)
                    yield queue.get(job.id)
                else:
                    view.show(look)
    except KeyboardInterrupt:
        if unfinished:
            note(what_goes_on(list(unfinished)))
        raise


def what_goes_on(job_ids: Sequence[str]) -> str:
    """What Ctrl+C says: it ended the waiting only."""
    goes_on = "the job goes on" if len(job_ids) == 1 else f"{len(job_ids)} jobs go on"
    return f"interrupted, {goes_on}: {resume_with(job_ids)}"


def resume_with(job_ids: Sequence[str]) -> str:
    """The command that waits for these jobs again; of many only the first IDs."""
    if len(job_ids) <= _MOST_IDS:
        return f"motionq wait {' '.join(job_ids)}"
    return f"motionq wait --all ({', '.join(job_ids[:_MOST_IDS])}, …)"


def _view() -> View:
    return LiveView() if sys.stderr.isatty() else LineView()


class LineView:
    """One line on stderr when a job's state changes, or why it waits."""

    def __init__(self) -> None:
        self._shown: dict[str, tuple[str, str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, look: Look) -> None:
        """A line, if there is news; that the next try comes nearer is none."""
        news = (look.job.state.value, look.why.partition(", again in ")[0])
        if self._shown.get(look.job.id) != news:
            self._shown[look.job.id] = news
            note(progress_line(look))

    def leave(self, look: Look) -> None:
        """The last line."""
        self.show(look)


def progress_line(look: Look) -> str:
    """`ID running, 34 s, about 2 min 5 s left`, or `ID ready, 34 s: gate closed: no credits`."""
    job = look.job
    left = f", about {span(look.left)} left" if look.left is not None else ""
    waits = f": {look.why}" if look.why else ""
    return f"{job.id} {job.state.value}, {span(taken(job, look.at))}{left}{waits}"


class LiveView:
    """A table of the jobs that go on, redrawn four times a second; it is gone while results are printed."""

    def __init__(self, console: Console | None = None) -> None:
        self._looks: dict[str, Look] = {}
        self._console = console or Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._live: Live | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clear()

    def show(self, look: Look) -> None:
        """Keeps the job's newest look for the table."""
        self._looks[look.job.id] = look
        if self._live is None:
            # A new one each time: a stopped one would clear the lines above it, which are results by then.
            self._live = Live(
                console=self._console,
                get_renderable=self._table,
                transient=True,
                redirect_stdout=False,  # results are for stdout, wherever that leads
                redirect_stderr=False,
            )
            self._live.start()

    def leave(self, look: Look) -> None:
        """Takes the job out of the table and clears the table from the screen."""
        self._looks.pop(look.job.id, None)
        self._clear()

    def _clear(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _table(self) -> Table:
        return table_of(list(self._looks.values()), datetime.now(UTC), self._console.width)


def table_of(looks: Sequence[Look], now: datetime, width: int) -> Table:
    """The live table at `now`; the time that is left runs down between two looks."""
    rows = [_cells(look, now) for look in looks[:_MOST_ROWS]]
    columns = fitted(_COLUMNS, rows, width, _FITTING).columns
    table = bare([_COLUMNS[at] for at in columns], shrinks=_FITTING.shrinks)
    for look, row in zip(looks, rows, strict=False):
        table.add_row(*(Text(row[at], style_of(look.job.state) if at == 1 else "") for at in columns))
    if len(looks) > _MOST_ROWS:
        table.add_row(Text(f"and {len(looks) - _MOST_ROWS} more", "dim"))
    return table


def _cells(look: Look, now: datetime) -> tuple[str, ...]:
    job = look.job
    return (job.id, job.state.value, span(taken(job, now)), _left(look, now), look.why)


def _left(look: Look, now: datetime) -> str:
    if look.left is None:
        return "-"
    return f"about {span(max(1.0, look.left - (now - look.at).total_seconds()))}"
