"""How fast files go up, and what they cost the worker: measured on a real server, worker, vendor and client."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from motionq import Job, Request
from motionq.contract.states import State
from motionq_ops.bench.clips import CLIP, IMAGE, write_clips
from motionq_ops.bench.figures import Figures, Span, length, most_at_once, rate
from motionq_ops.bench.measure import Watch, need_proc, usage
from motionq_ops.bench.parts import BenchFailed, Parts, forget_settings, running

HELD, ONE, ALL = "held open", "one", "together"
_SETTLE = 1.0  # seconds after the warm-up in which the worker comes to rest

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is asked of each repeat: `jobs` videos of `size` bytes, which the vendor takes `hold` seconds to read."""

    size: int
    jobs: int
    hold: float


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """Raw material of one run."""

    jobs: Sequence[Job]
    watch: Watch
    sandbox_cpu: float


def bench(load: Load, repeats: int, say: Say) -> list[Figures]:
    """Every run of every repeat, each repeat with a fresh worker. Temporary files: 2 x jobs x size on disk.

    Raises CannotMeasure, CannotStart, BenchFailed, WrongUsage.
    """
    need_proc()
    forget_settings()
    found: list[Figures] = []
    with tempfile.TemporaryDirectory(prefix="motionq-bench-") as name:
        folder = Path(name)
        say(f"writing {load.jobs} videos of {load.size:,} bytes")
        clips = write_clips(folder, load.jobs, load.size)
        for repeat in range(1, repeats + 1):
            say(f"repeat {repeat} of {repeats}")
            with running(folder / f"repeat{repeat}", folder / "staging") as parts:
                found += _repeat(parts, clips, load)
    return found


def _repeat(parts: Parts, clips: Sequence[Path], load: Load) -> Iterator[Figures]:
    """The runs of one repeat. The worker's rest is that before the first of them, so growth adds up and none hides."""
    parts.warm_up(IMAGE, CLIP)
    time.sleep(_SETTLE)
    rest = usage(parts.worker_pid).rss
    for name, some, slow in ((HELD, clips, load.size / load.hold), (ONE, clips[:1], 0.0), (ALL, clips, 0.0)):
        yield _run(parts, name, some, slow, rest)


def _run(parts: Parts, name: str, clips: Sequence[Path], bytes_per_second: float, rest: int) -> Figures:
    parts.vendor.settings(upload_rate=bytes_per_second)
    seen = len(parts.uploads())
    measured = _measure(parts, clips)
    uploads = parts.uploads()[seen:]
    again = parts.until_uploaded([parts.queue.submit(image=IMAGE, video=clips[0])])
    again_bytes = _bytes(parts.uploads()[seen + len(uploads) :])
    parts.forget_uploads([*measured.jobs, *again])
    return _figures(name, measured, uploads, again_bytes, rest)


def _measure(parts: Parts, clips: Sequence[Path]) -> _Measured:
    before = usage(parts.vendor_pid).cpu
    with Watch(parts.worker_pid) as watch:
        jobs = parts.queue.submit_many([Request(image=IMAGE, video=clip) for clip in clips])
        jobs = parts.until_uploaded(jobs)
    return _Measured(jobs=jobs, watch=watch, sandbox_cpu=usage(parts.vendor_pid).cpu - before)


def _figures(name: str, measured: _Measured, uploads: list[dict[str, Any]], again_bytes: int, rest: int) -> Figures:
    sent, watch = _bytes(uploads), measured.watch
    sending = [_sending(job, uploads) for job in measured.jobs]
    steps = [(_moment(job, State.UPLOADING), _moment(job, State.READY)) for job in measured.jobs]
    return Figures(
        name=name,
        files=len(measured.jobs),
        sent_bytes=sent,
        again_bytes=again_bytes,
        open_at_once=most_at_once(sending),
        sending_seconds=length(sending),
        sending_mb_per_second=rate(sent, length(sending)),
        step_seconds=length(steps),
        step_mb_per_second=rate(sent, length(steps)),
        rest_bytes=rest,
        peak_bytes=watch.peak,
        growth_bytes=watch.peak - rest,
        worker_cpu_seconds=watch.after.cpu - watch.before.cpu,
        inspection_cpu_seconds=watch.below_cpu,
        inspection_peak_bytes=watch.below_peak,
        sandbox_cpu_seconds=measured.sandbox_cpu,
    )


def _sending(job: Job, uploads: list[dict[str, Any]]) -> Span:
    """From the arrival of the request's head at the vendor to the record's note that the file is there."""
    content = job.spec.video.identity
    arrivals = [_iso(upload["at"]) for upload in uploads if upload.get("sha256") == content]
    if len(arrivals) != 1:
        raise BenchFailed(f"the video of job {job.id} was uploaded {len(arrivals)} times")
    return arrivals[0], _moment(job, State.READY)


def _moment(job: Job, state: State) -> float:
    """When the job came into this state, in seconds since the epoch."""
    return next(event.at.timestamp() for event in job.events if event.state == state)


def _iso(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _bytes(uploads: list[dict[str, Any]]) -> int:
    return sum(int(upload.get("bytes") or 0) for upload in uploads)
