"""Ctrl+C, SIGTERM and SIGHUP end a stack in order."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(BaseException):
    """Somebody asked the stack to end; raised once, wherever the main thread is."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _heeded() -> tuple[signal.Signals, ...]:
    """The signals that end a stack; under nohup the end of the terminal does not."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return _SIGNALS[:2] if ignored else _SIGNALS


@contextmanager
def stops_on_signals() -> Iterator[None]:
    """Raise `Stopped` in the main thread at the first signal; later ones change nothing.

    A signal between the birth of a child and its being noted down loses nothing: children are on a leash (leash.py).
    """
    asked = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if not asked:
            asked = True
            raise Stopped(number)

    before = {number: signal.signal(number, handle) for number in _heeded()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
