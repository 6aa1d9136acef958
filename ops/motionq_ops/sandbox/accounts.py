"""Accounts: who holds which key, what they own, and how often they may create."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Account:
    """One account. Credits are floats; held at the order, given back in full when the task fails."""

    id: str
    balance: float
    held: float = 0.0
    charged: float = 0.0
    refunded: float = 0.0
    created: list[str] = field(default_factory=list)
    window: deque[float] = field(default_factory=deque)

    def hold(self, credits: float) -> bool:
        """Take credits for a task; False when there are not enough."""
        if credits > self.balance:
            return False
        self.balance -= credits
        self.held += credits
        self.charged += credits
        return True

    def give_back(self, credits: float) -> None:
        """Refund a failed task's hold."""
        self.held -= credits
        self.balance += credits
        self.refunded += credits

    def burn(self, credits: float) -> None:
        """Turn a hold into a payment."""
        self.held -= credits

    def charge_again(self, credits: float) -> None:
        """Take a refund back (a 524 that became a success); the balance may fall below zero."""
        self.balance -= credits
        self.charged += credits

    def correct(self, difference: float) -> None:
        """Raise (or lower) what is held for a task, once its real length is known."""
        self.balance -= difference
        self.held += difference
        self.charged += difference


def admit(window: deque[float], arrival: float, limit: tuple[int, float] | None) -> bool:
    """Return whether one more call fits the sliding window; a refused call takes no place in it.

    ``arrival`` is on the wall clock (monotonic seconds).
    """
    if limit is None:
        return True
    calls, seconds = limit
    while window and window[0] <= arrival - seconds:
        window.popleft()
    if len(window) >= calls:
        return False
    window.append(arrival)
    return True


def most_in_window(arrivals: Sequence[float], seconds: float) -> int:
    """Return the largest number of arrivals (ascending) inside any half-open window of that length."""
    most = first = 0
    for last, arrival in enumerate(arrivals):
        while arrivals[first] <= arrival - seconds:
            first += 1
        most = max(most, last - first + 1)
    return most
