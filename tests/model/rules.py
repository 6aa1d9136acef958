"""The rules of the protocol that are no data, each of which a search can do without, to show that it is needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from motionq.contract.states import MOVES, Move


class Rule(StrEnum):
    """A rule beside the table of moves."""

    ANSWERS_NAME_THE_PURCHASE = "answers are booked on the purchase they are about"
    TASKS_NAME_THE_PURCHASE = "a task ID is recorded on the purchase it is about"
    VERDICTS_NAME_THE_TASK = "a verdict is booked on the purchase and task that was read"
    CLAIMS = "a write of a claim needs the claim"
    SEND_ASKS_FOR_THE_SERVER = "send compares the server's identity inside its call"
    EXITS_ASK_FOR_THE_SERVER = "who leaves `armed` compares the server's identity inside the call"
    FOLLOW_ASKS_FOR_THE_SERVER = "follow compares the server's identity inside its call"
    REFUSED_FOLLOW_LOOKS_AT_SERVER = "a follow that is refused looks whether another server armed the job"
    IDENTITY_IS_NEW = "no server ever has an identity again"
    WAIT_FOR_DISK = "a purchase is sent only when it is on disk"
    WAIT_FOR_REPLICA = "a purchase is sent only when replicas have it"
    SEND_KNOWS_ITS_EXECUTION = "a repeated send is success for its own execution only"
    ONE_OPEN_PURCHASE = "no purchase is armed while another one is open"
    NEW_NONCE = "a nonce names the call, the job and the number of its purchases, and is never armed again"
    CAP = "no more jobs are armed than there are slots"
    REPLAY_BY_PURCHASES = "replay looks at the purchases"
    CONSENT_BY_NONCE = "consent speaks of the purchases that were shown"
    JOURNAL_UNTIL_DURABLE = "a journal line stays until the record is durable"
    CANDIDATES_ARE_VERIFIED = "a named task is recorded only if it is the purchase's own"
    DROPS_NAME_THE_TASK = "only the named task that was looked at is dropped"
    KNOWN_NAMES_ARE_DROPPED = "a named task that is on record already is dropped once it was looked at"
    STRAYS_ARE_FOLLOWED = "a job follows a task that was named late, before it rests or buys again"
    SEND_LOOKS_FOR_STRAYS = "nothing is sent beside a task that nobody has followed"
    CALLBACKS_TOUCH_NO_ALARM = "a callback stores a candidate and nothing else"
    LOOK_TWICE_AT_524 = "a 524 counts only when it is read again later"
    LOOK_BEFORE_BUYING_AGAIN = "the earlier task is looked at before another is bought"


@dataclass(frozen=True)
class Rules:
    """The table of moves, and the rules that hold."""

    moves: Mapping[str, Move] = field(default_factory=lambda: MOVES)
    without: frozenset[Rule] = frozenset()

    def hold(self, rule: Rule) -> bool:
        """Whether this rule holds here."""
        return rule not in self.without


def without(*rules: Rule, **moves: dict[str, Any]) -> Rules:
    """The protocol without these rules, and with these moves changed (name of the move: its changed fields)."""
    changed = {name: replace(MOVES[name], **fields) for name, fields in moves.items()}
    return Rules(moves={**MOVES, **changed}, without=frozenset(rules))
