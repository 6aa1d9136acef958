"""What a process counts in memory: the words, the buckets, what failures are told apart, and what is given back."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import NoReturn

import pytest

from motionq_worker.kie import errors
from motionq_worker.kie.errors import KieFault, SourceBroken, Unavailable, Unknown
from motionq_worker.kie.metered import CALLS, OUTCOMES, metered
from motionq_worker.metering import BUCKETS, Counted, Meter


def _fail(error: BaseException) -> Callable[[], NoReturn]:
    def work() -> NoReturn:
        raise error

    return work


def _answers(meter: Meter) -> dict[str, int]:
    return {name: n for name, n in meter.take().counts.items() if name.startswith("answer ")}


def test_taking_begins_anew() -> None:
    """What was taken is counted no more, and a meter with nothing in it has nothing to bring."""
    meter = Meter()
    meter.add("step", "upload")
    meter.add("step", "upload", by=2)

    assert meter.take() == Counted({"step upload": 3}, {})
    assert not meter.take()


def test_what_could_not_be_brought_counts_again() -> None:
    """Counts are added to those made since; of two values of the same name the newer one stays."""
    meter = Meter()
    meter.add("upload", "hit")
    meter.see("credits", 5.0)
    lost = meter.take()
    meter.add("upload", "hit")
    meter.see("credits", 4.5)
    meter.give_back(lost)

    again = meter.take()
    assert again.counts == {"upload hit": 2}
    assert again.seen["credits"] == "4.5"


def test_a_word_never_holds_a_blank() -> None:
    """Whatever is counted, the words of a field can be told apart, and are short."""
    meter = Meter()
    meter.add("failure", "a b\nc" + "d" * 100, "")

    (name,) = meter.take().counts
    assert name == f"failure a_b_c{'d' * 55} none"


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(0.0, "0.25"), (0.25, "0.25"), (0.2501, "0.5"), (120.0, "120"), (120.5, "+Inf")]
)
def test_a_duration_falls_into_the_first_bucket_that_holds_it(seconds: float, bucket: str) -> None:
    """Bounds belong to their bucket, as Prometheus has it; what is longer than all of them is beyond."""
    meter = Meter()
    meter.answered("upload", "ok", 200, seconds)

    assert meter.take().counts.get(f"seconds upload {bucket}") == 1
    assert tuple(sorted(BUCKETS)) == BUCKETS


def test_many_calls_count_as_each_of_them_would() -> None:
    """A batch of looks is counted at once, to the same figures."""
    answers = [("ok", 200, 0.2), ("ok", 200, 3.0), ("unavailable", None, 10.5)]
    once, each = Meter(), Meter()
    once.answered_many("record_info", answers)
    for answer in answers:
        each.answered("record_info", *answer)

    assert once.take() == each.take()


@pytest.mark.parametrize(("code", "shown"), [(402, "402"), (None, "none"), (7, "none"), (123_456, "none")])
def test_a_code_is_three_digits_or_none(code: int | None, shown: str) -> None:
    """No vendor can make the number of series grow without end."""
    meter = Meter()
    meter.answered("create_task", "refused", code, 0.1)

    assert _answers(meter) == {f"answer create_task refused {shown}": 1}


def test_every_fault_of_the_vendor_has_a_word() -> None:
    """Each class of the fault tree is counted under its own name, but for the file that is our own trouble."""
    leaves = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, KieFault)}

    assert set(OUTCOMES) == leaves - {KieFault, SourceBroken}
    assert len(set(OUTCOMES.values())) == len(OUTCOMES)


def test_a_call_is_counted_by_what_came_of_it() -> None:
    """An answer, and faults with the vendor's code or without one."""
    meter = Meter()
    with metered(meter, "record_info"):
        pass
    for error in (Unknown("cut", code=502), Unavailable("refused")):
        with pytest.raises(type(error)), metered(meter, "record_info"):
            _fail(error)()

    assert _answers(meter) == {
        "answer record_info ok 200": 1,
        "answer record_info unknown 502": 1,
        "answer record_info unavailable none": 1,
    }


@pytest.mark.parametrize("error", [SourceBroken("short"), RuntimeError("a claim was lost")])
def test_what_is_not_the_vendors_is_not_counted(error: Exception) -> None:
    """A file of ours that breaks off, and an execution that stops, say nothing about the vendor."""
    meter = Meter()
    with pytest.raises(type(error)), metered(meter, "upload"):
        _fail(error)()

    assert not meter.take()


def test_counting_never_costs_an_answer() -> None:
    """A meter that breaks must not lose the task ID that is on its way to the caller."""

    class Broken(Meter):
        def answered(self, call: str, outcome: str, code: int | None, seconds: float) -> None:
            raise OSError

    with metered(Broken(), "create_task"):
        task = "T1"
    assert task == "T1"


def test_a_failure_is_counted_by_its_reason() -> None:
    """Only a move that led to `failed` counts as a failure; a refused write counts as nothing."""
    meter, failure = Meter(), {"failure": json.dumps({"reason": "refused", "message": "m", "charged": "no"})}
    meter.moved("refused", "ok", "failed", failure)
    meter.moved("refused", "booked", "cancelled", failure)
    meter.moved("refused", "fenced", "running", failure)

    assert meter.take().counts == {"move refused": 2, "failure refused no": 1}


def test_uploads_are_hits_or_bytes() -> None:
    """A file that lay at the vendor is a hit, any other one is so many bytes."""
    meter = Meter()
    meter.uploaded(0)
    meter.uploaded(700)

    assert meter.take().counts == {"upload hit": 1, "upload sent": 1, "upload_bytes": 700}


def test_calls_have_plain_names() -> None:
    """The names of calls are labels: small letters and underscores."""
    assert [call for call in CALLS if not re.fullmatch(r"[a-z_]+", call)] == []
