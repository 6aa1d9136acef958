"""Rules ask for faults: ``{"call", "fault", "times", "skip", "match", …options}``.

The first rule that fits a request is used up by one. Everything here is values in, values out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from motionq_ops.sandbox.faults import FAULTS, HTTP_CALLS, MATCHES, Fault, Rule
from motionq_ops.sandbox.numbers import is_number, is_whole

_FIELDS = ("call", "fault", "times", "skip", "match")
_OPTIONS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "made": ("true or false", lambda value: isinstance(value, bool)),
    "seconds": ("a number of at least zero", lambda value: is_number(value) and value >= 0),
    "copies": ("a whole number from 1", lambda value: is_whole(value) and value >= 1),
    "code": ("a code, as a number or as text", lambda value: is_whole(value) or isinstance(value, str)),
    "msg": ("text", lambda value: isinstance(value, str)),
    "state": ("text", lambda value: isinstance(value, str)),
}


class BadFault(ValueError):
    """A rule names something that does not exist, or has a wrong value; the text says what is right."""


def parse_rules(raw: Any) -> list[Rule]:
    """Read a rule, or a list of rules. Raises BadFault."""
    return [parse_rule(one) for one in (raw if isinstance(raw, list) else [raw])]


def parse_rule(raw: Any) -> Rule:
    """Read one rule; ``call`` may be left out when the fault knows one call alone. Raises BadFault."""
    if not isinstance(raw, Mapping):
        raise BadFault('a rule is like {"call": "createTask", "fault": "drop_after"}')
    fault = FAULTS.get(str(raw.get("fault")))
    if fault is None:
        raise BadFault(f"unknown fault {raw.get('fault')!r}; known: {', '.join(sorted(FAULTS))}")
    return Rule(
        _call(raw, fault),
        fault.name,
        _count(raw, "times", 1),
        _count(raw, "skip", 0) or 0,
        _match(raw.get("match")),
        {**fault.options, **_options(raw, fault)},
    )


def _call(raw: Mapping[str, Any], fault: Fault) -> str:
    call = raw.get("call", fault.calls[0] if fault.calls[0] not in HTTP_CALLS or len(fault.calls) == 1 else None)
    if call is None:
        raise BadFault(f"{fault.name} needs a call: {', '.join(fault.calls)}")
    if call not in fault.calls:
        raise BadFault(f"{fault.name} can't happen to {call!r}; it can to: {', '.join(fault.calls)}")
    return "generation" if "generation" in fault.calls else str(call)


def _count(raw: Mapping[str, Any], name: str, default: int) -> int | None:
    value = raw.get(name, default)
    if value is None and name == "times":
        return None
    if not is_whole(value) or value < default:
        raise BadFault(f"{name} is a whole number from {default}{' or null' if name == 'times' else ''}, not {value!r}")
    return int(value)


def _match(parts: Any) -> dict[str, str]:
    if parts is None:
        return {}
    if not isinstance(parts, Mapping) or not all(isinstance(part, str) for part in parts.values()):
        raise BadFault(f'match is like {{"prompt": "part of it"}}, not {parts!r}')
    _refuse_unknown("match", parts, MATCHES)
    return dict(parts)


def _options(raw: Mapping[str, Any], fault: Fault) -> dict[str, Any]:
    given = {name: value for name, value in raw.items() if name not in _FIELDS}
    _refuse_unknown(f"option of {fault.name}", given, fault.options)
    for name, value in given.items():
        words, fits = _OPTIONS[name]
        may_be_null = fault.options[name] is None
        if not (fits(value) or (may_be_null and value is None)):
            raise BadFault(f"{name} of {fault.name} is {words}{' or null' if may_be_null else ''}, not {value!r}")
    return given


def _refuse_unknown(what: str, given: Iterable[str], known: Iterable[str]) -> None:
    strange = sorted(set(given) - set(known))
    if strange:
        raise BadFault(f"unknown {what}: {', '.join(strange)}; known: {', '.join(sorted(known)) or 'none'}")


class Rules:
    """The rules in force, in the order in which they were given."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []

    def add(self, rules: Iterable[Rule]) -> None:
        """Put rules behind those that are there."""
        self._rules.extend(rules)

    def clear(self) -> None:
        """Drop all rules."""
        self._rules.clear()

    def pending(self) -> list[dict[str, Any]]:
        """Return what is left of the rules, as JSON-ready objects."""
        return [dataclasses.asdict(rule) for rule in self._rules]

    def take(self, call: str, facts: Mapping[str, str]) -> Rule | None:
        """Use up and return the first rule that fits (one that still skips only counts down)."""
        return next((rule for rule in tuple(self._rules) if rule.fits(call, facts) and self._use(rule)), None)

    def take_all(self, call: str, facts: Mapping[str, str]) -> dict[str, Rule]:
        """Use up one rule of every fault that fits, by fault: callback faults can be combined."""
        taken: dict[str, Rule] = {}
        for rule in tuple(self._rules):
            if rule.fault not in taken and rule.fits(call, facts) and self._use(rule):
                taken[rule.fault] = rule
        return taken

    def _use(self, rule: Rule) -> bool:
        index = next(place for place, other in enumerate(self._rules) if other is rule)
        if rule.skip:
            self._rules[index] = dataclasses.replace(rule, skip=rule.skip - 1)
            return False
        if rule.times is not None and rule.times <= 1:
            del self._rules[index]
        elif rule.times is not None:
            self._rules[index] = dataclasses.replace(rule, times=rule.times - 1)
        return True
