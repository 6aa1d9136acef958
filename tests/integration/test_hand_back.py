"""A worker that stops hands the claims of its transfers back: nobody waits for their leases, and no job is blamed."""

from __future__ import annotations

import pytest

from motionq_worker.leases import ClaimLost, Leases
from support.life import Life


def test_a_claim_that_is_handed_back_rings_at_once_and_counts_no_turn(lived: Life) -> None:
    """Alarm and upload lock are another worker's now, the turn is not counted, and the step itself stops."""
    lived.reach("queued", "job")
    claim = lived.claim("upload", "job")
    assert lived.move("begin_upload", "job", add={"turns": 1}, alarm_in=20_000).ok
    leases, lock = Leases(lived.store, 20.0), lived.keys.uploading("a" * 64)
    lived.redis.set(lock, f"job.{claim}")

    with leases.hold("job", claim) as lease:
        lease.locks.add(lock)
        assert leases.hand_back("w1@host") == ["job"]
        with pytest.raises(ClaimLost):
            lease.check()
    leases.close()

    assert lived.redis.zscore(lived.keys.due("upload"), "job") <= lived.store.now()
    assert not lived.redis.exists(lock)
    record = lived.store.get("job")
    assert (record.state, record.turns) == ("uploading", 0)
    last = lived.store.get("job").events[-1]
    assert (last.step, last.worker, last.note) == ("upload", "w1@host", "cut off: this worker stops")


def test_the_claim_of_another_execution_stays(lived: Life) -> None:
    """Who has lost a claim hands nothing back: the alarm of the one that has it now is not touched."""
    lived.reach("queued", "job")
    old = lived.claim("upload", "job")
    lived.claim("upload", "job")
    alarm = lived.redis.zscore(lived.keys.due("upload"), "job")
    leases, lock = Leases(lived.store, 20.0), lived.keys.uploading("a" * 64)
    lived.redis.set(lock, "another.upload.1", px=60_000)

    with leases.hold("job", old) as lease:
        lease.locks.add(lock)  # it had it, until the lease ended while the server was away
        leases.hand_back("w1@host")
    leases.close()

    assert lived.redis.zscore(lived.keys.due("upload"), "job") == alarm
    assert lived.redis.get(lock) == "another.upload.1"
