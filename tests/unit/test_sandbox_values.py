"""The sandbox's decisions, as values: states, plans, prices, windows, rules, rectangles, time."""

from __future__ import annotations

import math
import random
import statistics
from collections import deque

import pytest

from motionq_ops.sandbox.accounts import Account, admit, most_in_window
from motionq_ops.sandbox.clock import Clock
from motionq_ops.sandbox.faults import FAULTS
from motionq_ops.sandbox.hosts import files_host
from motionq_ops.sandbox.prices import PRICES, billed_seconds, cost
from motionq_ops.sandbox.render import Box, film_size, picture_box
from motionq_ops.sandbox.rules import BadFault, Rules, parse_rule
from motionq_ops.sandbox.settings import BadSetting, Settings, changed, parse_rate
from motionq_ops.sandbox.tasks import Plan, Reading, draw_plan, read


@pytest.mark.parametrize(
    ("age", "film_age", "reading"),
    [
        (0.0, None, Reading("waiting")),
        (29.9, 1.0, Reading("waiting")),
        (30.0, 1.0, Reading("generating")),
        (99.9, 1.0, Reading("generating")),
        (100.0, 1.0, Reading("success", 100.0)),
        (500.0, 1.0, Reading("success", 100.0)),
        (500.0, None, Reading("generating")),
        (500.0, 300.0, Reading("success", 300.0)),
        (200.0, 300.0, Reading("generating")),
    ],
)
def test_states_of_a_good_task(age, film_age, reading):
    """waiting, generating, then success, but not before the film is there."""
    assert read(Plan(100.0), age, film_age, 0.3) == reading


def test_states_of_other_tasks():
    """A failing task fails at its time, a flipping one becomes a success, a silent one waits for ever."""
    fails = Plan(100.0, "fail", "500", "x")
    assert read(fails, 99.0, None, 0.3) == Reading("generating")
    assert read(fails, 1e9, 1.0, 0.3) == Reading("fail", 100.0)
    flips = Plan(100.0, "fail", "524", "x", 60.0)
    assert read(flips, 159.0, 1.0, 0.3) == Reading("fail", 100.0)
    assert read(flips, 160.0, 1.0, 0.3) == Reading("success", 160.0)
    assert read(Plan(100.0, "silent"), 1e9, 1.0, 0.3) == Reading("waiting")


def test_drawn_durations():
    """Durations are lognormal around median + factor x driver seconds, and the same for the same seed."""
    drawn = [draw_plan(Settings(), random.Random(seed), 5.0, None).seconds for seed in range(2000)]
    assert drawn[7] == draw_plan(Settings(), random.Random(7), 5.0, None).seconds
    assert statistics.median(drawn) == pytest.approx(135.0, rel=0.02)
    assert statistics.quantiles(drawn, n=100)[97] == pytest.approx(135.0 * 2.718 ** (0.15 * 2.05), rel=0.05)


def test_prices():
    """Credits per second of the driver, rounded up, down or not at all."""
    assert [billed_seconds(5.28, way) for way in ("ceil", "floor", "exact")] == [6.0, 5.0, 5.28]
    assert [billed_seconds(5.0005, "ceil"), billed_seconds(5.0, "ceil")] == [5.0, 5.0]
    assert cost(PRICES, "kling-2.6/motion-control", "1080p", 10.0, "ceil") == 180.0
    assert cost(PRICES, "kling-3.0/motion-control", "720p", 3.1, "ceil") == 80.0


def test_create_window():
    """A sliding window: full, then open again when the oldest call is as old as the window; refusals take no place."""
    window: deque[float] = deque()
    assert [admit(window, moment, (2, 10.0)) for moment in (0.0, 1.0, 2.0, 9.9, 10.0, 10.5, 11.0)] == [
        True, True, False, False, True, False, True,
    ]  # fmt: skip
    assert admit(deque(), 0.0, None)


def test_largest_window():
    """The largest number of arrivals in any half-open window."""
    assert most_in_window([], 10.0) == 0
    assert most_in_window([0.0, 10.0, 20.0], 10.0) == 1
    assert most_in_window([0.0, 5.0, 9.9, 10.0, 12.0], 10.0) == 4


def test_books():
    """held, charged and refunded add up through hold, refund, payment, correction and second charge."""
    account = Account("a", 100.0)
    assert not account.hold(100.5)
    assert account.hold(60.0)
    account.correct(-10.0)
    account.give_back(50.0)
    assert (account.balance, account.held, account.charged, account.refunded) == (100.0, 0.0, 50.0, 50.0)
    account.charge_again(50.0)
    assert account.hold(30.0)
    account.burn(30.0)
    assert (account.balance, account.held, account.charged - account.refunded) == (20.0, 0.0, 80.0)


def test_rules_are_used_up_in_order():
    """The first rule that fits is taken; callback faults are taken together, one of each."""
    rules = Rules()
    rules.add(parse_rule(raw) for raw in (
        {"call": "credit", "fault": "code_455", "match": {"model": "x"}},
        {"call": "credit", "fault": "code_401", "times": 2},
        {"fault": "callback_early"}, {"fault": "callback_never", "times": None}, {"fault": "callback_early"},
    ))  # fmt: skip
    taken = [rules.take("credit", {}) for _ in range(3)]
    assert [rule.fault if rule else None for rule in taken] == ["code_401", "code_401", None]
    assert [sorted(rules.take_all("callback", {})) for _ in range(3)] == [
        ["callback_early", "callback_never"], ["callback_early", "callback_never"], ["callback_never"],
    ]  # fmt: skip


