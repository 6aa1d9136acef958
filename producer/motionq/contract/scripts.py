"""The Lua scripts, each with the shared part before it and the tables of keys and states as its first argument."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from redis import Redis
from redis.client import Pipeline

from motionq.contract.job import EVENTS_KEPT, SCHEMA_VERSION
from motionq.contract.keys import ENDS_KEPT, SPAN, Keys
from motionq.contract.states import COSTS, FINAL, HOMES, RESTS

NAMES = (
    "create",
    "move",
    "claim",
    "admit",
    "send",
    "tick",
    "forget",
    "pause",
    "resume",
    "amend",
    "candidate",
    "candidates",
    "replay",
    "follow",
    "learn",
    "mend",
    "mend_slots",
    "recount",
    "checks",
    "waiting",
    "may_read",
    "still",
)
OPEN_PURCHASE_TTL = 60 * 86400.0  # seconds; a record with an open or written-off purchase lives at least this long


class Scripts:
    """The scripts bound to one connection pool and one namespace."""

    def __init__(self, redis: Redis, keys: Keys, *, job_ttl: float, rate_window: float) -> None:
        folder = files("motionq.contract") / "lua"
        shared = (folder / "lib.lua").read_text(encoding="utf-8")
        self._scripts = {
            name: redis.register_script(f"{shared}\n{(folder / f'{name}.lua').read_text(encoding='utf-8')}")
            for name in NAMES
        }
        self._constants = json.dumps(
            {
                "schema": SCHEMA_VERSION,
                "keys": keys.for_lua(),
                "homes": HOMES,
                "final": FINAL,
                "rests": RESTS,
                "costs": dict.fromkeys(COSTS, True),
                "ttl": int(job_ttl * 1000),
                "ttl_open": int(max(job_ttl, OPEN_PURCHASE_TTL) * 1000),
                "rate_window": int(rate_window * 1000),
                "events": EVENTS_KEPT,
                "ends": {"span": SPAN, "kept": ENDS_KEPT},
            }
        )

    def run(self, name: str, argument: dict[str, Any], pipeline: Pipeline | None = None) -> Any:
        """Call a script; absent values must be left out of `argument`, since JSON null is true in Lua."""
        present = {key: value for key, value in argument.items() if value is not None}
        return self._scripts[name](args=[self._constants, json.dumps(present)], client=pipeline)
