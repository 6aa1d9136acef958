"""The gate while it is paused, and half-open: one probe tries, and the vendor's answer to it decides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, cast

import pytest

from motionq.contract.durability import EVERYSEC
from motionq.contract.states import Purchase, State
from motionq_worker.decisions import Pause
from motionq_worker.prober import Prober
from motionq_worker.settings import submit_lease
from support.life import Life, life
from support.lines import armed, new, ready

pytestmark = pytest.mark.redis_server


@pytest.fixture
def lived(redis_url: str, namespace: str) -> Iterator[Life]:
    """Jobs in a namespace of their own; 5 slots, 20 armed at once."""
    with life(redis_url, namespace, max_in_flight=5, submit_rate=(20, 10.0), kie_api_key="key") as jobs:
        yield jobs


def _reason(lived: Life) -> str | None:
    return (lived.store.paused() or {}).get("reason")


def _lasts(lived: Life) -> int:
    """How long the pause on record is, in ms; below 0: until somebody resumes."""
    paused = lived.store.paused() or {}
    return int(paused["until"]) - int(paused["since"])


def _half_open(lived: Life) -> None:
    """The pause on record is over."""
    lived.redis.hset(lived.keys.gate, "until", lived.store.now() - 1)


def _probe(lived: Life) -> str:
    """The pause is over, and one job has been let through."""
    _half_open(lived)
    before = set(armed(lived))
    assert lived.arm() == 1
    (probe,) = set(armed(lived)) - before
    return probe


# -- closed -------------------------------------------------------------------------------------------------------


def test_a_paused_gate_admits_nothing(lived: Life) -> None:
    """No job is armed while the gate is paused; people can read why, since when and until when."""
    ready(lived, new("j1"))
    lived.store.pause("maintenance", "back soon", seconds=60)

    assert lived.gate.admit("w") == 0

    paused = lived.store.paused()
    assert paused is not None
    assert (paused["reason"], paused["message"], _lasts(lived)) == ("maintenance", "back soon", 60_000)
    assert 0 <= lived.store.now() - int(paused["since"]) < 10_000
    assert lived.store.get("j1").state is State.READY


def test_resuming_opens_the_gate(lived: Life) -> None:
    """A pause without an end holds until somebody resumes; what was counted as unclear is forgotten with it."""
    ready(lived, new("j1"))
    lived.store.pause("operator", "maintenance")
    lived.redis.set(lived.keys.unclear, 2)

    assert lived.gate.admit("w") == 0
    assert (lived.store.paused() or {})["until"] == "0"
    lived.store.resume()
    assert not lived.redis.exists(lived.keys.gate, lived.keys.unclear)
    assert lived.gate.admit("w") == 1


def test_a_gate_closed_as_restored_is_opened_on_purpose_alone(lived: Life) -> None:
    """The pause and resume of a routine leave it closed, for purchases may be missing; who has looked says so."""
    ready(lived, new("j1"))
    lived.store.pause("restored", "the records are older")
    for reason, seconds in (("operator", None), ("maintenance", 60.0), ("no_credits", None)):
        lived.store.pause(reason, "restarting the server", seconds=seconds)
        assert _reason(lived) == "restored"

    assert not lived.store.resume()
    assert (lived.gate.admit("w"), _reason(lived)) == (0, "restored")

    assert lived.store.resume(restored=True)
    assert lived.gate.admit("w") == 1


class Account:
    """kie.ai's account, at which something happens while it is asked."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        self.meanwhile = meanwhile

    def credits(self) -> float:
        """More than enough."""
        self.meanwhile()
        return 1000.0


@pytest.mark.parametrize("by", ["operator", "restored", ""])
def test_what_a_worker_learns_is_about_the_pause_that_it_asked_for(lived: Life, by: str) -> None:
    """Credits are back, and a person has closed the gate (or opened it) meanwhile: that stays as it is."""

    def a_person_acts() -> None:
        if by:
            lived.store.pause(by, "wait for me")
        else:
            lived.store.resume()

    lived.store.pause("no_credits", "", key="k1")
    lived.redis.hset(lived.keys.gate, "balance", "1")
    prober = Prober(lived.store, cast("Any", Account(a_person_acts)), "k1")
    prober.look()
    prober.close()

    found = lived.redis.hgetall(lived.keys.gate)
    assert (found.get("reason"), found.get("until")) == ((by, "0") if by else (None, None))
    assert (found == {}) is not bool(by)


def test_another_key_opens_what_was_closed_for_the_old_one(lived: Life) -> None:
    """Whose key was refused is asked no more; what kie.ai was found to do stays known, and a person's pause stays."""
    lived.store.pause("key_refused", "", key="k1")
    lived.redis.set(lived.keys.lied, 1)
    old = lived.store.paused()
    assert old
    Prober(lived.store, cast("Any", None), "k2").look()
    assert lived.store.paused() is None
    assert lived.redis.exists(lived.keys.lied)

    lived.store.pause("operator", "")
    assert not lived.store.amend(old)
    assert _reason(lived) == "operator"


