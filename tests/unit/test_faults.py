"""What a broken file, storage or vendor means for a free step."""

from __future__ import annotations

import errno
import json

import pytest

from motionq.contract import states
from motionq.contract.errors import InvalidJob
from motionq.contract.record import Record
from motionq_worker.addresses import ForbiddenAddress
from motionq_worker.delivery import NoVideo
from motionq_worker.faults import delivery_fault, upload_fault
from motionq_worker.fetch import FetchFailed
from motionq_worker.inspection import Unreadable
from motionq_worker.kie.errors import KeyRefused, Unavailable, UploadRefused
from motionq_worker.uploads import UploadBusy
from support.records import NOW, record

GONE = FileNotFoundError("the staged file hero.png is gone")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (InvalidJob("video: 2.0 s is shorter", field="video"), "invalid_media"),
        (Unreadable("image: can't be decoded", certain=False), "invalid_media"),
        (ForbiddenAddress("http://h/: not public"), "invalid_media"),
        (FetchFailed("not found", permanent=True, status=404), "invalid_media"),
        (UploadRefused("too large", code=413), "upload_refused"),
    ],
)
def test_what_will_fail_again_fails_now_with_its_sentence(error: Exception, reason: str) -> None:
    """A wrong file is final at the first look, unpaid, in the words of who found it."""
    decision = upload_fault(error, record(), 8)
    assert decision.move is states.FAIL_UPLOAD
    failure = json.loads(decision.set["failure"])
    assert (failure["reason"], failure["charged"], failure["message"]) == (reason, "no", str(error))


@pytest.mark.parametrize(
    "error",
    [
        Unavailable("HTML", code=502),
        FetchFailed("HTTP 503", permanent=False),
        GONE,
        OSError(errno.ENOSPC, "full"),
        ZeroDivisionError(),
    ],
)
def test_what_may_pass_is_tried_again_later_each_time_and_then_fails(error: Exception) -> None:
    """Storage, network and defects get eight tries with growing pauses; the last failure says how many there were."""
    tries = [upload_fault(error, record(tries=n), 8) for n in range(8)]
    assert [d.move for d in tries] == [states.RETRY_UPLOAD] * 7 + [states.FAIL_UPLOAD]
    assert [d.alarm_in for d in tries[:7]] == [2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0]
    failure = json.loads(tries[7].set["failure"])
    assert failure["reason"] == ("staging_lost" if error is GONE else "upload_failed")
    assert "8 tries" in failure["message"]


def test_waiting_for_another_upload_burns_no_try_and_no_history() -> None:
    """A job that waits for the same content to be uploaded is simply woken later."""
    decision = upload_fault(UploadBusy(20.0), record(), 8)
    assert (decision.move, decision.add, decision.quiet, decision.alarm_in) == (states.RETRY_UPLOAD, {}, True, 20.0)


def test_a_refused_key_stops_the_account_and_burns_no_try() -> None:
    """The key is everybody's: the gate closes, and this job waits."""
    decision = upload_fault(KeyRefused("no", code=401), record(tries=7), 8)
    assert decision.pause is not None
    assert (decision.move, decision.add, decision.pause.reason) == (states.RETRY_UPLOAD, {}, "key_refused")


def test_words_of_an_unforeseen_error_are_not_shown() -> None:
    """A driver's exception may hold addresses and keys: only its kind is shown."""
    note = upload_fault(RuntimeError("https://bucket/?X-Amz-Signature=secret"), record(), 8).note
    assert note == "RuntimeError"


def test_a_paid_video_is_waited_for_until_its_address_expires() -> None:
    """While the vendor keeps it, network and storage may fail any number of times; then it is said that it was paid."""
    rec = record(verdict={"urls": ["u"], "expires_at": NOW + 1}, tries=500)
    error = FetchFailed("HTTP 503", permanent=False)
    assert delivery_fault(error, rec, 8, NOW).move is states.RETRY_DELIVER
    assert delivery_fault(error, rec, 8, NOW).alarm_in == 300.0
    decision = delivery_fault(error, rec, 8, NOW + 2)
    assert decision.move is states.BOOK_FAILURE
    failure = json.loads(decision.set["failure"])
    assert (failure["reason"], failure["charged"]) == ("delivery_failed", "yes")


def _paid(tries: int) -> Record:
    return record(verdict={"urls": ["u"], "expires_at": NOW + 10**9}, tries=tries)


@pytest.mark.parametrize(
    "error",
    [
        FetchFailed("not found", permanent=True, status=404),
        FetchFailed("refused", permanent=True, status=403),
        FetchFailed("HTTP 503", permanent=False, status=503),
        NoVideo("no video"),
        Unreadable("the decoder was killed", certain=False),
        OSError(errno.ENOSPC, "full"),
        KeyError("a storage driver's own error"),
    ],
)
def test_what_may_still_come_ends_no_delivery_before_the_address_expires(error: Exception) -> None:
    """Servers that lag, missing names, full or broken storage: the video is paid, and none of them is the last word."""
    for tries in (0, 2, 7, 100):
        assert delivery_fault(error, _paid(tries), 8, NOW).move is states.RETRY_DELIVER
    assert delivery_fault(error, _paid(100), 8, NOW + 10**9).move is states.BOOK_FAILURE


@pytest.mark.parametrize(
    "error",
    [
        Unreadable("no video", certain=True),
        FetchFailed("127.0.0.1 is not a public address", permanent=True),
        FetchFailed("larger than the limit", permanent=True, status=200),
    ],
)
def test_what_only_a_person_can_mend_ends_after_its_tries(error: Exception) -> None:
    """An address that may not be fetched, and a file that is none: eight tries, then the job says so."""
    assert delivery_fault(error, _paid(6), 8, NOW).move is states.RETRY_DELIVER
    assert delivery_fault(error, _paid(7), 8, NOW).move is states.BOOK_FAILURE


def test_a_delivery_that_goes_on_for_days_keeps_the_beginning_of_its_history() -> None:
    """Of 4,000 tries the history has the first nine, and then one for each time their number has doubled."""
    error = FetchFailed("not found", permanent=True, status=404)
    told = [n for n in range(4000) if not delivery_fault(error, _paid(n), 8, NOW).quiet]
    assert told == [*range(9), 16, 32, 64, 128, 256, 512, 1024, 2048]
