"""What the doctor says: findings, and the exit code of the worst."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import IntEnum, StrEnum
from typing import Any

from motionq.output import Code


class Level(StrEnum):
    """How bad a finding is, the harmless one first."""

    OK = "ok"
    WARNING = "warning"  # it works, and something is worse than it should be
    ERROR = "error"  # jobs wait or fail, or money is at risk


class Exit(IntEnum):
    """The exit codes of `motionq doctor`, beside those that every verb has."""

    OK = Code.DONE
    ERROR = Code.FAILED
    UNREACHABLE = Code.UNREACHABLE
    WARNING = 6  # no error, but a warning


SERVER_AWAY = "unreachable"  # the finding that ends with Exit.UNREACHABLE


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One answer. `value` was found where `limit` should be; `why` it matters, `mend` a command or a setting.

    `kind` is for the exit code alone.
    """

    check: str
    level: Level
    what: str
    value: object = None
    limit: object = None
    why: str = ""
    mend: str = ""
    kind: str = ""

    def to_json(self) -> dict[str, Any]:
        """The object of `--json`: every key is always there, absent values are null."""
        return {name: None if value == "" else value for name, value in asdict(self).items() if name != "kind"}


def ok(check: str, what: str, **more: Any) -> Finding:
    """All is well."""
    return Finding(check=check, level=Level.OK, what=what, **more)


def warning(check: str, what: str, **more: Any) -> Finding:
    """It works, and something is worse than it should be."""
    return Finding(check=check, level=Level.WARNING, what=what, **more)


def error(check: str, what: str, **more: Any) -> Finding:
    """Jobs wait or fail, or money is at risk."""
    return Finding(check=check, level=Level.ERROR, what=what, **more)


def worst(findings: Iterable[Finding]) -> Level:
    """The level of the worst finding."""
    order = list(Level)
    return max((finding.level for finding in findings), key=order.index, default=Level.OK)


def exit_code(findings: Iterable[Finding]) -> Exit:
    """0 all is well, 6 a warning, 1 an error, 5 the queue's server can't be reached."""
    all_of_them = list(findings)
    if any(finding.kind == SERVER_AWAY for finding in all_of_them):
        return Exit.UNREACHABLE
    return {Level.OK: Exit.OK, Level.WARNING: Exit.WARNING, Level.ERROR: Exit.ERROR}[worst(all_of_them)]