def test_call_of_a_rule():
    """The call may be left out where only one is possible; generation faults may be named by createTask too."""
    assert parse_rule({"fault": "lie_500"}).call == "createTask"
    assert parse_rule({"fault": "silent"}).call == parse_rule({"fault": "silent", "call": "createTask"}).call
    with pytest.raises(BadFault, match="drop_after needs a call"):
        parse_rule({"fault": "drop_after"})


@pytest.mark.parametrize(
    ("driver", "mode", "size"),
    [
        ((1280, 720), "720p", (1280, 720)),
        ((1280, 720), "1080p", (1920, 1080)),
        ((720, 1280), "720p", (720, 1280)),
        ((854, 480), "720p", (1280, 720)),
        ((500, 500), "1080p", (1080, 1080)),
    ],
)
def test_film_size(driver, mode, size):
    """The short side as mode says, the driver's aspect, even numbers."""
    assert film_size(*driver, mode) == size


def test_picture_box():
    """Lower left, the picture's aspect, at most a third as wide and two thirds as high as the frame."""
    assert picture_box((1280, 720), (512, 512)) == Box(0, 294, 426, 426)
    assert picture_box((1280, 720), (300, 600)) == Box(0, 240, 240, 480)
    assert picture_box((720, 1280), (512, 512)) == Box(0, 1040, 240, 240)


def test_clock():
    """Simulated time runs by the speed, jumps, and keeps what has passed when the speed changes."""
    wall = [100.0]
    clock = Clock(10.0, lambda: wall[0])
    wall[0] = 102.0
    assert (clock.now(), clock.wall_seconds_until(50.0)) == (20.0, 3.0)
    clock.advance(1000.0)
    clock.set_speed(1.0)
    wall[0] = 103.0
    assert (clock.now(), clock.wall_seconds_until(5.0)) == (1021.0, 0.0)


def test_settings():
    """Switches are checked one and all."""
    assert changed(Settings(), {"duration": None, "read_limit": 3, "speed": 2}).speed == 2.0
    assert [parse_rate(text) for text in ("off", "20/10", "20/10s")] == [None, (20, 10.0), (20, 10.0)]
    for values in ({"rate_limit": "0/10"}, {"validation_code": 404}, {"speed": 0}, {"x": 1}, {"read_limit": "3"}):
        with pytest.raises(BadSetting):
            changed(Settings(), values)


@pytest.mark.parametrize("beyond", [math.nan, math.inf, -math.inf, 10**400])
def test_what_is_no_finite_number_is_no_switch(beyond):
    """Neither NaN nor what lies beyond all bounds: they would come back in answers that are no JSON."""
    wrong = [{name: beyond} for name in ("speed", "foreign_seconds", "duration", "read_limit", "upload_rate")]
    for values in (*wrong, {"prices": {"m": {"720p": beyond}}}):
        with pytest.raises(BadSetting):
            changed(Settings(), values)
    for rate in ("20/nan", "20/inf"):
        with pytest.raises(BadSetting, match="rate_limit needs numbers above zero"):
            parse_rate(rate)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"fault": "duration", "seconds": "abc"}, "seconds of duration is a number of at least zero, not 'abc'"),
        ({"fault": "duration", "seconds": None}, "seconds of duration is a number of at least zero, not None"),
        ({"fault": "duration", "seconds": math.inf}, "seconds of duration is a number of at least zero, not inf"),
        (
            {"fault": "fail_generation", "seconds": -1},
            "seconds of fail_generation is a number of at least zero or",
        ),
        ({"fault": "reset", "call": "credit", "made": 1}, "made of reset is true or false, not 1"),
        ({"fault": "callback_duplicate", "copies": 0}, "copies of callback_duplicate is a whole number from 1, not 0"),
        ({"fault": "code_500", "call": "credit", "msg": 5}, "msg of code_500 is text or null, not 5"),
        ({"fault": "fail_generation", "code": [1]}, "code of fail_generation is a code, as a number or as text, not"),
        ({"fault": "strange_state", "state": None}, "state of strange_state is text, not None"),
        ({"fault": "silent", "match": ["a"]}, """match is like {"prompt": "part of it"}, not ['a']"""),
        ({"fault": "silent", "match": {"prompt": 5}}, """match is like {"prompt": "part of it"}, not {'prompt': 5}"""),
    ],
)
def test_options_of_a_wrong_type_are_refused(options, sentence):
    """A rule that can't be carried out is refused when it is given, not when a request meets it."""
    with pytest.raises(BadFault) as caught:
        parse_rule(options)
    assert str(caught.value).startswith(sentence)


def test_options_are_taken_as_documented():
    """What the page shows as defaults may be given, null too where the default is null."""
    for name, fault in FAULTS.items():
        assert parse_rule({"fault": name, "call": fault.calls[0], **fault.options}).options == fault.options


@pytest.mark.parametrize(
    ("api", "files"),
    [
        ("127.0.0.1:8900", "localhost:8900"),
        ("localhost:8900", "127.0.0.1:8900"),
        ("[::1]:8900", "localhost:8900"),
        ("localhost", "127.0.0.1"),
        ("sandbox:8900", "sandbox:8900"),
        ("127.0.0.1.example:80", "127.0.0.1.example:80"),
    ],
)
def test_files_lie_on_another_host_than_the_api(api, files):
    """On the loopback interface files have its other name, as the vendor's lie on hosts of their own."""
    assert files_host(api) == files
