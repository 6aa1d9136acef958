"""What a generation costs. Prices at the vendor move, so the table is a setting; this is October 2026."""

from __future__ import annotations

import math
from collections.abc import Mapping

PRICES: Mapping[str, Mapping[str, float]] = {
    "kling-2.6/motion-control": {"720p": 11.0, "1080p": 18.0},
    "kling-3.0/motion-control": {"720p": 20.0, "1080p": 27.0},
}
"""Credits per second of the driving video, from recorded answers of the vendor's catalog."""


def billed_seconds(driver_seconds: float, rounding: str) -> float:
    """Return the seconds that are charged; ``rounding`` is ceil, floor or exact.

    The vendor does not say how it rounds: ``ceil``, the dearest reading, is the sandbox's default. A hair of
    a second (1 ms) over a whole one is not charged, since containers round their durations.
    """
    if rounding == "exact":
        return driver_seconds
    return float(math.ceil(driver_seconds - 0.001) if rounding == "ceil" else math.floor(driver_seconds))


def cost(
    prices: Mapping[str, Mapping[str, float]], model: str, mode: str, driver_seconds: float, rounding: str
) -> float:
    """Return the credits of one generation."""
    return prices[model][mode] * billed_seconds(driver_seconds, rounding)
