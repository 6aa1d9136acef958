"""The searches: what goes wrong in each, and which rules are taken away one by one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from model.model import Model
from model.rules import Rule, Rules, without
from model.search import Found, search
from model.world import Budget
from motionq.contract.states import MOVES, Purchase, State


def model(*, jobs: int = 1, workers: int = 2, attempts: int = 2, from_ready: bool = True, **given: Any) -> Model:
    """A search's size, and its budget by name."""
    sizes = {name: given.pop(name) for name in ("young", "callbacks", "slots") if name in given}
    return Model(jobs=jobs, workers=workers, attempts=attempts, from_ready=from_ready, budget=Budget(**given), **sizes)


@dataclass(frozen=True)
class Run:
    """A search that must find nothing. `at_least`: its states when it was written, less a third: it must not shrink."""

    model: Model
    at_least: int


# Small enough for every test run: together some 100,000 states.
RUNS: Mapping[str, Run] = {
    "no fault, from the upload on": Run(model(from_ready=False), 3_000),
    "files: bad media, retries, expiry": Run(
        model(from_ready=False, workers=1, attempts=1, invalid=1, retry=1, expire=1), 400
    ),
    "leases that end under a living worker": Run(
        model(from_ready=False, attempts=1, crash=1, stall=1, undelivered=1), 5_000
    ),
    "messages twice, replay": Run(model(attempts=1, double=1, replay=1, undelivered=1), 5_000),
    "crash, no connection": Run(model(attempts=1, crash=1, not_sent=1), 4_600),
    "two generations, crash": Run(model(crash=1, callbacks=False), 1_100),
    "calls made again": Run(model(attempts=1, repeat=1), 2_100),
    "refusals, POSTs that never arrive": Run(model(attempts=1, refuse=1, lost=1), 2_200),
    "vendor lies: 500, and a task was made": Run(model(attempts=1, lie=1), 9_000),
    "vendor lies, refusals": Run(model(attempts=1, workers=1, lie=1, refuse=1), 5_000),
    "vendor lies, two generations": Run(model(workers=1, lie=1), 5_000),
    "vendor lies, power loss": Run(model(attempts=1, workers=1, lie=1, young=1, power=1), 8_000),
    "an earlier task can't be read": Run(model(workers=1, blind=1), 500),
    "a failure turns around, and a callback says so": Run(model(attempts=1, flip=1, again=1), 2_000),
    "no callbacks, attach": Run(model(attempts=1, callbacks=False, attach=1, lost=1), 600),
    "callbacks again, late": Run(model(attempts=1, workers=1, again=1, crash=1), 400),
    "callback of another purchase": Run(model(workers=1, foreign=1), 900),
    "cancel": Run(model(attempts=1, cancel=1, crash=1), 2_200),
    "cancel, called again": Run(model(attempts=1, cancel=1, repeat=1), 4_600),
    "cancel, silent vendor": Run(model(attempts=1, cancel=1, mute=1, attach=1), 5_500),
    "silent vendor, replay": Run(model(attempts=1, mute=1, replay=1), 7_000),
    "replay with consent": Run(model(attempts=1, workers=1, lost=1, consent=1), 2_100),
    "two consents for the same purchase": Run(model(attempts=1, workers=1, callbacks=False, consent=2), 2_000),
    "524, a failure that flips, replay": Run(model(attempts=1, workers=1, t524=1, flip=1, replay=1), 1_900),
    "the same, two generations": Run(model(workers=1, t524=1, flip=1, replay=1, callbacks=False), 1_400),
    "power loss": Run(model(attempts=1, power=1), 7_500),
    "power loss, cancel": Run(model(attempts=1, workers=1, power=1, cancel=1), 3_500),
    "power loss, no connection": Run(model(attempts=1, workers=1, power=1, not_sent=1), 2_800),
    "power loss, a failure that flips": Run(model(workers=1, young=1, power=1, flip=1), 4_400),
    "power loss, a failure that flips, two workers": Run(model(attempts=1, callbacks=False, power=1, flip=1), 2_000),
    "power loss, consent": Run(model(attempts=1, workers=1, young=1, callbacks=False, power=1, consent=1), 2_800),
    "fail-over": Run(model(attempts=1, failover=1, callbacks=False), 1_700),
    "fail-over, callbacks": Run(model(attempts=1, workers=1, failover=1), 1_300),
    "fail-over and fail-back": Run(model(attempts=1, young=1, failover=2, callbacks=False), 4_200),
    "fail-over and power loss": Run(model(attempts=1, workers=1, young=1, failover=1, power=1), 3_000),
    "two jobs, one slot": Run(model(jobs=2, workers=1, attempts=1, callbacks=False), 1_000),
}

