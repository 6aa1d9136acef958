"""Watching jobs until they end: a live table where stderr is a terminal, else one line for each change of state."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
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
from motionq.tables import age, span, style_of

_MOST_ROWS = 20


class View(AbstractContextManager["View"], Protocol):
    """What shows progress while `follow` waits."""

    def show(self, job: Job) -> None:
        """The job was looked at."""

    def leave(self, job: Job) -> None:
        """The job has ended; stdout may be written until the next `show`."""


def follow(queue: MotionQueue, job_ids: Sequence[str], timeout: float | None = None) -> Iterator[Job]:
    """Each job when it has ended, with its events, until all have or `timeout` seconds are over.

    Progress goes to stderr. On Ctrl+C the IDs of the jobs that go on are printed there, and KeyboardInterrupt raised.
    """
    unfinished = dict.fromkeys(job_ids)
    try:
        with _view() as view:
            for job in queue.watch(list(unfinished), timeout=timeout):
                if job.done:
                    unfinished.pop(job.id)
                    view.leave(job)
                    yield queue.get(job.id)
                else:
                    view.show(job)
    except KeyboardInterrupt:
        _say_what_goes_on(list(unfinished))
        raise


def _say_what_goes_on(job_ids: Sequence[str]) -> None:
    goes_on = "the job goes on" if len(job_ids) == 1 else f"{len(job_ids)} jobs go on"
    note(f"interrupted, {goes_on}: {' '.join(job_ids)}")


def _view() -> View:
    return LiveView() if sys.stderr.isatty() else LineView()


class LineView:
    """One line on stderr when a job's state changes."""

    def __init__(self) -> None:
        self._states: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, job: Job) -> None:
        """A line, if the state is new."""
        if self._states.get(job.id) != job.state:
            self._states[job.id] = job.state
            note(progress_line(job, datetime.now(UTC)))

    def leave(self, job: Job) -> None:
        """The last line."""
        self.show(job)


def progress_line(job: Job, now: datetime) -> str:
    """`ID running, 34 s, about 2 min 5 s left`."""
    left = f", about {span(job.eta_seconds)} left" if job.eta_seconds is not None else ""
    return f"{job.id} {job.state.value}, {span(age(job, now))}{left}"


class LiveView:
    """A table of the jobs that go on, redrawn four times a second; it is gone while results are printed."""

    def __init__(self, console: Console | None = None) -> None:
        self._jobs: dict[str, tuple[Job, datetime]] = {}
        self._console = console or Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._live: Live | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clear()

    def show(self, job: Job) -> None:
        """Keeps the job's newest look for the table."""
        self._jobs[job.id] = (job, datetime.now(UTC))
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

    def leave(self, job: Job) -> None:
        """Takes the job out of the table and clears the table from the screen."""
        self._jobs.pop(job.id, None)
        self._clear()

    def _clear(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _table(self) -> Table:
        return table_of(list(self._jobs.values()), datetime.now(UTC))


def table_of(looks: Sequence[tuple[Job, datetime]], now: datetime) -> Table:
    """The live table at `now`: each job with the moment it was looked at; the ETA runs down between two looks."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for name in ("JOB", "STATE", "TIME", "LEFT"):
        table.add_column(name)
    for job, looked_at in looks[:_MOST_ROWS]:
        table.add_row(
            job.id, Text(job.state.value, style_of(job.state)), span(age(job, now)), _left(job, looked_at, now)
        )
    if len(looks) > _MOST_ROWS:
        table.add_row(Text(f"and {len(looks) - _MOST_ROWS} more", "dim"))
    return table


def _left(job: Job, looked_at: datetime, now: datetime) -> str:
    if job.eta_seconds is None:
        return "-"
    return f"about {span(max(1.0, job.eta_seconds - (now - looked_at).total_seconds()))}"
