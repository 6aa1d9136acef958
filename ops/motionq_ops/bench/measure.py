"""What a process takes: memory and processor time, read from /proc (Linux; see proc(5))."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from motionq.contract.errors import MotionQueueError

SAMPLE_SECONDS = 0.02
_BELOW_EVERY = 5  # samples: finding descendants means reading every process of the machine
_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


class CannotMeasure(MotionQueueError):
    """This system does not tell what a process takes."""

    kind = "cannot_measure"


@dataclass(frozen=True, kw_only=True)
class Usage:
    """A process at one moment.

    `rss`: resident bytes now; `peak`: the most since its start or the last `forget_peak`; `cpu`: processor seconds of
    its own so far; `children_cpu`: those of its children that have ended.
    """

    rss: int
    peak: int
    cpu: float
    children_cpu: float


def need_proc() -> None:
    """Raises CannotMeasure where there is no /proc."""
    if not (_PROC / "self" / "status").exists():
        raise CannotMeasure("memory is read from /proc, which only Linux has")


def usage(pid: int) -> Usage:
    """What a living process takes. Raises OSError when it is gone."""
    memory, times = _memory(pid), _stat(pid)
    own, children = int(times[11]) + int(times[12]), int(times[13]) + int(times[14])
    return Usage(rss=memory["VmRSS"], peak=memory["VmHWM"], cpu=own / _TICKS, children_cpu=children / _TICKS)


def forget_peak(pid: int) -> bool:
    """Let `peak` begin again at what the process has now; False where the kernel does not allow it."""
    try:
        (_PROC / str(pid) / "clear_refs").write_text("5")
    except OSError:
        return False
    return True


def children(pid: int) -> list[int]:
    """The process IDs of its living children."""
    return [child for child, parent in _parents().items() if parent == pid]


def descendants(pid: int) -> list[int]:
    """Those of its living children, of their children, and so on."""
    parents, found, generation = _parents(), list[int](), [pid]
    while generation:
        generation = [child for child, parent in parents.items() if parent in generation]
        found += generation
    return found


def tree_cpu(pid: int) -> float:
    """Processor seconds of a process and all its descendants so far."""
    return usage(pid).cpu + descendants_cpu(pid)


def descendants_cpu(pid: int) -> float:
    """Those of its descendants alone, of living ones and of those that were waited for."""
    found = usage(pid).children_cpu
    for below in descendants(pid):
        with suppress(OSError):  # it ended meanwhile: the next time it counts
            now = usage(below)
            found += now.cpu + now.children_cpu
    return found


def _parents() -> dict[int, int]:
    """Process ID → its parent's, of every process of the machine."""
    found = {}
    for entry in _PROC.iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):  # it ended meanwhile
                found[int(entry.name)] = int(_stat(int(entry.name))[1])
    return found


def _memory(pid: int) -> dict[str, int]:
    """VmRSS and VmHWM in bytes; 0 for a process that is just ending."""
    found = {"VmRSS": 0, "VmHWM": 0}
    for line in (_PROC / str(pid) / "status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in found:
            found[name] = int(value.split()[0]) * 1024
    return found


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third (state) on: the second, its name, may hold spaces."""
    return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()


class Watch:
    """Samples a process and its descendants inside a `with`; afterwards `peak` and `below_peak` are the most bytes.

    Where the kernel lets the process' own high-water mark begin again, `peak` is that mark, so that nothing between
    two samples is missed. `below_peak` is the most that any one descendant was seen to take, `below_cpu` what all of
    them took in processor seconds; `samples` how many there were.
    """

    def __init__(self, pid: int) -> None:
        self.peak = self.below_peak = self.samples = 0
        self.below_cpu = 0.0
        self.exact = False
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bench-watch", daemon=True)

    def __enter__(self) -> Self:
        self.exact = forget_peak(self._pid)
        self.before = self.after = usage(self._pid)
        self._below = descendants_cpu(self._pid)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        with suppress(OSError):  # it is gone, which the block itself has noticed
            self.after = usage(self._pid)
            self.below_cpu = descendants_cpu(self._pid) - self._below
        if self.exact:
            self.peak = max(self.peak, self.after.peak)

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            with suppress(OSError):
                self.peak = max(self.peak, _memory(self._pid)["VmRSS"])
                if self.samples % _BELOW_EVERY == 0:
                    self._look_below()
            self.samples += 1

    def _look_below(self) -> None:
        for pid in descendants(self._pid):
            with suppress(OSError):
                self.below_peak = max(self.below_peak, _memory(pid)["VmRSS"])