def test_a_short_pause_never_shortens_a_longer_one(lived: Life) -> None:
    """Of two pauses the one that ends later stays, whichever came first, and one without an end ends last."""
    lived.store.pause("maintenance", "", seconds=60)
    lived.store.pause("vendor_unreachable", "", seconds=10)
    assert (_reason(lived), _lasts(lived)) == ("maintenance", 60_000)

    lived.store.pause("no_credits", "", key="k1")
    lived.store.pause("maintenance", "", seconds=600)
    assert (_reason(lived), _lasts(lived) < 0) == ("no_credits", True)

    lived.store.resume()
    lived.store.pause("vendor_unreachable", "", seconds=10)
    lived.store.pause("maintenance", "", seconds=60)
    assert _reason(lived) == "maintenance"


@pytest.mark.parametrize("reason", ["operator", "restored"])
def test_no_worker_ends_what_a_person_must_end(lived: Life, reason: str) -> None:
    """A late 402 or 401 of a job under way does not turn a person's pause into one that a look at the account ends."""
    record = lived.reach("submitting", "j1")
    lived.store.pause("no_credits", "", key="k1")
    lived.store.pause(reason, "look first")
    before = lived.everything()

    for found in ("no_credits", "key_refused", "vendor_unclear", "vendor_unreachable"):
        lived.gate.pause(Pause(reason=found, message=""), record)
    assert lived.everything() == before
    lived.gate.unclear(record, lived.gate.count_unclear())
    assert _reason(lived) == reason


# -- half-open ----------------------------------------------------------------------------------------------------


def test_one_probe_is_let_through_whatever_the_number_of_callers(lived: Life) -> None:
    """When a pause is over sixteen workers admit at the same moment: one job in all is armed, the others wait."""
    ready(lived, *(new(f"j{n}") for n in range(5)))
    lived.store.pause("rate", "slow down", seconds=10)
    _half_open(lived)
    barrier = Barrier(16)

    def admit(n: int) -> int:
        barrier.wait()
        return lived.gate.admit(f"w{n}")

    with ThreadPoolExecutor(16) as pool:
        assert Counter(pool.map(admit, range(16))) == {0: 15, 1: 1}

    (probe,) = armed(lived)
    gate = lived.store.paused() or {}
    assert (gate["reason"], gate["probe"]) == ("rate", f"{probe}:{lived.store.get(probe).nonce}")
    assert lived.gate.admit("w") == 0


def test_only_the_probe_may_be_sent(lived: Life) -> None:
    """While the gate is half-open a job that was armed before the pause goes back in line; the probe goes out."""
    lived.reach("armed", "before")
    ready(lived, new("j1"))
    lived.store.pause("rate", "", seconds=10)
    assert lived.send("before") == "refused"
    _half_open(lived)
    assert lived.send("before") == "refused"

    assert _probe(lived) == "j1"

    assert lived.send("before") == "refused"
    assert lived.move("unconnected", "before").state == State.READY
    assert lived.send("j1") == "mine"
    assert _reason(lived) == "rate"


@pytest.mark.parametrize("answer", ["record_task", "refused", "refused_later"])
def test_the_vendors_answer_to_the_probe_opens_the_gate(lived: Life, answer: str) -> None:
    """A task, or a clear refusal of this one job, says that the vendor works: all others go on."""
    ready(lived, *(new(f"j{n}") for n in range(3)))
    lived.store.pause("maintenance", "", seconds=30)
    probe = _probe(lived)
    assert lived.send(probe) == "mine"
    assert lived.gate.admit("w") == 0

    assert lived.move(answer, probe).ok

    assert lived.store.paused() is None
    assert lived.gate.admit("w") == 2


@pytest.mark.parametrize("answer", ["unknown", "not_sent", "refused_again", "cancel_bought", "give_up_unknown"])
def test_no_answer_opens_nothing(lived: Life, answer: str) -> None:
    """What says nothing about the vendor, or only that its trouble lasts, leaves the gate as it is."""
    ready(lived, *(new(f"j{n}") for n in range(3)))
    lived.store.pause("maintenance", "", seconds=30)
    probe = _probe(lived)
    assert lived.send(probe) == "mine"
    before = lived.store.paused()

    assert lived.move(answer, probe).ok

    assert lived.store.paused() == before
    assert lived.gate.admit("w") == 0


def test_an_answer_to_another_purchase_opens_nothing(lived: Life) -> None:
    """What was sent before the pause may still be answered while the gate is half-open: only its probe counts."""
    lived.reach("submitting", "before")
    ready(lived, new("j1"), new("j2"))
    lived.store.pause("maintenance", "", seconds=30)
    _probe(lived)

    assert lived.move("record_task", "before").ok

    assert _reason(lived) == "maintenance"
    assert lived.gate.admit("w") == 0


