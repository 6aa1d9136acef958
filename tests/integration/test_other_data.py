"""What tells records apart: whose vendor they are for, and whether they are younger than what was seen of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from motionq.contract.errors import InvalidSettings
from motionq.contract.store import JobStore
from motionq_worker.restored import Beat
from motionq_worker.startup import claim_for
from support.life import Life


def test_no_other_vendor_answers_for_unfinished_jobs(lived: Life) -> None:
    """A sandbox on a real queue, and a real key on play jobs, are refused in one sentence; when all have ended, not."""
    claim_for(lived.store, "api.kie.ai")
    lived.reach("running", "j1")

    claim_for(lived.store, "api.kie.ai")
    with pytest.raises(
        InvalidSettings, match=r"are for api\.kie\.ai, and KIE_BASE_URL is 127\.0\.0\.1: no other vendor"
    ):
        claim_for(lived.store, "127.0.0.1")

    assert lived.move("paid", "j1").ok
    lived.claim("deliver", "j1")
    assert lived.move("delivered", "j1").ok
    claim_for(lived.store, "127.0.0.1")
    assert lived.redis.get(lived.keys.vendor) == "127.0.0.1"


def _beats(folder: Path, *stores: JobStore) -> None:
    for store in stores:
        Beat(store, folder).beat()


def test_records_that_went_back_in_time_close_the_gate(lived: Life, tmp_path: Path) -> None:
    """A backup of these records that is older than what this machine has seen is noticed."""
    _beats(tmp_path, lived.store)
    name, now = str(lived.redis.get(lived.keys.beat)).split(" ")
    lived.redis.set(lived.keys.beat, f"{name} {int(now) - 130_000}")

    _beats(tmp_path, lived.store)

    assert (lived.store.paused() or {})["reason"] == "restored"


def test_two_servers_in_turn_are_no_restored_backup(lived: Life, tmp_path: Path) -> None:
    """A sandbox beside the real queue, on one machine: the clock of one says nothing about the other."""
    _beats(tmp_path, lived.store)
    lived.redis.rename(lived.keys.beat, f"{lived.keys.beat}.kept")  # another server, which begins
    _beats(tmp_path, lived.store)
    other, now = str(lived.redis.get(lived.keys.beat)).split(" ")
    lived.redis.set(lived.keys.beat, f"{other} {int(now) + 600_000}")  # it is used for ten minutes
    (tmp_path / f"beat-{lived.keys.namespace}-{other}").write_text(str(int(now) + 600_000))
    lived.redis.rename(f"{lived.keys.beat}.kept", lived.keys.beat)  # and the first one again

    _beats(tmp_path, lived.store)

    assert lived.store.paused() is None
