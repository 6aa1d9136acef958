"""Jobs for people: the detail of one, the list of many. Plain columns where stdout is not a terminal."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from motionq.contract.job import Event, Failure, Job, Result, Source, StagedSource, iso
from motionq.contract.record import PurchaseLine
from motionq.contract.redact import redact
from motionq.contract.states import State
from motionq.gate import GateStatus
from motionq.output import clean
from motionq.purchases import counted

_STYLES = {State.SUCCEEDED: "green", State.FAILED: "red", State.CANCELLED: "dim", State.SUBMIT_UNKNOWN: "yellow"}
_PLAIN_WIDTH = 10_000  # cells are never cut or wrapped for a program that reads them
_LIST_COLUMNS = ("JOB", "STATE", "AGE", "TOOK", "LEFT", "TENANT", "LABELS", "TASK", "OUTCOME")
_BY_HAND = ("operator", "restored")  # only a person opens a gate that was closed for these
_GAP = 2  # blanks between two columns


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """How a table gets narrower: `order` of the columns that go; those in `shrinks` are folded to so many cells."""

    order: Sequence[str]
    shrinks: Mapping[str, int] = field(default_factory=dict)


_LIST_FITTING = Fitting(
    order=("TASK", "LABELS", "OUTCOME", "TENANT", "LEFT", "TOOK", "AGE"),
    shrinks={"OUTCOME": 24, "LABELS": 16, "TENANT": 16},
)


def style_of(state: State) -> str:
    """The colour of a state."""
    return _STYLES.get(state, "cyan")


def span(seconds: float | None) -> str:
    """A length of time: `8 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`; `-` where it is not known."""
    if seconds is None:
        return "-"
    whole = max(0, round(seconds))
    for size, unit, smaller, name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // smaller} {name}"
    return f"{whole} s"


def age(job: Job, now: datetime) -> float:
    """Seconds since the job was submitted."""
    return max(0.0, (now - job.created_at).total_seconds())


def taken(job: Job, now: datetime) -> float:
    """Seconds the job has taken so far, or took until its end."""
    return age(job, job.updated_at if job.done else now)


def outcome(job: Job) -> str:
    """The result's file, or why there is none; empty while the job goes on."""
    if job.result is not None:
        return result_place(job.result)
    return clean(job.failure) if job.failure else ""


def result_place(result: Result) -> str:
    """Where the video is: the file in storage that you own, else the vendor's address."""
    if result.file:
        return redact(result.file) if "://" in result.file else clean(result.file)
    return redact(result.vendor_urls[0]) if result.vendor_urls else ""


def ended_line(job: Job) -> str:
    """One line about a finished job: ID, state, outcome."""
    return "  ".join(part for part in (job.id, job.state.value, outcome(job)) if part)


# -- the list ---------------------------------------------------------------------------------------------------------
def list_of(jobs: Sequence[Job], now: datetime, width: int | None = None) -> tuple[str, tuple[str, ...]]:
    """The table of `motionq list`, with a header line, and the columns for which `width` has no room."""
    rows = [tuple(clean(cell) or "-" for cell in _cells(job, now)) for job in jobs]
    room = fitted(_LIST_COLUMNS, rows, width or _PLAIN_WIDTH, _LIST_FITTING)
    table = bare([_LIST_COLUMNS[at] for at in room.columns], shrinks=_LIST_FITTING.shrinks)
    for job, row in zip(jobs, rows, strict=True):
        table.add_row(*(Text(row[at], style_of(job.state) if at == 1 else "") for at in room.columns))
    return render(table, room.width), room.left_out


def _cells(job: Job, now: datetime) -> tuple[str, ...]:
    pairs = ",".join(f"{name}={value}" for name, value in sorted(job.labels.items()))
    return (
        job.id,
        job.state.value,
        span(age(job, now)),
        span(taken(job, now)) if job.done else "",
        span(job.eta_seconds),
        job.tenant,
        pairs,
        job.task_id or "",
        outcome(job),
    )


@dataclass(frozen=True)
class Fitted:
    """The columns that are shown (by their place), the names of the others, and how many cells are needed."""

    columns: tuple[int, ...]
    left_out: tuple[str, ...]
    width: int


def fitted(header: Sequence[str], rows: Sequence[Sequence[str]], width: int, fitting: Fitting) -> Fitted:
    """What of a table fits into `width` cells; columns that may not go and need more make it wider."""
    needs = [max(map(cell_len, cells)) for cells in zip(header, *rows, strict=True)]
    needs = [min(need, fitting.shrinks.get(name, need)) for name, need in zip(header, needs, strict=True)]
    shown, left_out = list(range(len(header))), []
    for name in fitting.order:
        if _total(needs, shown) <= width:
            break
        shown.remove(header.index(name))
        left_out.append(name)
    return Fitted(tuple(shown), tuple(left_out), max(width, _total(needs, shown)))