def test_a_probe_whose_worker_died_makes_room_for_the_next(lived: Life) -> None:
    """A probe that is not answered within its lease is given up: the next job tries, and it alone is the probe now."""
    ready(lived, new("j1"), new("j2"))
    lived.store.pause("rate", "", seconds=10)
    first = _probe(lived)
    lease = int((EVERYSEC + submit_lease(lived.settings)) * 1000) + 5000
    armed_at = lived.store.get(first).purchases[0].armed_at
    assert int((lived.store.paused() or {})["probe_until"]) - armed_at == lease
    assert lived.gate.admit("w") == 0

    lived.redis.hset(lived.keys.gate, "probe_until", lived.store.now() - 1)
    second = _probe(lived)

    assert {first, second} == {"j1", "j2"}
    assert lived.send(first) == "refused"
    assert lived.send(second) == "mine"
    assert lived.move("record_task", second).ok
    assert lived.store.paused() is None


def test_the_same_trouble_again_doubles_the_pause(lived: Life) -> None:
    """Each probe that meets the same trouble doubles the pause up to its longest; another trouble begins anew."""
    ready(lived, *(new(f"j{n}") for n in range(5)))
    lived.store.pause("vendor_unreachable", "", seconds=5, longest=30)
    lengths = [_lasts(lived)]
    for _ in range(4):
        probe = _probe(lived)
        lived.store.pause("vendor_unreachable", "", seconds=5, longest=30)
        assert lived.move("unconnected", probe).ok
        lengths.append(_lasts(lived))
    assert lengths == [5_000, 10_000, 20_000, 30_000, 30_000]

    probe = _probe(lived)
    lived.store.pause("maintenance", "", seconds=30, longest=600)
    assert (_reason(lived), _lasts(lived)) == ("maintenance", 30_000)
    assert lived.move("unconnected", probe).ok
    _probe(lived)
    lived.store.pause("maintenance", "", seconds=30, longest=600)
    assert _lasts(lived) == 60_000


def test_only_a_probe_proves_that_the_trouble_lasts(lived: Life) -> None:
    """Late reports of jobs that were sent before do not double the pause, nor begin it anew; an open gate forgets."""
    ready(lived, new("j1"))
    lived.store.pause("rate", "", seconds=10, longest=60)
    _probe(lived)
    lived.store.pause("rate", "", seconds=10, longest=60)
    assert _lasts(lived) == 20_000

    lived.store.pause("rate", "", seconds=10, longest=60)
    assert _lasts(lived) == 20_000
    _half_open(lived)
    lived.store.pause("rate", "", seconds=10, longest=60)
    assert _lasts(lived) == 20_000

    lived.store.resume()
    lived.store.pause("rate", "", seconds=10, longest=60)
    assert _lasts(lived) == 10_000


# -- answers that can't be trusted ----------------------------------------------------------------------------------


def test_three_unclear_answers_in_a_row_pause(lived: Life) -> None:
    """Two unclear answers let the account go on; the third pauses it until the vendor answers anything at all."""
    record = lived.reach("submitting", "j1")
    lived.gate.unclear(record, lived.gate.count_unclear())
    lived.gate.unclear(record, lived.gate.count_unclear())
    assert lived.store.paused() is None

    lived.gate.unclear(record, lived.gate.count_unclear())

    paused = lived.store.paused() or {}
    assert (paused["reason"], paused["until"]) == ("vendor_unclear", "0")
    assert paused["message"] == "3 createTask answers in a row could not be trusted"


@pytest.mark.parametrize("answer", ["record_task", "refused", "refused_later"])
def test_a_clear_answer_ends_the_row(lived: Life, answer: str) -> None:
    """Unclear, unclear, clear, unclear, unclear is no trouble: the count begins anew."""
    record = lived.reach("submitting", "j1")
    for _ in range(2):
        lived.gate.unclear(record, lived.gate.count_unclear())
    assert lived.move(answer, "j1").ok
    for _ in range(2):
        lived.gate.unclear(record, lived.gate.count_unclear())

    assert lived.store.paused() is None


def test_one_unclear_answer_to_a_probe_closes_the_gate(lived: Life) -> None:
    """A half-open gate does not wait for three: what its probe could not tell is looked into first."""
    ready(lived, new("j1"))
    lived.store.pause("rate", "", seconds=10)
    probe = _probe(lived)
    assert lived.send(probe) == "mine"

    lived.gate.unclear(lived.store.get(probe), lived.gate.count_unclear())

    assert _reason(lived) == "vendor_unclear"
    assert lived.gate.admit("w") == 0
    assert [p.status for p in lived.store.get(probe).purchases] == [Purchase.OPEN]
