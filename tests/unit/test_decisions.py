"""What follows from what the vendor said: pure values in, a decision out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from motionq.contract import states
from motionq.contract.states import Purchase, State
from motionq_worker import decisions
from motionq_worker.kie.errors import KeyRefused, KieFault, NotSent, Refusal, Refused, Unavailable, Unknown
from motionq_worker.kie.messages import Phase
from support.records import NONCE, NOW, RULES, line, reading, record

WITHOUT_CALLBACKS = decisions.Rules(unknown_window=2700.0, run_limit=86_400.0, generation_attempts=2, callbacks=False)


def look(rec: Any, read: Any, started: int = NOW) -> decisions.Decision:
    return decisions.look(rec, read, started=started, now=NOW, rules=RULES)


# -- createTask -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "refusal",
    [
        Refusal.NO_CREDITS,
        Refusal.KEY_REFUSED,
        Refusal.RATE,
        Refusal.KEY_CAP,
        Refusal.MAINTENANCE,
        Refusal.FEATURE_DISABLED,
    ],
)
def test_a_refusal_of_the_account_sends_the_job_back_in_line_and_pauses(refusal: Refusal) -> None:
    """Nothing was bought and it is not the job's fault: the line again, a pause under the vendor's reason."""
    decision = decisions.refused(Refused("words", code=1, refusal=refusal), record())
    assert decision.move is states.REFUSED_AGAIN
    assert decision.pause == decisions.Pause(reason=refusal.value, message="words")
    assert "failure" not in decision.set


def test_pauses_burn_no_attempt_of_a_later_server_error() -> None:
    """However often the account was refused, a generic 500 is still repeated as often as it may be."""
    closed = tuple(line(nonce=str(n), status=Purchase.REFUSED, refusal="no_credits") for n in range(9))
    fault = Refused("Server exception", code=500, refusal=Refusal.SERVER_ERROR)
    assert decisions.refused(fault, record(purchases=closed)).move is states.REFUSED_LATER


def test_a_server_error_is_repeated_with_growing_pauses_and_then_final() -> None:
    """A generic 500 is bought again under a new nonce at most three times, later each time."""
    fault = Refused("Server exception", code=500, refusal=Refusal.SERVER_ERROR)
    earlier = [line(nonce=str(n), status=Purchase.REFUSED, refusal="server_error") for n in range(4)]
    said = [decisions.refused(fault, record(purchases=tuple(earlier[:n]))) for n in range(4)]
    assert [d.move for d in said] == [states.REFUSED_LATER] * 3 + [states.REFUSED]
    assert [d.alarm_in for d in said[:3]] == [15.0, 30.0, 60.0]
    failure = json.loads(said[3].set["failure"])
    assert (failure["reason"], failure["code"], failure["charged"]) == ("refused", "500", "no")


def test_an_answer_that_cannot_be_trusted_waits_for_a_callback_or_asks_a_person() -> None:
    """With callbacks the purchase stays open and somebody may name its task; without, a person is asked at once."""
    fault = Unknown("reset")
    assert decisions.unknown(fault, RULES).move is states.UNKNOWN
    asked = decisions.unknown(fault, WITHOUT_CALLBACKS)
    assert asked.move is states.GIVE_UP_UNKNOWN
    assert json.loads(asked.set["failure"])["charged"] == "unknown"


def test_what_was_not_sent_after_all_is_no_attempt() -> None:
    """`attempts` counts calls that went out: one that did not is taken back, and the vendor is left alone."""
    decision = decisions.not_sent(NotSent("closed"))
    assert (decision.move, decision.add) == (states.NOT_SENT, {"attempts": -1})
    assert decision.pause is not None


@pytest.mark.parametrize(
    ("waited", "move"),
    [(0, states.KEEP_WAITING), (25 * 60_000, states.FREE_SLOT), (2_700_000, states.GIVE_UP_UNKNOWN)],
)
def test_our_patience_with_an_unknown_purchase(waited: int, move: states.Move) -> None:
    """The slot is given back after 25 minutes, the job ends after 45, and neither closes the purchase."""
    rec = record(state=State.SUBMIT_UNKNOWN, task_id="", since=NOW - waited, purchases=(line(task_id=None),))
    decision = decisions.overdue(rec, NOW, RULES)
    assert decision is not None
    assert decision.move is move
    assert set(move.books) == set(move.books.values()) == {Purchase.OPEN}


def test_a_short_patience_is_looked_at_when_it_ends() -> None:
    """With a window below the 25 minutes of the slot the next look comes at the window's end, not after it."""
    short = decisions.Rules(unknown_window=60.0, run_limit=86_400.0, generation_attempts=2, callbacks=True)
    rec = record(state=State.SUBMIT_UNKNOWN, task_id="", since=NOW - 10_000)
    decision = decisions.overdue(rec, NOW, short)
    assert decision is not None
    assert (decision.move, decision.alarm_in) == (states.KEEP_WAITING, 50.0)


