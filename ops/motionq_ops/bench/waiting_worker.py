"""A worker that looks at running tasks at a fixed interval, so that a benchmark knows its load.

`python -m motionq_ops.bench.waiting_worker SECONDS CELERY-ARGUMENTS…` is `celery CELERY-ARGUMENTS…` in everything else:
the schedule is asked, and its answer replaced.
"""

from __future__ import annotations

import sys

from celery.__main__ import main as celery

from motionq_worker.schedule import Schedule


def main() -> None:
    """Fix the interval, then become Celery."""
    interval = float(sys.argv[1])
    asked = Schedule.next_look

    def next_look(self: Schedule, age: float) -> float:
        asked(self, age)
        return interval

    Schedule.next_look = next_look  # type: ignore[method-assign]
    sys.argv = ["celery", *sys.argv[2:]]
    celery()


if __name__ == "__main__":
    main()
