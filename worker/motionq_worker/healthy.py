"""`python -m motionq_worker.healthy [URL [WORDS]]`: is this container's worker alive, or does URL answer (with WORDS)?

A worker lives while its clock ticks, and the clock ticks while the queue's server answers it. Each tick leaves a file
behind (scratch.py), so that the check connects to nothing, needs no secret, and takes 0.1 s: it imports nothing big.
"""

from __future__ import annotations

import sys
import time
import urllib.request

from motionq_worker import scratch

OLD = 60.0  # seconds; a tick comes every 2 s at least, and may once wait that long for a slow server or vendor
_PATIENCE = 4.0  # seconds for an answer
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def main(arguments: list[str]) -> int:
    """0 if it is; else 1, and one line on stderr."""
    fault = _answers(*arguments) if arguments else verdict(scratch.ticks(), time.time())
    if fault:
        print(f"motionq: {fault}", file=sys.stderr)
    return 1 if fault else 0


def verdict(ticks: dict[int, float | None], now: float) -> str | None:
    """What is wrong with the workers: process ID → moment of the last tick (None: not yet), seconds since the epoch."""
    if not ticks:
        return "no worker runs here"
    for pid, tick in sorted(ticks.items()):
        if tick is None:
            return f"the worker with process ID {pid} has not ticked yet"
        if now - tick > OLD:
            return f"the last tick of the worker with process ID {pid} is {now - tick:.0f} s old"
    return None


def _answers(url: str, words: str = "") -> str | None:
    try:
        with _DIRECT.open(url, timeout=_PATIENCE) as answer:  # of 400 and above raises
            said = answer.read().decode(errors="replace")
    except OSError as error:
        return f"{url} does not answer: {error}"
    return None if words in said else f"{url} answers, and does not say `{words}`"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