# As much as an hour and some gigabytes allow.
LONG_RUNS: Mapping[str, Model] = {
    **{
        f"{name}, two generations": replace(run.model, attempts=2)
        for name, run in RUNS.items()
        if run.model.attempts == 1 and "consent" not in name and run.model.jobs == 1
    },
    "two jobs, a callback of the other's task": model(jobs=2, workers=1, attempts=1, foreign=1),
    "fail-over, two workers": model(attempts=1, failover=1),
    "fail-over and fail-back, callbacks": model(attempts=1, young=1, failover=2),
    "524, a failure that flips, replay, callbacks": model(workers=1, t524=1, flip=1, replay=1),
    "calls made again, no connection": model(attempts=1, repeat=1, not_sent=1),
    "three workers, crash": model(attempts=1, workers=3, crash=1),
    "crash twice": model(attempts=1, crash=2),
    "power loss twice": model(attempts=1, young=2, power=2),
    "power loss, crash": model(attempts=1, power=1, crash=1),
    "power loss, calls made again": model(attempts=1, power=1, repeat=1),
    "power loss, 524": model(attempts=1, power=1, t524=1),
    "power loss, silent vendor, replay": model(attempts=1, young=2, power=1, mute=1, replay=1),
    "fail-over, cancel": model(attempts=1, young=2, failover=1, cancel=1),
    "cancel, replay, consent": model(attempts=1, workers=1, cancel=1, replay=1, consent=1),
    "consent, called again": model(attempts=1, workers=1, consent=1, repeat=1),
    "refusals twice": model(attempts=1, refuse=2),
    "two jobs, two slots, calls made again": model(jobs=2, workers=1, attempts=1, slots=2, repeat=1),
}


@dataclass(frozen=True)
class Mutation:
    """The protocol without a rule, a small search that shows it, and a word of what is then found."""

    rules: Rules
    model: Model
    finds: str

    def search(self) -> Found:
        """What goes wrong."""
        return search(replace(self.model, rules=self.rules))


def _changed(name: str, **fields: Any) -> Rules:
    return without(**{name: fields})


def _without(to: Mapping[State, State], state: State) -> dict[State, State]:
    return {was: then for was, then in to.items() if was is not state}


_ALONE: dict[str, Any] = {"attempts": 1, "workers": 1}
_NO_CALLBACKS: dict[str, Any] = {**_ALONE, "callbacks": False}
_TAKES = MOVES["record_task"]
_GIVES_UP = MOVES["give_up_unknown"].to
_DOUBLED, _OPEN_TWICE, _UNKNOWN = "two purchases at the vendor", "two open purchases", "books do not know"

# What makes each of these moves happen; every one of them must give the slot back.
_FREES: Mapping[str, dict[str, Any]] = {
    "unconnected": {"not_sent": 1},
    "not_sent": {"not_sent": 1},
    "refused": {"refuse": 1},
    "refused_again": {"refuse": 1},
    "refused_later": {"refuse": 1},
    "give_up_unknown": {"lost": 1},
    "give_up_silent": {"mute": 1},
    "paid": {},
    "refunded": {},
    "cancel_armed": {"cancel": 1},
}

