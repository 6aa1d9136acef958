"""What the demo shows: the job while it runs (stderr), and its story afterwards (stdout)."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable

from rich.console import Console
from rich.text import Text

from motionq import Event, Job, MotionQueue

_LOOK = 0.15  # seconds between two looks
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def follow(queue: MotionQueue, job_id: str, meanwhile: Callable[[], None]) -> Job:
    """The job once it has ended; until then stderr shows how it goes, and `meanwhile` is called often.

    A terminal shows one living line (the whole story follows on stdout), a file gets each event as it happens.
    """
    console = Console(stderr=True, highlight=False)
    shown = 0
    with console.status("submitted") as status:
        while True:
            job = queue.get(job_id)
            for event in job.events[shown:] if not console.is_terminal else ():
                console.print(Text(_line(event, job)), soft_wrap=True)
            shown = len(job.events)
            if job.done:
                return job
            status.update(_now(job))
            meanwhile()
            time.sleep(_LOOK)


def _now(job: Job) -> str:
    seconds = time.time() - job.created_at.timestamp()
    left = f", about {job.eta_seconds:.0f} s left" if job.eta_seconds else ""
    return f"{job.state}  {seconds:.0f} s{left}"


def timeline(job: Job) -> list[str]:
    """The job's history in lines: seconds since it was submitted, state, what happened."""
    return [f"job {job.id}", *(_line(event, job) for event in job.events)]


def _line(event: Event, job: Job) -> str:
    seconds = max(0.0, (event.at - job.created_at).total_seconds())
    what = ": ".join(part for part in (event.step, event.note) if part)
    where = f" [{event.worker}]" if event.worker else ""
    return f"{seconds:7.1f} s  {event.state:<14}  {what}{where}"


def tasks_made(sandbox_url: str) -> int:
    """How many generations the sandbox was made to start, by its own ledger."""
    with _DIRECT.open(f"{sandbox_url}/sandbox/ledger?summary=1", timeout=10.0) as answer:
        return int(json.load(answer)["summary"]["tasks_made"])
