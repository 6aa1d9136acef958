"""What a worker refuses when it starts: another pool, and a server that throws records away."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import pairwise

from motionq.contract.connection import reachable
from motionq.contract.durability import NOEVICTION, Keeping, keeping, says_when_it_syncs
from motionq.contract.errors import InvalidSettings, QueueUnavailable
from motionq.contract.states import UNFINISHED
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


_OTHER_VENDOR = (
    "the jobs on the queue's server are for {known}, and KIE_BASE_URL is {host}: no other vendor must answer for them. "
    "Let them end first, or use another MOTIONQ_NAMESPACE; if it is the same account behind another address, delete "
    "the key {key}"
)
_NAMELESS = (
    "the queue's server does not say who it is (INFO server, replication): after a fail-over it can't be told from "
    "another one, and what was armed there may be bought twice"
)
_REWRITES = (
    "the queue's server syncs nothing while it rewrites its file (no-appendfsync-on-rewrite yes): a purchase is then "
    "sent before it is safe; set it to no"
)


def check_pool(pool: str, words: Sequence[str]) -> None:
    """Raises InvalidSettings for another pool than threads. `words`: the command line.

    Celery takes `--pool prefork` for "none was given" and silently runs ours: that is no answer to who asked for it.
    """
    asked = {*words, *map("=".join, pairwise(words))}
    if "thread" not in pool or asked & {"--pool=prefork", "-P=prefork", "-Pprefork"}:
        raise InvalidSettings("only the threads pool is supported: leave out --pool")


def look_at_the_server(store: JobStore, vendor: str) -> bool:
    """Warns of a server that forgets, or does not say whether it does; `vendor`: host of the API that we ask.

    False when it is away (Celery goes on trying): then look again. Raises InvalidSettings for one that evicts, and for
    one with jobs that are meant for another vendor.
    """
    try:
        with reachable():
            found = keeping(store.redis)
            unsaid = bool(found.append_only) and not says_when_it_syncs(store.redis)
            claim_for(store, vendor)
    except QueueUnavailable as error:
        _log.error("%s; trying until it answers", error)
        return False
    if unsaid:
        _log.info(_SYNCS)
    for sentence in judged(found):
        _log.warning("%s", sentence)
    return True


def claim_for(store: JobStore, vendor: str) -> None:
    """The jobs here are for this vendor from now on. Raises InvalidSettings while there are some for another one."""
    key = store.keys.vendor
    known = store.redis.get(key)
    if known not in (None, vendor) and any(store.counts()[state] for state in UNFINISHED):
        raise InvalidSettings(_OTHER_VENDOR.format(known=known, host=vendor, key=key))
    if known != vendor:
        store.redis.set(key, vendor)


def judged(found: Keeping) -> list[str]:
    """A sentence for each thing to warn of. Raises InvalidSettings for a server that no worker may use."""
    if found.policy not in (None, NOEVICTION):
        raise InvalidSettings(_EVICTS.format(policy=found.policy))
    said = [_SILENT.format(name="maxmemory-policy", wanted=NOEVICTION)] if found.policy is None else []
    if found.append_only is None:
        said.append(_SILENT.format(name="appendonly", wanted="yes"))
    if not found.identified:
        said.append(_NAMELESS)
    if found.rewrites_unsynced:
        said.append(_REWRITES)
    return [*said, _FORGETS] if found.append_only is False else said
