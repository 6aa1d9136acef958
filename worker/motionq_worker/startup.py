"""What a worker refuses when it starts: another pool, and a server that throws records away."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import pairwise

from motionq.contract.connection import reachable
from motionq.contract.durability import NOEVICTION, Keeping, keeping, says_when_it_syncs
from motionq.contract.errors import InvalidSettings, QueueUnavailable
from motionq.contract.store import JobStore

_log = logging.getLogger(__name__)

_EVICTS = (
    "the queue's server throws records away when its memory is full (maxmemory-policy is {policy}), and with them what "
    "was bought: set `maxmemory-policy noeviction`"
)
_FORGETS = (
    "the queue's server keeps no append-only file: after a restart it may not know what was bought, and buy it again; "
    "set `appendonly yes`"
)
_SYNCS = (
    "the queue's server does not say when it writes to its disk (CONFIG GET is not permitted): it counts as "
    "`appendfsync everysec`, so that each purchase waits 2.1 s"
)
_SILENT = "the queue's server does not say what its {name} is: it must be `{wanted}`"


def check_pool(pool: str, words: Sequence[str]) -> None:
    """Raises InvalidSettings for another pool than threads. `words`: the command line.

    Celery takes `--pool prefork` for "none was given" and silently runs ours: that is no answer to who asked for it.
    """
    asked = {*words, *map("=".join, pairwise(words))}
    if "thread" not in pool or asked & {"--pool=prefork", "-P=prefork", "-Pprefork"}:
        raise InvalidSettings("only the threads pool is supported: leave out --pool")


def look_at_the_server(store: JobStore) -> bool:
    """Warns of a server that forgets, or does not say whether it does.

    False when it is away (Celery goes on trying): then look again. Raises InvalidSettings for one that evicts.
    """
    try:
        with reachable():
            found = keeping(store.redis)
            unsaid = bool(found.append_only) and not says_when_it_syncs(store.redis)
    except QueueUnavailable as error:
        _log.error("%s; trying until it answers", error)
        return False
    if unsaid:
        _log.info(_SYNCS)
    for sentence in judged(found):
        _log.warning("%s", sentence)
    return True


def judged(found: Keeping) -> list[str]:
    """A sentence for each thing to warn of. Raises InvalidSettings for a server that no worker may use."""
    if found.policy not in (None, NOEVICTION):
        raise InvalidSettings(_EVICTS.format(policy=found.policy))
    said = [_SILENT.format(name="maxmemory-policy", wanted=NOEVICTION)] if found.policy is None else []
    if found.append_only is None:
        said.append(_SILENT.format(name="appendonly", wanted="yes"))
    return [*said, _FORGETS] if found.append_only is False else said
