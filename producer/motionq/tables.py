"""Jobs for people: the detail of one, the list of many. Plain columns where stdout is not a terminal."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

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
_LIST_COLUMNS = ("JOB", "STATE", "AGE", "LEFT", "TENANT", "LABELS", "TASK", "OUTCOME")


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
    """Seconds the job has taken so far, or took."""
    return max(0.0, ((job.updated_at if job.done else now) - job.created_at).total_seconds())


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
def list_of(jobs: Sequence[Job]) -> str:
    """The table of `motionq list`, with a header line."""
    now = datetime.now(UTC)
    table = _bare(_LIST_COLUMNS)
    for job in jobs:
        cells = [clean(cell) or "-" for cell in _cells(job, now)]
        table.add_row(*(Text(cell, style_of(job.state) if at == 1 else "") for at, cell in enumerate(cells)))
    return render(table)


def _cells(job: Job, now: datetime) -> tuple[str, ...]:
    pairs = ",".join(f"{name}={value}" for name, value in sorted(job.labels.items()))
    return (
        job.id,
        job.state.value,
        span(age(job, now)),
        span(job.eta_seconds),
        job.tenant,
        pairs,
        job.task_id or "",
        outcome(job),
    )


# -- the detail -------------------------------------------------------------------------------------------------------
def detail(job: Job, purchases: Sequence[PurchaseLine] = ()) -> str:
    """The page of `motionq status`: what is known of a job, then its history."""
    table = _bare(None)
    for name, value in _facts(job, counted(purchases)):
        table.add_row(Text(name, "dim"), Text(clean(value), style_of(job.state) if name == "state" else ""))
    return render(table) + "\n\n" + render(_history(job.events))


def _facts(job: Job, purchases: str) -> Iterator[tuple[str, str]]:
    spec = job.spec
    yield "job", job.id
    yield "state", job.state.value
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
    table = _bare(("AT", "AFTER", "STATE", "STEP", "WORKER", "NOTE"))
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
    return "until its reason is gone or `motionq gate resume`"


# -- rendering --------------------------------------------------------------------------------------------------------
def _bare(header: Iterable[str] | None) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=header is not None, header_style="dim")
    for name in header or ("", ""):
        table.add_column(name, overflow="fold")
    return table


def render(table: Table) -> str:
    """The table as text for stdout: with colours and folded to its width on a terminal, else plain and never cut."""
    is_terminal = sys.stdout.isatty()
    console = Console(
        file=io.StringIO(),
        force_terminal=is_terminal,
        color_system="auto" if is_terminal else None,
        width=None if is_terminal else _PLAIN_WIDTH,
        highlight=False,
        emoji=False,
        markup=False,
    )
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())
