"""Jobs by state and tenant: which counts are read, and what is shown of them."""

from __future__ import annotations

import pytest

from motionq.contract.keys import ENDS_KEPT, SPAN
from motionq.contract.states import FINAL, UNFINISHED
from motionq_ops.exporter.figures import OTHERS, TENANTS_SHOWN, families
from motionq_ops.exporter.tenants import UNKNOWN, counts, spans
from support.figures import LIMITS, NOW, by_tenant, figure, samples, snapshot

_HOUR = 3_600_000


@pytest.mark.parametrize("now", [NOW, NOW + 1, NOW + SPAN // 2, NOW + SPAN - 1])
def test_every_end_of_the_last_hour_is_read_while_it_is_kept(now: int) -> None:
    """The spans reach from an hour ago, or up to five minutes more, until now; none of them has gone by then."""
    read = spans(now)

    assert now - _HOUR - SPAN < read[0] * SPAN <= now - _HOUR
    assert read[-1] * SPAN <= now < (read[-1] + 1) * SPAN
    assert now - read[0] * SPAN < ENDS_KEPT


def test_counts_are_added_up_by_state_and_tenant() -> None:
    """Of several hashes; a name may hold blanks, jobs without a tenant have a word, states of others are left out."""
    hashes = [{"running a": "2", "running ": "1", "moon a": "9"}, {"running a": "3", "ready a b": "4"}]
    found = counts(hashes, UNFINISHED)

    assert {state: sizes for state, sizes in found.items() if sizes} == {
        "running": {"a": 5, UNKNOWN: 1},
        "ready": {"a b": 4},
    }
    assert list(found) == list(UNFINISHED)


def test_an_idle_server_shows_no_tenant() -> None:
    """Every state is there with nobody's jobs, at 0."""
    found = samples(families(snapshot(), LIMITS))

    assert set(found["motionq_tenant_jobs"].values()) == set(found["motionq_tenant_jobs_ended"].values()) == {0}
    assert {figure(found, "tenant_jobs", state=state, tenant=OTHERS) for state in UNFINISHED} == {0}
    assert {figure(found, "tenant_jobs_ended", window="1h", state=s, tenant=OTHERS) for s in FINAL} == {0}


def test_each_state_names_the_tenants_with_most_of_it() -> None:
    """Twenty of 25 in one state; who has least there may be named in another; nothing is lost in the sums."""
    running = {f"t{n:02}": 100 - n for n in range(25)}
    looked = snapshot(by_tenant={"running": running, "ready": {"t24": 7}}, ended={"failed": running})
    found = samples(families(looked, LIMITS))

    named = by_tenant(found, "tenant_jobs")
    assert named == {("running", f"t{n:02}"): 100 - n for n in range(TENANTS_SHOWN)} | {("ready", "t24"): 7}
    rest = sum(running.values()) - sum(n for (state, _), n in named.items() if state == "running")
    assert figure(found, "tenant_jobs", state="running", tenant=OTHERS) == rest == 390
    assert figure(found, "tenant_jobs_ended", window="1h", state="failed", tenant=OTHERS) == rest
