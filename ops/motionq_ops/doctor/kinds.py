"""The ways in which jobs and their sets disagree (contract/lua/mend.lua, mend_slots.lua), told to people."""

from __future__ import annotations

from dataclasses import dataclass

from motionq_ops.doctor.findings import Level

FIX = "motionq doctor --fix"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """`what` is followed by a number. `mend`: how; `mends`: `--fix` does it."""

    check: str
    level: Level
    what: str
    why: str
    mend: str = FIX

    @property
    def mends(self) -> bool:
        """Whether `--fix` mends it."""
        return self.mend == FIX


_E, _W = Level.ERROR, Level.WARNING
_ALARMLESS, _JOBLESS, _SLOTS = "jobs without alarms", "alarms without jobs", "slots"
_FEWER = "fewer jobs run at kie.ai at once than MOTIONQ_MAX_IN_FLIGHT"
KINDS = {
    "asleep": Kind(
        check=_ALARMLESS,
        level=_E,
        what="unfinished jobs in no line and no due set",
        why="nothing wakes them: they never end",
    ),
    "unserved": Kind(
        check=_ALARMLESS,
        level=_E,
        what="tenants with a line that the gate does not know",
        why="their jobs are never bought",
    ),
    "expiring": Kind(
        check=_ALARMLESS,
        level=_E,
        what="unfinished jobs whose record expires",
        why="they vanish, bought or not",
    ),
    "unlisted": Kind(
        check=_ALARMLESS,
        level=_W,
        what="jobs missing in an index",
        why="lists and counts do not show them, or they are never forgotten",
    ),
    "misplaced": Kind(
        check=_JOBLESS,
        level=_E,
        what="entries of jobs in sets where they do not belong",
        why="jobs are woken for a step that is not theirs, or shown in a state that they are not in",
    ),
    "stray": Kind(
        check=_JOBLESS,
        level=_W,
        what="entries without a record",
        why="they take room; and if nobody deleted keys by hand, records were lost or evicted",
    ),
    "slot_settled": Kind(
        check=_SLOTS,
        level=_W,
        what="slots held by finished jobs with settled purchases",
        why=_FEWER,
    ),
    "slot_kept": Kind(
        check=_SLOTS,
        level=_W,
        what="slots held by finished jobs whose purchase is not settled",
        why=f"{_FEWER}; whether a generation still runs is not known",
        mend="look at https://kie.ai/logs, then motionq attach JOB TASK_ID, or motionq replay JOB",
    ),
    "slot_early": Kind(
        check=_SLOTS,
        level=_W,
        what="slots held for closed purchases of jobs that go on",
        why=_FEWER,
        mend="let these jobs end, then run motionq doctor --fix",
    ),
    "slot_lost": Kind(
        check=_SLOTS,
        level=_W,
        what="slots held for purchases that are not on record",
        why=f"{_FEWER}; records were lost, and a generation may have been paid for",
        mend="look at https://kie.ai/logs; if nothing runs there: redis-cli ZREM <namespace>:slots JOB:NONCE",
    ),
    "slotless": Kind(
        check=_SLOTS,
        level=_W,
        what="jobs that are bought without a slot",
        why="more jobs than MOTIONQ_MAX_IN_FLIGHT run at kie.ai, until these end",
        mend="wait for them; if it comes again, somebody removes members of <namespace>:slots by hand",
    ),
    "unreadable": Kind(
        check="records",
        level=_E,
        what="records that this version can't read",
        why="these jobs stand still until a worker can read them",
        mend="upgrade to the newest motionq that wrote to this server",
    ),
}
