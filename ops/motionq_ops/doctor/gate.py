"""The gate: is anything bought at this moment, and if not, what opens it?"""

from __future__ import annotations

from motionq.gate import GateStatus
from motionq_ops.doctor.findings import Finding, ok, warning

_MENDS = {
    "no_credits": "buy credits; it opens by itself within a minute",
    "key_refused": "set another KIE_API_KEY and restart the workers, or motionq gate resume",
    "restored": "do steps 4 and 5 of `Restore` in the runbook, then motionq gate resume --restored",
    "operator": "motionq gate resume",
    "budget": "wait for tomorrow (UTC), or raise MOTIONQ_MAX_CREDITS_PER_DAY and restart the workers",
}
_BY_ITSELF = "it opens by itself when kie.ai answers well again; motionq gate resume tries now"


def judge_gate(gate: GateStatus) -> Finding:
    """Open, or why not."""
    numbers = f"{gate.in_flight} in flight, {gate.waiting} waiting"
    if gate.open:
        return ok("gate", f"open: {numbers}")
    return warning(
        "gate",
        f"closed ({gate.reason}): {gate.message or 'no words'}; {numbers}",
        value=gate.reason,
        why="nothing is bought while it is closed; jobs wait, and what is bought goes on",
        mend=_MENDS.get(gate.reason or "", _BY_ITSELF),
    )