def test_an_unknown_purchase_without_callbacks_does_not_wait() -> None:
    """Nobody will ever name its task, so a person is told at once."""
    rec = record(state=State.SUBMIT_UNKNOWN, task_id="", since=NOW)
    decision = decisions.overdue(rec, NOW, WITHOUT_CALLBACKS)
    assert decision is not None
    assert decision.move is states.GIVE_UP_UNKNOWN


def test_a_post_within_its_lease_is_left_alone() -> None:
    """An alarm that rings while the answer may still come changes nothing."""
    assert decisions.overdue(record(state=State.SUBMITTING, sent_until=NOW + 1), NOW, RULES) is None


# -- recordInfo -----------------------------------------------------------------------------------------------------
def test_success_is_paid_with_what_the_vendor_charged() -> None:
    """The verdict holds the addresses and the price, and the credits that were counted are corrected."""
    read = reading(Phase.SUCCESS, result_urls=("https://cdn/v.mp4",), credits=70.0, completed_ms=NOW, cost_seconds=50.0)
    decision = look(record(purchases=(line(estimate=66.0),)), read)
    assert (decision.move, decision.settled, decision.spent) == (states.PAID, True, 4.0)
    verdict = json.loads(decision.set["verdict"])
    assert (verdict["urls"], verdict["credits"], verdict["seconds"]) == (["https://cdn/v.mp4"], 70.0, 50.0)
    assert verdict["expires_at"] == NOW + 14 * 86_400_000


