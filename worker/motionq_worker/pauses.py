"""Why submission stops for the whole account, for how long, and what opens it again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How one reason is handled; seconds.

    `first` doubles up to `longest` each time the probe meets the same trouble; without `first` the pause ends by itself
    only where `asks` says how often the free credit endpoint is asked.
    """

    first: float | None = None
    longest: float | None = None
    asks: float | None = None


POLICIES: Mapping[str, Policy] = {
    "no_credits": Policy(asks=60.0),  # open when the balance has grown, or is enough for what was refused
    "vendor_unclear": Policy(asks=30.0),  # open to a probe when the vendor answers anything at all
    "vendor_unreachable": Policy(first=5.0, longest=60.0),
    "maintenance": Policy(first=30.0, longest=600.0),
    "rate": Policy(first=10.0, longest=60.0),
    "key_cap": Policy(first=3600.0),
    "feature_disabled": Policy(first=3600.0),
    "key_refused": Policy(),  # until another key is configured, or a person resumes
    "restored": Policy(),
    "operator": Policy(),
}
UNCLEAR_IN_A_ROW = 3


def fingerprint(key: str) -> str:
    """Tells one key from another without showing it."""
    return hashlib.sha256(f"motionq:{key}".encode()).hexdigest()[:12]


def may_probe(reason: str, balance: float, seen: float | None, need: float) -> bool:
    """Whether the balance that the vendor reports lets one job try again.

    `seen` is the balance at the first look after the pause, `need` what the refused job was estimated to cost.
    """
    if reason != "no_credits":
        return True
    enough = need > 0 and balance >= need
    grown = seen is not None and balance > seen
    return enough or grown
