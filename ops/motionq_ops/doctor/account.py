"""The key of the account and what it has left, by the vendor's free credit endpoint."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from motionq.contract.models import MODELS
from motionq.contract.settings import Settings
from motionq_ops.doctor.findings import Finding, error, ok, warning
from motionq_worker.kie.client import KieClient
from motionq_worker.kie.errors import KeyRefused, KieFault
from motionq_worker.settings import account

DEAREST = max(  # credits of the longest generation of the dearest model and mode
    max(model.credits_per_second.values()) * longest
    for model in MODELS.values()
    for _, longest in model.seconds.values()
)


@dataclass(frozen=True, kw_only=True)
class AccountFacts:
    """`balance` in credits; None with a `fault`, or without a key."""

    has_key: bool
    balance: float | None = None
    fault: str = ""
    refused: bool = False


def look_at_account(settings: Settings) -> AccountFacts:
    """Asks once; nothing is bought."""
    if settings.kie_api_key is None:
        return AccountFacts(has_key=False)
    try:
        with closing(KieClient(account(settings))) as client:
            return AccountFacts(has_key=True, balance=client.credits())
    except KieFault as fault:
        return AccountFacts(has_key=True, fault=str(fault), refused=isinstance(fault, KeyRefused))
    except ValueError as fault:  # a key that can't be sent
        return AccountFacts(has_key=True, fault=str(fault), refused=True)


def judge_account(facts: AccountFacts) -> Finding:
    """Key and balance."""
    if not facts.has_key:
        why = "workers refuse to start without it"
        return error("account", "KIE_API_KEY is not set", why=why, mend="set KIE_API_KEY, or KIE_API_KEY_FILE")
    if facts.refused:
        return error(
            "account",
            facts.fault,
            why="nothing is bought: the gate closes with key_refused",
            mend="make a key at https://kie.ai, set KIE_API_KEY, and restart the workers",
        )
    if facts.balance is None:
        why = "without its answer neither the key nor the credits are known"
        return error("account", facts.fault, why=why, mend="see the findings about the vendor's hosts, and try again")
    more = {"value": facts.balance, "limit": DEAREST, "mend": "buy credits at https://kie.ai"}
    what = f"{facts.balance:,.10g} credits left"
    if facts.balance <= 0:
        return error("account", what, why="nothing is bought: jobs wait until there are credits", **more)
    if facts.balance < DEAREST:
        why = f"the longest generation costs up to {DEAREST:,.10g}; without enough credits the gate closes"
        return warning("account", what, why=why, **more)
    return ok("account", f"the key is good, {what}", value=facts.balance)
