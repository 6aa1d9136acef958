"""The sandbox's switches: one frozen record, changed as a whole while it runs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from motionq_ops.sandbox.numbers import is_number
from motionq_ops.sandbox.prices import PRICES

DAY = 86_400.0


class BadSetting(ValueError):
    """The name or the value of a switch is not known; the text says which and what is."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Every switch. Seconds are simulated (they shrink with the speed) unless the line says "wall clock"."""

    speed: float = 1.0
    """How many simulated seconds pass in one second of the wall clock."""
    rate_limit: str = "20/10"
    """createTask per account: calls/seconds, wall clock, on arrival times. ``off`` = no limit. (vendor page)"""
    read_limit: int = 10
    """recordInfo per task and second, wall clock; 0 = no limit. (vendor page)"""
    latency: float = 0.0
    """Wall-clock seconds before createTask, recordInfo and credit answer. (recordings: 0.2 to 0.9)"""
    null_seconds: float = 1.0
    """A new task answers "recordInfo is null" for so long. (two clients saw it)"""
    duration: float | None = None
    """Every generation takes exactly so long; null = drawn from median and sigma."""
    median_seconds: float = 125.0
    """Median of a generation before the driver's length is added. (one measured 4 s clip: 125 s)"""
    seconds_per_driver_second: float = 2.0
    """What each second of the driving video adds to the median. (a choice; clients' figures differ: 2 to 22)"""
    sigma: float = 0.15
    """Spread: the sigma of the lognormal distribution."""
    waiting_share: float = 0.3
    """Share of a generation that is shown as ``waiting``, the rest as ``generating``."""
    fail_seconds: float = 15.0
    """How long a task lives that fails for its media. (a choice)"""
    timeout_seconds: float = 1200.0
    """The vendor's own limit: a longer task fails with 524. (recorded: about 1,211 s)"""
    flip_seconds: float = 60.0
    """With ``fail_524_flip`` the failed task is a success so much later. (two clients saw it)"""
    upload_ttl: float = DAY
    """Life of an uploaded file. (newest vendor page)"""
    result_ttl: float = 14 * DAY
    """Life of a result. (vendor page)"""
    record_ttl: float = 60 * DAY
    """Life of a record: recordInfo answers null afterwards. (vendor page: two months)"""
    validation_code: int = 500
    """Code of a rejected input: 500 or 422; both are seen for the same texts."""
    param: str = "double"
    """``double``: param.input is a JSON string (recordings); ``single``: it is an object (older vendor page)."""
    fail_fields: str = "null"
    """failCode and failMsg of a task that has not failed: ``null`` (recordings) or ``empty`` (vendor page)."""
    result_json: str = "empty"
    """resultJson of a task without a result: ``empty`` (recordings) or ``null``."""
    new_fields: bool = True
    """successFlag, response and creditsConsumed are there (newest vendor page) or not (older recordings)."""
    upload_http_errors: bool = False
    """Refused uploads carry the code as HTTP status too. (unknown at the vendor; the jobs API answers HTTP 200)"""
    billing: str = "ceil"
    """Driver seconds that are charged: ``ceil`` or ``floor`` to whole seconds, or ``exact``. (unknown at the vendor)"""
    foreign_seconds: float = 10.0
    """Driver seconds held for a video that is not an upload of ours; settled with the real length at the end."""
    prices: Mapping[str, Mapping[str, float]] = field(default_factory=lambda: PRICES)
    """Credits per driver second: {model: {mode: credits}}."""
    callback_retries: int = 3
    """How often a callback that is not answered with HTTP 200 is repeated."""
    callback_retry_seconds: float = 10.0
    """Pause between two of them. (the vendor does not say)"""
    render: str = "real"
    """``real``: frames with the picture in them; ``copy``: the driver's own bytes; ``none``: one tiny video."""
    discard_uploads: bool = False
    """Uploaded bytes are counted and thrown away (for load tests); media are then not inspected."""
    upload_rate: float = 0.0
    """Bytes per wall-clock second that one upload connection is read with; 0 = as fast as possible."""


CHOICES: Mapping[str, tuple[Any, ...]] = {
    "param": ("double", "single"),
    "fail_fields": ("null", "empty"),
    "result_json": ("empty", "null"),
    "billing": ("ceil", "floor", "exact"),
    "render": ("real", "copy", "none"),
    "validation_code": (500, 422),
}
_TYPES = {item.name: item.type for item in dataclasses.fields(Settings)}
_POSITIVE = ("speed",)


def changed(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """Return the settings with these values; raises BadSetting and changes nothing when one of them is wrong."""
    return dataclasses.replace(settings, **{name: _checked(name, value) for name, value in values.items()})


def parse_rate(text: str) -> tuple[int, float] | None:
    """``20/10`` -> (20, 10.0); ``off`` -> None. Raises BadSetting."""
    if text == "off":
        return None
    calls, slash, seconds = text.partition("/")
    try:
        parsed = int(calls), float(seconds.removesuffix("s") if slash else "")
    except ValueError:
        raise BadSetting(f"rate_limit is CALLS/SECONDS or off, not {text!r}") from None
    if parsed[0] < 1 or not 0 < parsed[1] < math.inf:
        raise BadSetting(f"rate_limit needs numbers above zero, not {text!r}")
    return parsed


def _checked(name: str, value: Any) -> Any:
    if name not in _TYPES:
        raise BadSetting(f"unknown setting {name!r}; known: {', '.join(sorted(_TYPES))}")
    if name in CHOICES and value not in CHOICES[name]:
        raise BadSetting(f"{name} is one of {', '.join(map(str, CHOICES[name]))}, not {value!r}")
    if name == "rate_limit":
        parse_rate(str(value))
    return _typed(name, str(_TYPES[name]), value)


def _typed(name: str, kind: str, value: Any) -> Any:
    if kind == "bool":
        if not isinstance(value, bool):
            raise BadSetting(f"{name} is true or false, not {value!r}")
        return value
    if kind.startswith("Mapping"):
        return _prices(value)
    if kind == "str" or (value is None and kind.endswith("None")):
        return value
    return _number(name, kind, value)


def _number(name: str, kind: str, value: Any) -> float:
    if not is_number(value) or value < 0 or (name in _POSITIVE and not value):
        raise BadSetting(f"{name} is a number {'above' if name in _POSITIVE else 'of at least'} zero, not {value!r}")
    return int(value) if kind == "int" else float(value)


def _prices(value: Any) -> dict[str, dict[str, float]]:
    if isinstance(value, Mapping) and all(isinstance(modes, Mapping) for modes in value.values()):
        every = [credits for modes in value.values() for credits in modes.values()]
        if all(is_number(credits) and credits >= 0 for credits in every):
            return {model: {mode: float(credits) for mode, credits in modes.items()} for model, modes in value.items()}
    raise BadSetting("prices look like {model: {mode: credits per second}}")
