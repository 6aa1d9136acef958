"""How late looks are, as the vendor sees it: a pure account of arrivals and answers.

The next look at a task is due `interval` seconds after its last answer left the vendor. What a worker does in between
(wait for the rest of the batch, write, wait for its clock, claim, publish, connect) counts as lateness, so the figure
is an upper bound of the worker's own.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence


class Looks:
    """Arrivals and answers since `begin`; all moments are seconds of one clock."""

    def __init__(self) -> None:
        self._answered: dict[str, float] = {}  # the last answer to each task
        self._gaps = array("d")  # seconds from an answer to the next look at the same task
        self._since = 0.0
        self._asked: set[str] = set()
        self.count = 0

    def begin(self, now: float) -> None:
        """Counting starts anew; what is known of the tasks stays."""
        self._gaps, self._since, self.count = array("d"), now, 0
        self._asked = set()

    def arrived(self, task_id: str, now: float) -> None:
        """A look at this task."""
        self.count += 1
        self._asked.add(task_id)
        last = self._answered.pop(task_id, None)  # while it is being answered it is not late
        if last is not None:
            self._gaps.append(now - last)

    def answered(self, task_id: str, now: float) -> None:
        """The answer leaves."""
        self._answered[task_id] = now

    def asked(self) -> int:
        """How many different tasks were asked for."""
        return len(self._asked)

    def report(self, interval: float, now: float) -> dict[str, object]:
        """Counts, and lateness in seconds at a given interval.

        A task that is overdue and was not asked for again counts with the time it has waited so far: a worker that
        falls behind can't hide it by never asking.
        """
        overdue = [now - last - interval for last in self._answered.values() if now - last > interval]
        late = sorted([max(0.0, gap - interval) for gap in self._gaps] + overdue)
        return {
            "looks": self.count,
            "seconds": now - self._since,
            "tasks": len(self._asked),
            "overdue": len(overdue),
            "late_p50": percentile(late, 0.5),
            "late_p99": percentile(late, 0.99),
            "late_most": late[-1] if late else 0.0,
        }


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which this share of the ordered values lies; 0 without values."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
