"""The ledger: what was asked, when, by whom, with which end. Never a key."""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from motionq_ops.sandbox.accounts import Account, most_in_window
from motionq_ops.sandbox.clock import iso_ms

_FREQUENT = ("recordInfo", "credit", "result", "uploadedFile")
_KEPT_OF_FREQUENT = 10_000


@dataclass(slots=True)
class Entry:
    """One request to the sandbox, or one callback by it. ``arrival``: wall-clock (monotonic) seconds."""

    call: str
    arrival: float
    account: str | None = None
    port: int | None = None
    code: int | None = None
    http: int | None = None
    task_id: str | None = None
    fault: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    at_ms: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return the entry as it stands in the ledger."""
        return {
            "at": iso_ms(self.at_ms),
            "arrival": self.arrival,
            "call": self.call,
            "account": self.account,
            "port": self.port,
            "code": self.code,
            "http": self.http,
            "taskId": self.task_id,
            "fault": self.fault,
            **self.facts,
        }


class Ledger:
    """Every createTask, upload and callback; the last 10,000 of the frequent calls (all of them are counted)."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._frequent: deque[Entry] = deque(maxlen=_KEPT_OF_FREQUENT)
        self._calls: Counter[str] = Counter()

    def add(self, entry: Entry) -> None:
        """Write one line."""
        self._calls[entry.call] += 1
        (self._frequent if entry.call in _FREQUENT else self._entries).append(entry)

    def clear(self) -> None:
        """Begin a new book."""
        self._entries.clear()
        self._frequent.clear()
        self._calls.clear()

    def entries(self, call: str | None = None) -> list[dict[str, Any]]:
        """Return the lines in order of arrival; of one call only, if named."""
        both = itertools.chain(self._entries, self._frequent)
        lines = [entry for entry in both if call in (None, entry.call)]
        return [entry.as_json() for entry in sorted(lines, key=lambda entry: entry.arrival)]

    def summary(self, accounts: Iterable[Account], tasks: Iterable[Any], window: float) -> dict[str, Any]:
        """Return the totals; ``window`` is the length in seconds of the create window that is searched."""
        creates = [entry for entry in self._entries if entry.call == "createTask"]
        owners = list(accounts)
        return {
            "creates_asked": len(creates),
            "tasks_made": sum(1 for _ in tasks),
            "max_creates_in_window": max((_most(creates, owner.id, window) for owner in owners), default=0),
            "window_seconds": window,
            "calls": dict(self._calls),
            "charged": sum(owner.charged for owner in owners),
            "refunded": sum(owner.refunded for owner in owners),
            "held": sum(owner.held for owner in owners),
            "burnt": sum(owner.charged - owner.refunded - owner.held for owner in owners),
            "balance": {owner.id: owner.balance for owner in owners},
            "uploads": [_upload(entry) for entry in self._entries if entry.call == "upload"],
        }


def _most(creates: Iterable[Entry], account: str, window: float) -> int:
    return most_in_window(sorted(entry.arrival for entry in creates if entry.account == account), window)


def _upload(entry: Entry) -> dict[str, Any]:
    return {name: entry.facts.get(name) for name in ("fileName", "filePath", "bytes", "sha256")} | {"code": entry.code}
