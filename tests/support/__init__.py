"""What tests share: waiting on a condition, never on the clock."""

from support.waiting import eventually

__all__ = ["eventually"]
