"""Counts what no record holds: how the vendor answers and how fast, cache hits, callbacks, steps that ran.

Each process counts in memory and brings its counts to one hash (`Keys.metrics`) in one round trip, at most every two
seconds; `motionq exporter` reads it there. What a killed process had not brought yet is lost, and a repeated round trip
may count twice: these figures watch the weather. Money is never counted here; that is what records and `spent` are for.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from motionq.contract.connection import reachable
from motionq.contract.store import JobStore

# Upper bounds in seconds. Recorded: createTask 0.3 to 1.7, recordInfo 0.2 to 0.7; uploads take as long as they are.
BUCKETS = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 120.0)
BEYOND = "+Inf"
EVERY = 2.0  # seconds between two round trips of a process

_UNUSUAL = re.compile(r"[^A-Za-z0-9_.+-]")


@dataclass(frozen=True)
class Counted:
    """What has not been brought yet. `counts`: field of the hash → how many more; `seen`: field → its newest value."""

    counts: Mapping[str, int] = field(default_factory=dict)
    seen: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.counts or self.seen)


class Meter:
    """The counts of one process; every method may be called from any thread, and costs no round trip."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._seen: dict[str, str] = {}

    def add(self, *words: str, by: int = 1) -> None:
        """Counts under these words."""
        with self._lock:
            self._counts[_name(words)] += by

    def see(self, name: str, value: float) -> None:
        """Remembers a value, and when it was seen (`<name>_at`, ms since the epoch by this machine's clock)."""
        with self._lock:
            self._seen |= {_name((name,)): f"{value:.15g}", _name((f"{name}_at",)): str(int(time.time() * 1000))}

    def answered(self, call: str, outcome: str, code: int | None, seconds: float) -> None:
        """One call to the vendor: what came of it, the vendor's code (or HTTP status, or None), how long it took."""
        self.add("answer", call, outcome, _code(code))
        self.add("seconds", call, _bucket(seconds))
        self.add("took_ms", call, by=int(seconds * 1000))

    def answered_many(self, call: str, answers: Iterable[tuple[str, int | None, float]]) -> None:
        """`answered` for many calls of one kind: (outcome, code, seconds) of each."""
        counts: Counter[tuple[str, ...]] = Counter()
        for outcome, code, seconds in answers:
            counts["answer", call, outcome, _code(code)] += 1
            counts["seconds", call, _bucket(seconds)] += 1
            counts["took_ms", call] += int(seconds * 1000)
        for words, by in counts.items():
            self.add(*words, by=by)

    def uploaded(self, sent: int) -> None:
        """A file that a job needs lies at the vendor: `sent` bytes were moved for it (0: it was there)."""
        self.add("upload", "sent" if sent else "hit")
        self.add("upload_bytes", by=sent)

    def moved(self, move: str, outcome: str, state: str, changes: Mapping[str, str]) -> None:
        """What a move came to, and why a job failed by it; `changes` are the fields that it set."""
        if outcome not in ("ok", "booked"):
            return
        self.add("move", move)
        if outcome == "ok" and state == "failed" and "failure" in changes:
            failure = json.loads(changes["failure"])
            self.add("failure", str(failure.get("reason")), str(failure.get("charged")))

    def take(self) -> Counted:
        """All that was counted since; the meter begins anew."""
        with self._lock:
            counted = Counted({name: n for name, n in self._counts.items() if n}, self._seen)
            self._counts, self._seen = Counter(), {}
        return counted

    def give_back(self, counted: Counted) -> None:
        """What could not be brought counts again; newer values stay."""
        with self._lock:
            self._counts.update(counted.counts)
            self._seen = {**counted.seen, **self._seen}


class Reports:
    """Brings the counts of a process to the server."""

    def __init__(self, meter: Meter, store: JobStore) -> None:
        self._meter = meter
        self._store = store
        self._next = 0.0

    def tick(self) -> None:
        """For a process with a clock: brings what there is, at most every two seconds. Raises QueueUnavailable."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + EVERY
            self.send()

    def send(self) -> None:
        """Brings what there is in one round trip. Raises QueueUnavailable; then nothing is lost."""
        counted = self._meter.take()
        if not counted:
            return
        try:
            with reachable():
                self._bring(counted)
        except BaseException:
            self._meter.give_back(counted)
            raise

    def _bring(self, counted: Counted) -> None:
        key = self._store.keys.metrics
        pipe: Any = self._store.redis.pipeline()
        for name, n in counted.counts.items():
            pipe.hincrby(key, name, n)
        if counted.seen:
            pipe.hset(key, mapping=dict(counted.seen))
        pipe.execute()


class Courier:
    """Brings the counts of a process that has no clock: a little after something was counted, from another thread."""

    def __init__(self, reports: Reports, pause: float = EVERY) -> None:
        self._reports = reports
        self._pause = pause
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def soon(self) -> None:
        """Something was counted; returns at once."""
        with self._lock:
            if self._timer is None:
                self._timer = threading.Timer(self._pause, self._go)
                self._timer.daemon = True
                self._timer.start()

    def close(self) -> None:
        """Brings what is left, if the server takes it."""
        with self._lock:
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
            timer.join(timeout=5)
        with contextlib.suppress(Exception):
            self._reports.send()

    def _go(self) -> None:
        with self._lock:
            self._timer = None
        with contextlib.suppress(Exception):  # given back: the next count tries again
            self._reports.send()


def _name(words: tuple[str, ...]) -> str:
    """A field of the hash: words separated by blanks, so none of them may hold one."""
    return " ".join(_UNUSUAL.sub("_", word[:60]) or "none" for word in words)


def _code(code: int | None) -> str:
    return str(code) if code is not None and 100 <= code <= 999 else "none"


def _bucket(seconds: float) -> str:
    return next((f"{bound:g}" for bound in BUCKETS if seconds <= bound), BEYOND)
