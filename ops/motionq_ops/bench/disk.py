"""Counts what a worker does to the disk, from outside: the calls of the operating system are wrapped, not the product.

`watch` is called in a worker's process before its program starts. A boundary's name is what is done to what:
`sync line`, `rename line`, `sync folder`, `sync result`, `rename result`, `erase line` (a line: of the journal).
"""

from __future__ import annotations

import os
import signal
import stat
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

_LINE = 1000  # bytes; a line of the journal has some 150, a video always more


def watch(*, folder: str, log: str = "", boundary: str = "", moment: str = "") -> None:
    """Every boundary in `folder` is a line in the file `log`; at `boundary` (`NAME#N`), SIGKILL `moment` it.

    `moment`: before | after the call.
    """
    guard = _Guard(log, boundary, moment)
    root = folder.rstrip("/") + "/"

    def ours(path: Any) -> bool:
        return os.fspath(path).startswith(root) if isinstance(path, str | os.PathLike) else False

    def renamed(source: Any, target: Any, **_: Any) -> str | None:
        if not ours(target):
            return None
        return "rename line" if os.fspath(target).endswith(".json") else "rename result"

    def erased(path: Any, **_: Any) -> str | None:
        return "erase line" if ours(path) and os.fspath(path).endswith(".json") else None

    def synced(handle: int) -> str:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            return "sync folder"
        return "sync line" if os.fstat(handle).st_size < _LINE else "sync result"

    os.fsync = guard.around(os.fsync, synced)
    os.replace = guard.around(os.replace, renamed)
    os.rename = guard.around(os.rename, renamed)
    os.unlink = guard.around(os.unlink, erased)


class _Guard:
    """Counts the calls, and ends this process at one of them."""

    def __init__(self, log: str, boundary: str, moment: str) -> None:
        self._log = log
        self._boundary = boundary
        self._moment = moment
        self._seen: Counter[str] = Counter()

    def around(self, call: Callable[..., Any], name: Callable[..., str | None]) -> Callable[..., Any]:
        """The call, with a look before and after it."""

        def guarded(*arguments: Any, **options: Any) -> Any:
            label = name(*arguments, **options)
            if label is None:
                return call(*arguments, **options)
            self._seen[label] += 1
            here = f"{label}#{self._seen[label]}"
            self._at(here, "before")
            answer = call(*arguments, **options)
            self._note(here)
            self._at(here, "after")
            return answer

        return guarded

    def _at(self, here: str, moment: str) -> None:
        if (here, moment) == (self._boundary, self._moment):
            os.kill(os.getpid(), signal.SIGKILL)

    def _note(self, here: str) -> None:
        if self._log:
            with Path(self._log).open("a", encoding="utf-8") as file:
                file.write(here + "\n")
