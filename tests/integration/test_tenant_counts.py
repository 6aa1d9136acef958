"""Jobs are counted by state and tenant with each move, and their ends by the minutes in which they came."""

from __future__ import annotations

import logging
from collections import Counter

import pytest

from motionq.contract.keys import ENDS_KEPT, SPAN
from motionq_worker.tallies import Tallies
from support.invariants import violations
from support.life import FAILURE, Life
from support.lines import crowd, new, ready

pytestmark = pytest.mark.redis_server


def _counted(lived: Life) -> dict[str, str]:
    return dict(lived.redis.hgetall(lived.keys.by_tenant))


def _spans(lived: Life) -> list[str]:
    """The keys in which ends are counted: two if a span was over meanwhile."""
    return list(lived.redis.keys(lived.keys.ends("*")))


def _ended(lived: Life) -> Counter[str]:
    found: Counter[str] = Counter()
    for name in _spans(lived):
        found.update({field: int(n) for field, n in lived.redis.hgetall(name).items()})
    return found


def _anew(lived: Life) -> list[str]:
    """The states that were counted anew."""
    return sorted(lived.store.scripts.run("recount", {}))


# -- each move --------------------------------------------------------------------------------------------------------
def test_a_job_counts_for_its_tenant_in_the_state_it_is_in(lived: Life) -> None:
    """Two tenants' jobs in several states; what nobody has is no field, so that tenants without jobs take no room."""
    lived.reach("running", "j1", tenant="acme")
    lived.reach("submit_unknown", "j2", tenant="zeta")
    lived.reach("delivering, paid", "j3", tenant="acme")
    ready(lived, new("j4", "acme"), new("j5", "acme"), new("j6", "zeta"))
    counted = {"running acme": "1", "submit_unknown zeta": "1", "delivering acme": "1", "ready acme": "2"}
    assert _counted(lived) == counted | {"ready zeta": "1"}

    assert lived.move("cancel_unbought", "j4").ok
    assert lived.move("cancel_unbought", "j6").ok
    assert _counted(lived) == counted | {"ready acme": "1"}


def test_an_end_is_counted_for_its_tenant_and_for_a_while(lived: Life) -> None:
    """By the state in which it ended; the count goes by itself, when an hour that began in its minutes is over."""
    lived.reach("succeeded", "j1", tenant="acme")
    lived.reach("failed, refused", "j2", tenant="acme")
    lived.reach("failed, unbought", "j3", tenant="acme")
    lived.reach("cancelled, unbought", "j4", tenant="zeta")

    assert _ended(lived) == {"succeeded acme": 1, "failed acme": 2, "cancelled zeta": 1}
    assert _counted(lived) == {}
    lives = [lived.redis.pttl(name) for name in _spans(lived)]
    assert all(3_600_000 + SPAN < life <= ENDS_KEPT for life in lives)


def test_a_repeated_call_counts_once(lived: Life) -> None:
    """A producer or worker whose answer was lost asks again: neither the job nor its end is counted twice."""
    for _ in range(2):
        lived.create("j1", tenant="acme")
    assert _counted(lived) == {"queued acme": "1"}
    for _ in range(2):
        assert lived.move("cancel_unbought", "j1", call="same").ok

    assert _counted(lived) == {}
    assert _ended(lived) == {"cancelled acme": 1}


def test_a_job_that_goes_on_counts_for_each_of_its_ends(lived: Life) -> None:
    """Taken up again it is unfinished, and the end it had was one; a late verdict on a cancelled job is no end."""
    lived.reach("delivering, paid", "j1", tenant="acme")
    assert lived.move("book_failure", "j1", set={"failure": FAILURE}).ok
    assert lived.store.replay("j1", call="c1") == ["ok", "delivering"]
    assert (_counted(lived), _ended(lived)) == ({"delivering acme": "1"}, {"failed acme": 1})

    lived.claim("deliver", "j1")
    assert lived.move("delivered", "j1").ok
    assert (_counted(lived), _ended(lived)) == ({}, {"failed acme": 1, "succeeded acme": 1})
    lived.reach("cancelled, silent", "j2", tenant="zeta")
    assert lived.move("paid", "j2").state == "cancelled"
    assert _ended(lived)["cancelled zeta"] == 1


# -- counts that do not add up ----------------------------------------------------------------------------------------
def test_jobs_of_a_release_that_kept_no_counts_are_counted_once_asked(lived: Life) -> None:
    """Until then none is counted below nothing; afterwards the counts are those of the records."""
    ready(lived, new("j1", "acme"), new("j2", "acme"), new("j3", "zeta"))
    lived.redis.delete(lived.keys.by_tenant)
    assert lived.move("cancel_unbought", "j1").ok
    assert _counted(lived) == {}

    assert _anew(lived) == ["ready"]
    assert _counted(lived) == {"ready acme": "1", "ready zeta": "1"}
    rules = {"tenants": ["acme", "zeta"], "cap": 1, "rate": 20}
    assert list(violations(lived.redis, lived.keys, jobs=["j1", "j2", "j3"], **rules)) == []


def test_only_states_that_do_not_add_up_are_counted_anew(lived: Life) -> None:
    """A count too many and a job too few are found; what adds up is left alone, and so is all the next time."""
    lived.reach("running", "j1", tenant="acme")
    ready(lived, new("j2", "acme"))
    lived.redis.hset(lived.keys.by_tenant, mapping={"ready zeta": 4, "queued acme": 1})
    lived.redis.hset(lived.keys.by_tenant, "running acme", 1)

    assert _anew(lived) == ["queued", "ready"]
    assert _counted(lived) == {"running acme": "1", "ready acme": "1"}
    before = lived.everything()
    assert _anew(lived) == []
    assert lived.everything() == before


def test_thousands_are_counted_to_the_last_one(lived: Life) -> None:
    """They are read in portions, none of them twice."""
    crowd(lived, 2001, "acme")
    crowd(lived, 1000, "zeta")

    assert _anew(lived) == ["ready"]
    assert _counted(lived) == {"ready acme": "2001", "ready zeta": "1000"}


def test_a_job_whose_record_is_lost_counts_for_no_tenant(lived: Life) -> None:
    """It is in its index still, so the sum is right, and jobs are not counted anew for ever."""
    lived.reach("running", "j1", tenant="acme")
    lived.reach("running", "lost", tenant="acme")
    lived.redis.delete(lived.keys.job("lost"), lived.keys.by_tenant)

    assert _anew(lived) == ["running"]
    assert _counted(lived) == {"running acme": "1", "running ": "1"}
    assert _anew(lived) == []


def test_a_worker_looks_now_and_then(lived: Life, caplog: pytest.LogCaptureFixture) -> None:
    """At once, and says what was wrong; not again at the next tick."""
    lived.create("j1", tenant="acme")
    lived.redis.delete(lived.keys.by_tenant)
    tallies = Tallies(lived.store)
    with caplog.at_level(logging.INFO, "motionq_worker"):
        tallies.look()
    assert _counted(lived) == {"queued acme": "1"}
    assert caplog.messages == ["jobs by tenant did not add up and were counted anew: queued"]

    lived.redis.delete(lived.keys.by_tenant)
    tallies.look()
    assert _counted(lived) == {}