def _total(needs: Sequence[int], shown: Sequence[int]) -> int:
    return sum(needs[at] + _GAP for at in shown)


def screen_width() -> int | None:
    """Cells in a line of the terminal behind stdout; None where it leads elsewhere, and nothing is ever cut."""
    return Console().width if sys.stdout.isatty() else None


# -- the detail -------------------------------------------------------------------------------------------------------
def detail(job: Job, purchases: Sequence[PurchaseLine] = (), waits: str = "") -> str:
    """The page of `motionq status`: what is known of a job, why it waits, then its history."""
    table = bare(None)
    for name, value in _facts(job, counted(purchases), waits):
        table.add_row(Text(name, "dim"), Text(clean(value), style_of(job.state) if name == "state" else ""))
    return render(table) + "\n\n" + render(_history(job.events))


def _facts(job: Job, purchases: str, waits: str) -> Iterator[tuple[str, str]]:
    spec = job.spec
    yield "job", job.id
    yield "state", job.state.value
    if waits:
        yield "waits", waits
    if job.eta_seconds is not None:
        yield "left", f"about {span(job.eta_seconds)}"
    yield "image", _source(spec.image)
    yield "video", _source(spec.video)
    if spec.prompt:
        yield "prompt", spec.prompt
    yield "model", f"{spec.model}, {spec.mode}, orientation {spec.orientation}"
    yield "tenant", f"{job.tenant}, priority {job.priority}"
    if job.labels:
        yield "labels", ", ".join(f"{name}={value}" for name, value in sorted(job.labels.items()))
    yield "created", iso(job.created_at)
    yield "updated", iso(job.updated_at)
    yield "task", job.task_id or "-"
    yield "attempts", str(job.attempts)
    if purchases:
        yield "purchases", purchases
    if job.result is not None:
        yield from _result(job.result)
    if job.failure is not None:
        yield from _failure(job.failure)


def _source(source: Source) -> str:
    if isinstance(source, StagedSource):
        return f"{source.name} ({source.media_type}, {source.size:,} bytes)"
    return redact(source.url)


def _result(result: Result) -> Iterator[tuple[str, str]]:
    yield "result", result_place(result)
    if result.credits is not None:
        yield "credits", f"{result.credits:g}"
    if result.generation_seconds is not None:
        yield "generated", f"in {span(result.generation_seconds)}"


def _failure(failure: Failure) -> Iterator[tuple[str, str]]:
    code = f" (code {failure.code})" if failure.code else ""
    yield "failure", f"{failure}{code}"
    yield "charged", failure.charged


def _history(events: Sequence[Event]) -> Table:
    table = bare(("AT", "AFTER", "STATE", "STEP", "WORKER", "NOTE"))
    for event in events:
        after = f"+{(event.at - events[0].at).total_seconds():.1f} s"
        row = (iso(event.at), after, event.state, event.step, event.worker, event.note)
        table.add_row(*(Text(clean(cell) if cell else "-") for cell in row))
    return table


# -- the gate ---------------------------------------------------------------------------------------------------------
def gate_lines(gate: GateStatus) -> str:
    """`motionq gate`: open or closed, why, since and until when, and what waits."""
    numbers = f"{gate.in_flight} in flight, {gate.waiting} waiting"
    if gate.open:
        return f"open: {numbers}"
    said = clean(": ".join(part for part in (gate.reason, gate.message) if part))
    since = f"since {iso(gate.since)}, " if gate.since else ""
    return f"closed: {said}\n{since}{_opens(gate)}\n{numbers}"


def _opens(gate: GateStatus) -> str:
    if gate.half_open:
        return "one job tries now: kie.ai's answer decides"
    if gate.until:
        return f"until {iso(gate.until)}"
    if gate.reason in _BY_HAND:
        return "until `motionq gate resume" + (" --restored`" if gate.reason == "restored" else "`")
    return "until its reason is gone" + ("" if gate.reason == "memory" else " or `motionq gate resume`")


# -- rendering --------------------------------------------------------------------------------------------------------
def bare(header: Iterable[str] | None, shrinks: Mapping[str, int] | None = None) -> Table:
    """A table without lines; with `shrinks` only the columns named in it are folded, the others stay whole."""
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, show_header=header is not None, header_style="dim")
    for name in header or ("", ""):
        table.add_column(name, overflow="fold", no_wrap=shrinks is not None and name not in shrinks)
    return table


def render(table: Table, width: int | None = None) -> str:
    """The table as text for stdout: with colours on a terminal, else plain.

    It is folded to `width`, or the terminal's; without either never.
    """
    console = Console(
        file=io.StringIO(),
        force_terminal=sys.stdout.isatty(),
        color_system="auto" if sys.stdout.isatty() else None,
        width=width or screen_width() or _PLAIN_WIDTH,
        highlight=False,
        emoji=False,
        markup=False,
    )
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())