MUTATIONS: Mapping[str, Mutation] = {
    # -- fences
    "a task ID goes to the newest purchase": Mutation(
        without(Rule.TASKS_NAME_THE_PURCHASE), model(attempts=1, consent=1), "another one's task"
    ),
    "an answer is booked on the newest purchase": Mutation(
        without(Rule.ANSWERS_NAME_THE_PURCHASE), model(attempts=1, consent=1, refuse=1), "not charged"
    ),
    "a verdict is booked on the newest purchase": Mutation(
        without(Rule.VERDICTS_NAME_THE_TASK), model(callbacks=False), "not charged"
    ),
    "claims are ignored": Mutation(without(Rule.CLAIMS), model(from_ready=False, stall=1), "lost its claim"),
    # -- the server's identity
    "send ignores the server": Mutation(
        without(Rule.SEND_ASKS_FOR_THE_SERVER), model(**_ALONE, power=1), "POSTed twice"
    ),
    "no exit from armed asks for the server": Mutation(
        without(Rule.EXITS_ASK_FOR_THE_SERVER), model(**_ALONE, power=1, cancel=1), "not charged"
    ),
    "who could not connect ignores the server": Mutation(
        _changed("unconnected", other_server=None), model(**_ALONE, power=1, not_sent=1), "not charged"
    ),
    "cancel ignores the server": Mutation(
        _changed("cancel_armed", other_server=None), model(**_ALONE, power=1, cancel=1), "not charged"
    ),
    "follow ignores the server": Mutation(
        without(Rule.FOLLOW_ASKS_FOR_THE_SERVER), model(callbacks=False, young=1, power=1, flip=1), "not charged"
    ),
    "a follow that another server refuses is tried for ever": Mutation(
        without(Rule.REFUSED_FOLLOW_LOOKS_AT_SERVER), model(workers=1, young=1, power=1, flip=1), "no fair way"
    ),
    "nobody ends what another server armed": Mutation(
        _changed("other_server", other_server=None), model(**_ALONE, power=1), "no fair way"
    ),
    "a server can have an old identity again": Mutation(
        without(Rule.IDENTITY_IS_NEW), model(attempts=1, young=1, failover=2), "POSTed twice"
    ),
    # -- durability
    "a purchase is sent before it is on disk": Mutation(
        without(Rule.WAIT_FOR_DISK), model(**_ALONE, power=1), _UNKNOWN
    ),
    "a purchase is sent before replicas have it": Mutation(
        without(Rule.WAIT_FOR_REPLICA), model(**_ALONE, failover=1), _UNKNOWN
    ),
    "a journal line is erased at the first OK": Mutation(
        without(Rule.JOURNAL_UNTIL_DURABLE), model(**_ALONE, power=1), "dropped"
    ),
    # -- purchases
    "send is repeatable by the nonce alone": Mutation(
        without(Rule.SEND_KNOWS_ITS_EXECUTION), model(attempts=1), "POSTed twice"
    ),
    "a purchase is armed while another is open": Mutation(
        Rules(
            moves={**MOVES, "give_up_unknown": replace(MOVES["give_up_unknown"], to={State.SUBMITTING: State.READY})},
            without=frozenset([Rule.ONE_OPEN_PURCHASE]),
        ),
        model(**_NO_CALLBACKS),
        _OPEN_TWICE,
    ),
    "replay looks at the state": Mutation(
        without(Rule.REPLAY_BY_PURCHASES), model(**_NO_CALLBACKS, replay=1), "without consent"
    ),
    "consent does not name purchases": Mutation(
        without(Rule.CONSENT_BY_NONCE), model(**_NO_CALLBACKS, consent=2), "without consent"
    ),
    "a repeated call of the gate hands its nonce out again": Mutation(
        without(Rule.NEW_NONCE), model(**_ALONE, repeat=1, refuse=1), "armed twice"
    ),
    "who never sent is believed after the send": Mutation(
        _changed("unconnected", to={State.ARMED: State.READY, State.SUBMITTING: State.READY}),
        model(attempts=1, not_sent=1),
        "not charged",
    ),
    "a late task ID is refused": Mutation(
        _changed("record_task", to={State.SUBMITTING: State.RUNNING}, books_late=False),
        model(**_ALONE),
        "in hand is fenced",
    ),
    "a stray is left alone": Mutation(
        without(Rule.STRAYS_ARE_FOLLOWED), model(**_ALONE, lie=1), "beside a task that nobody follows"
    ),
    "send does not look for strays": Mutation(
        without(Rule.SEND_LOOKS_FOR_STRAYS), model(**_ALONE, lie=1), "sent beside a task"
    ),
    "a failure that turned around stays booked": Mutation(
        _changed("revived", books={}), model(**_ALONE, flip=1, again=1), "no fair way"
    ),
    "a task of a closed purchase is no stray": Mutation(
        _changed("record_task", books={status: status for status in Purchase}), model(**_ALONE, lie=1), "not charged"
    ),
    "a refusal is believed although the task is known": Mutation(
        _changed("refused_later", has_task=None), model(attempts=1, lie=1), "not charged"
    ),
    "a cancelled job is not healed": Mutation(
        _changed("record_task", to=_without(_TAKES.to, State.CANCELLED), books_late=False),
        model(**_ALONE, cancel=1),
        "in hand is fenced",
    ),
    # -- readings
    "a named task is not verified": Mutation(
        without(Rule.CANDIDATES_ARE_VERIFIED), model(**_ALONE, jobs=2, slots=2, foreign=1), "another one's task"
    ),
    "a 524 is believed at the first look": Mutation(
        without(Rule.LOOK_TWICE_AT_524), model(**_ALONE, t524=1), "not charged"
    ),
    "nobody looks before buying again": Mutation(
        without(Rule.LOOK_BEFORE_BUYING_AGAIN), model(workers=1, flip=1), _DOUBLED
    ),
    "a refund is booked whatever the books say": Mutation(
        _changed("book_refund", newest=None),
        model(attempts=1, callbacks=False, power=1, flip=1),
        "verdict on another purchase",
    ),
    "a looked-at candidate stays": Mutation(
        _changed("drop_candidate", settles_candidate=False), model(**_ALONE, again=1), "no fair way"
    ),
    "whatever is named by now is dropped": Mutation(
        without(Rule.DROPS_NAME_THE_TASK), model(foreign=1), "dropped unseen"
    ),
    "a known task that is named again stays": Mutation(
        without(Rule.KNOWN_NAMES_ARE_DROPPED), model(**_ALONE, again=1), "no fair way"
    ),
    # -- sets, slots, ends
    "a callback sets an alarm": Mutation(without(Rule.CALLBACKS_TOUCH_NO_ALARM), model(**_ALONE), "in the sets"),
    "the gate counts no slots": Mutation(without(Rule.CAP), model(**_ALONE, jobs=2), "slots are taken"),
    "cancelling ends only with a verdict": Mutation(
        _changed("give_up_unknown", to=_without(_GIVES_UP, State.CANCELLING)),
        model(**_ALONE, cancel=1, lost=1),
        "no fair way",
    ),
    "nobody gives up": Mutation(_changed("give_up_unknown", to={}), model(**_ALONE, lost=1), "no fair way"),
    "silence has no end": Mutation(_changed("give_up_silent", to={}), model(**_ALONE, mute=1), "no fair way"),
    **{
        f"{name} keeps its slot": Mutation(_changed(name, frees_slot=False), model(**_ALONE, **budget), "keeps a slot")
        for name, budget in _FREES.items()
    },
}
