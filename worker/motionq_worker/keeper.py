"""The one helper of this process: started with the first file, replaced when it is gone, ended with the process.

A forked process starts its own.
"""

from __future__ import annotations

import atexit
import os
import threading

from motionq_worker.helper import Ended, Helper


class Keeper:
    """Has a helper whenever one is asked."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._helper: Helper | None = None

    def ask(self, request: bytes, seconds: float) -> Ended:
        """Have one file decoded, as `Helper.ask`. A helper that is gone is replaced, once."""
        code = 0
        for _ in range(2):  # it may have been killed for want of memory, which says nothing about the file
            helper = self.current()
            if ended := helper.ask(request, seconds):
                return ended
            code = self._drop(helper)
        return Ended(b"", code)

    def current(self) -> Helper:
        """The helper, started if there is none."""
        with self.lock:
            if self._helper is None:
                self._helper = Helper()
            return self._helper

    def close(self) -> None:
        """End the helper, if there is one."""
        if self._helper:
            self._drop(self._helper)

    def forget(self) -> None:
        """In a forked process."""
        if self._helper:
            self._helper.forget()
            self._helper = None

    def _drop(self, helper: Helper) -> int:
        with self.lock:
            if self._helper is helper:
                self._helper = None
        return helper.close()


keeper = Keeper()
atexit.register(keeper.close)


def _after_fork() -> None:
    keeper.forget()
    keeper.lock.release()


if hasattr(os, "register_at_fork"):
    # With the lock held nobody is about to start a helper, whose socket the forked process would have without knowing.
    os.register_at_fork(before=keeper.lock.acquire, after_in_parent=keeper.lock.release, after_in_child=_after_fork)
