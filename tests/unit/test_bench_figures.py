"""What the benchmark makes of its measurements."""

from __future__ import annotations

from dataclasses import replace

from motionq_ops.bench.figures import Figures, length, medians, most_at_once, rate, targets

RUN = Figures(
    name="held open",
    files=8,
    sent_bytes=800_000_000,
    again_bytes=0,
    open_at_once=8,
    sending_seconds=10.0,
    sending_mb_per_second=80.0,
    step_seconds=12.0,
    step_mb_per_second=66.0,
    rest_bytes=90_000_000,
    peak_bytes=92_000_000,
    growth_bytes=2_000_000,
    worker_cpu_seconds=1.5,
    inspection_cpu_seconds=2.5,
    inspection_peak_bytes=47_000_000,
    sandbox_cpu_seconds=1.0,
)


def test_spans_overlap_only_while_both_last() -> None:
    """A file that begins as another ends was never on its way together with it."""
    assert most_at_once([(0.0, 1.0), (1.0, 2.0)]) == 1
    assert most_at_once([(0.0, 3.0), (1.0, 2.0), (1.5, 4.0), (5.0, 6.0)]) == 3
    assert most_at_once([]) == 0


def test_speed_is_bytes_from_the_first_beginning_to_the_last_end() -> None:
    """Files that go up side by side share their time; a megabyte is 10^6 bytes."""
    assert length([(1.0, 4.0), (2.0, 6.0)]) == 5.0
    assert rate(200_000_000, 5.0) == 40.0
    assert rate(1, 0.0) == 0.0


def test_medians_are_taken_figure_by_figure() -> None:
    """A slow repeat does not change what is shown; names and whole numbers stay what they are."""
    runs = [replace(RUN, sending_seconds=s, growth_bytes=g) for s, g in ((9.0, 3), (50.0, 1), (10.0, 2))]
    assert medians(runs) == replace(RUN, sending_seconds=10.0, growth_bytes=2)


def test_targets_are_held_against_the_worst_repeat() -> None:
    """One repeat beyond the limit misses the target; runs under another load do not count for memory."""
    grown = replace(RUN, growth_bytes=30_000_000)
    other = replace(RUN, name="one", growth_bytes=99_000_000, again_bytes=5)
    assert targets([RUN, RUN], "held open") == [
        {"name": "growth_bytes", "below": 30_000_000, "worst": 2_000_000, "met": True},
        {"name": "again_bytes", "below": 1, "worst": 0, "met": True},
    ]
    assert targets([RUN, grown, other], "held open") == [
        {"name": "growth_bytes", "below": 30_000_000, "worst": 30_000_000, "met": False},
        {"name": "again_bytes", "below": 1, "worst": 5, "met": False},
    ]
