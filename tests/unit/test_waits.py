"""Why a job waits, in the words of its last event or of the gate."""

from __future__ import annotations

import pytest

from motionq import Event, GateStatus, Job, JobSpec, State
from motionq.contract.job import UrlSource
from motionq.waits import why

OPEN = GateStatus(open=True, in_flight=0, waiting=1)
CLOSED = GateStatus(open=False, reason="no_credits", in_flight=0, waiting=1)
SPEC = JobSpec(image=UrlSource(url="https://h/a"), video=UrlSource(url="https://h/b"))


def job(state: State, *events: Event) -> Job:
    known = {"id": "j1", "state": state, "tenant": "t", "labels": {}, "priority": "low", "spec": SPEC}
    return Job.model_validate(known | {"created_at": 0, "updated_at": 0, "events": events})


def event(state: State, note: str | None) -> Event:
    return Event.model_validate({"at": 0, "state": state, "note": note})


@pytest.mark.parametrize(
    ("seen", "gate", "again_in", "said"),
    [
        (job(State.READY), CLOSED, None, "gate closed: no credits"),
        (job(State.READY, event(State.READY, "uploaded")), CLOSED, None, "gate closed: no credits"),
        (job(State.READY, event(State.READY, "uploaded")), OPEN, None, "uploaded"),
        (job(State.QUEUED, event(State.QUEUED, "upload\nfailed")), None, 7.6, "upload failed, again in 8 s"),
        (job(State.UPLOADING, event(State.QUEUED, "an earlier state's")), None, None, ""),
        (job(State.RUNNING, event(State.RUNNING, None)), None, None, ""),
        (job(State.FAILED, event(State.FAILED, "too short")), None, None, ""),
        (job(State.QUEUED), None, None, ""),
    ],
)
def test_why(seen: Job, gate: GateStatus | None, again_in: float | None, said: str) -> None:
    """A closed gate holds ready jobs; else the note of the last event counts, as long as its state lasts."""
    assert why(seen, gate, again_in) == said


def test_the_gate_gives_its_words() -> None:
    """What an operator or the vendor said stands beside the reason."""
    paused = GateStatus(open=False, reason="operator", message="moving the server", in_flight=0, waiting=1)
    assert why(job(State.READY), paused) == "gate closed: operator: moving the server"