def test_an_absurd_clock_of_the_vendor_does_not_expire_a_result() -> None:
    """A completion time in seconds or microseconds is not believed."""
    for absurd in (NOW // 1000, NOW * 1000):
        decision = look(record(), reading(Phase.SUCCESS, result_urls=("https://cdn/v.mp4",), completed_ms=absurd))
        assert json.loads(decision.set["verdict"])["expires_at"] == NOW + 14 * 86_400_000


def test_a_success_whose_addresses_are_on_their_way_is_looked_at_again() -> None:
    """Success without addresses is no verdict until five minutes after its first reading, dated or not."""
    for completed in (None, NOW - 1000, NOW - 900_000):
        read = reading(Phase.SUCCESS, completed_ms=completed)
        first = look(record(), read)
        assert (first.move, first.purchase) == (states.STILL_RUNNING, {"nameless_at": NOW})
        later = look(record(purchases=(line(nameless_at=NOW - 299_999),)), read)
        assert (later.move, later.purchase) == (states.STILL_RUNNING, {})
        assert look(record(purchases=(line(nameless_at=NOW - 300_000),)), read).move is states.PAID


def test_a_time_out_of_the_vendor_settles_only_at_a_second_look_90_s_later() -> None:
    """524 may turn into a success: it counts only by a reading that began 90 s after the first one was recorded."""
    read = reading(Phase.FAIL, fail_code="524", fail_message="generate task timeout")
    first = look(record(), read)
    assert (first.move, first.purchase) == (states.STILL_RUNNING, {"suspect_at": NOW})
    early = record(purchases=(line(suspect_at=NOW - 89_000),))
    assert look(early, read).move is states.STILL_RUNNING
    late = record(purchases=(line(suspect_at=NOW - 95_000),))
    assert look(late, read, started=NOW - 6_000).move is states.STILL_RUNNING
    settled = look(late, read, started=NOW - 5_000)
    assert settled.move is states.REFUNDED  # and never bought again
    other_words = reading(Phase.FAIL, fail_code="500", fail_message="Internal Error, Please try again later.")
    assert look(late, other_words, started=NOW - 5_000).move is states.REFUNDED


def test_a_transient_failure_is_bought_again_once_and_a_permanent_one_never() -> None:
    """Internal errors get the attempts that are set; what the inputs cause does not."""
    passing = reading(Phase.FAIL, fail_code="500", fail_message="Internal Error, Please try again later.")
    assert look(record(), passing).move is states.REFUNDED_AGAIN
    assert look(record(generations=1), passing).move is states.REFUNDED
    permanent = reading(Phase.FAIL, fail_code="400", fail_message="No valid characters detected in the video")
    assert look(record(), permanent).move is states.REFUNDED


def test_files_that_the_vendor_cannot_fetch_are_uploaded_again() -> None:
    """The uploads are forgotten together with the failure."""
    read = reading(Phase.FAIL, fail_code="422", fail_message="Your media file is unavailable, please replace it.")
    decision = look(record(), read)
    assert (decision.move, decision.new_upload, decision.unset) == (states.REFUNDED_AGAIN, True, ("uploaded_at",))


def test_a_silent_vendor_is_given_up_and_the_purchase_stays_open() -> None:
    """After the run limit the job ends as vendor_silent, charged unknown; nothing is closed."""
    decision = look(record(running_since=NOW - 86_400_000), reading())
    assert decision.move is states.GIVE_UP_SILENT
    failure = json.loads(decision.set["failure"])
    assert (failure["charged"], failure["message"]) == ("unknown", "kie.ai gave no verdict within 24 hours")


@pytest.mark.parametrize("fault", [None, Unavailable("HTML", code=502), KeyRefused("no", code=401)])
def test_a_task_that_can_t_be_read_is_not_given_up(fault: KieFault | None) -> None:
    """After a weekend without a network the first faults must not end what was paid for: nobody has asked kie.ai."""
    decision = decisions.nothing_new(NOW - 10 * 86_400_000, fault, NOW, RULES)
    assert decision is not None
    assert decision.move is states.STILL_RUNNING


@pytest.mark.parametrize(
    "foreign",
    [
        {"callback_url": f"https://us/callbacks/kie/job2/{NONCE}"},
        {"callback_url": "https://us/callbacks/kie/job1/" + "b" * 40},
        {"image_urls": ("https://vendor/other.png",)},
        {"model": "kling-3.0/motion-control"},
        {"prompt": "sing"},
        {"mode": "1080p"},
        {"orientation": "image"},
    ],
)
def test_a_reading_about_another_request_is_no_verdict(foreign: dict[str, Any]) -> None:
    """A success that names another job, nonce, input, prompt or size is not taken as this job's; a person's word is."""
    read = reading(Phase.SUCCESS, result_urls=("https://cdn/v.mp4",), **foreign)
    assert look(record(), read).move is states.STILL_RUNNING
    assert look(record(purchases=(line(unchecked=True),)), read).move is states.PAID


def test_a_file_that_was_uploaded_again_is_the_same_file() -> None:
    """An earlier task that is followed after a new upload names the old address of that content."""
    images = [f"https://cdn/motionq/{'a' * 16}-180000000000{n}.png" for n in (0, 1)]
    read = reading(Phase.SUCCESS, result_urls=("https://cdn/v.mp4",), image_urls=(images[0],))
    assert look(record(image_url=images[1]), read).move is states.PAID
    other = read.image_urls[0].replace("a" * 16, "b" * 16)
    assert look(record(image_url=other), read).move is states.STILL_RUNNING


@pytest.mark.parametrize(
    "thin",
    [{"model": None, "image_urls": (), "video_urls": (), "prompt": None}, {"prompt": " dance\n"}, {"prompt": None}],
)
def test_a_thin_echo_does_not_keep_a_paid_video_away(thin: dict[str, Any]) -> None:
    """Only what is echoed can differ: the task ID came on our own connection."""
    assert look(record(), reading(Phase.SUCCESS, result_urls=("https://cdn/v.mp4",), **thin)).move is states.PAID


# -- a task that somebody names ---------------------------------------------------------------------------------------
def test_a_named_task_must_prove_that_it_is_ours() -> None:
    """Our callback address in the echo proves it; without one, the whole request and the moment must fit."""
    rec, ours = record(), line()
    address = f"https://us/callbacks/kie/job1/{NONCE}"
    confirms = decisions.confirms
    assert confirms(reading(callback_url=address, prompt="other"), rec, ours, 40.0)
    assert confirms(reading(), rec, ours, 40.0)
    assert not confirms(reading(Phase.NOT_VISIBLE), rec, ours, 40.0)
    assert not confirms(reading(callback_url=address.replace("job1", "job2")), rec, ours, 40.0)
    assert not confirms(reading(created_ms=NOW - 60_000 - 300_001), rec, ours, 40.0)
    assert not confirms(reading(created_ms=NOW - 60_000 + 340_001), rec, ours, 40.0)
    assert not confirms(reading(created_ms=None), rec, ours, 40.0)
    assert not confirms(reading(image_urls=()), rec, ours, 40.0)
    assert not confirms(reading(), rec, line(sent_at=None), 40.0)
