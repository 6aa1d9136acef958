"""One generation at the vendor: what was asked, what will become of it, and its state at any moment."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from motionq_ops.sandbox.faults import Rule
from motionq_ops.sandbox.settings import Settings


@dataclass(frozen=True, slots=True)
class Order:
    """A createTask request that passed validation."""

    model: str
    input: Mapping[str, Any]
    callback_url: str | None

    @property
    def mode(self) -> str:
        """Return 720p (the documented default) or 1080p."""
        return str(self.input.get("mode") or "720p")

    @property
    def image_url(self) -> str:
        """Return the address of the picture."""
        return str(self.input["input_urls"][0])

    @property
    def video_url(self) -> str:
        """Return the address of the driving video."""
        return str(self.input["video_urls"][0])


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of a task. Seconds are simulated, counted from its creation."""

    seconds: float
    verdict: str = "success"
    code: str | None = None
    msg: str | None = None
    flips_after: float | None = None

    @property
    def needs_film(self) -> bool:
        """Return whether the task is ever a success."""
        return self.verdict == "success" or self.flips_after is not None


@dataclass(slots=True)
class Task:
    """A task of one account. ``film_age`` is its simulated age at which the result file was there."""

    id: str
    account: str
    order: Order
    base: str
    created_ms: int
    created: float
    plan: Plan
    held: float
    film_name: str
    film: Path | None = None
    film_age: float | None = None
    booked: str = "held"
    callbacks: Mapping[str, Rule] = field(default_factory=dict)

    @property
    def film_url(self) -> str:
        """Return the address of the result (it answers 404 until there is one)."""
        return f"{self.base}/k/{self.film_name}"


@dataclass(frozen=True, slots=True)
class Reading:
    """A task's state and, when it has ended, its simulated age at the end."""

    state: str
    ended_after: float | None = None


def read(plan: Plan, age: float, film_age: float | None, waiting_share: float) -> Reading:
    """Return what recordInfo says of a task of that age. A success also needs its file to be there."""
    if plan.verdict == "silent":
        return Reading("waiting")
    if age < plan.seconds:
        return Reading("waiting" if age < plan.seconds * waiting_share else "generating")
    success_at = plan.seconds if plan.verdict == "success" else plan.seconds + (plan.flips_after or math.inf)
    if film_age is not None and age >= max(success_at, film_age):
        return Reading("success", max(success_at, film_age))
    return Reading("generating") if plan.verdict == "success" else Reading("fail", plan.seconds)


def draw_plan(settings: Settings, dice: random.Random, driver_seconds: float, fault: Rule | None) -> Plan:
    """Return a new task's future: lognormal around median + driver seconds x factor, unless a fault says otherwise."""
    median = settings.median_seconds + settings.seconds_per_driver_second * driver_seconds
    seconds = median * math.exp(settings.sigma * dice.gauss(0.0, 1.0))
    seconds = settings.duration if settings.duration is not None else seconds
    if fault is not None:
        return _faulty(fault, settings, seconds)
    return _timed_out(settings) if seconds > settings.timeout_seconds else Plan(seconds)


def _faulty(rule: Rule, settings: Settings, seconds: float) -> Plan:
    if rule.fault == "silent":
        return Plan(seconds, "silent")
    if rule.fault == "duration":
        return Plan(float(rule.options["seconds"]))
    if rule.fault == "fail_generation":
        own = rule.options["seconds"]
        return Plan(seconds if own is None else float(own), "fail", str(rule.options["code"]), str(rule.options["msg"]))
    return _timed_out(settings, settings.flip_seconds if rule.fault == "fail_524_flip" else None)


def _timed_out(settings: Settings, flips_after: float | None = None) -> Plan:
    return Plan(settings.timeout_seconds, "fail", "524", "generate task timeout", flips_after)
