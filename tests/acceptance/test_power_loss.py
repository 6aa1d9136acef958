"""The server loses power, or is replaced by a replica, at every phase of a submission.

The server is killed, and what it had written since a chosen moment (less than a second ago) is cut off its append-only
file. Each story has a server and a worker of its own; all run side by side, and the vendor's ledger judges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from motionq_ops.sandbox.process import SandboxProcess
from support import eventually
from support.aof import whole_commands
from support.outage import FailOver, Outage
from support.shared import nursery

pytestmark = pytest.mark.timeout(240)
End = tuple[str, str, int, int]
BOUGHT_ONCE: End = ("succeeded", "", 1, 1)
NOTHING_SENT: End = ("failed", "submit_unknown unknown", 0, 0)


def young_and_lost(story: Outage) -> End:
    """Armed, not yet durable; the arming is lost: it is armed anew, and bought once."""
    story.worker()
    story.submit()
    story.reaches("armed")
    story.lose_power(since=b"armed_under")
    return story.end()


def young_and_kept(story: Outage) -> End:
    """Armed, not yet durable, and nothing is lost: under another server it counts as possibly sent."""
    story.worker()
    story.submit()
    story.reaches("armed")
    story.lose_power(since=None)
    return story.end()


def durable(story: Outage) -> End:
    """Armed for longer than power can take away, its worker dead: possibly sent, so it is not sent."""
    worker = story.worker()
    story.submit()
    record = story.reaches("armed")
    worker.kill()
    eventually(lambda: story.store.now() > record.durable_at)
    story.lose_power(since=None)
    story.worker()
    return story.end()


def submitting(story: Outage) -> End:
    """The POST is out and will never be answered; the server forgets that it was sent: it is not sent again."""
    story.vendor.add_fault("hang", "createTask", match={"prompt": story.prompt}, made=True)
    story.worker()
    story.submit()
    story.reaches("submitting")
    eventually(story.posted)
    story.lose_power(since=b"sent_until")
    return story.end()


def answered_late(story: Outage) -> End:
    """The server forgets that it was sent, then the answer comes: its task is recorded and delivered."""
    story.vendor.add_fault("slow", "createTask", match={"prompt": story.prompt}, seconds=2.5)
    story.worker()
    story.submit()
    story.reaches("submitting")
    story.lose_power(since=b"sent_until")
    return story.end()


def answered_meanwhile(story: Outage) -> End:
    """The answer comes while the server is away: the task ID is kept until it is back, without its last second."""
    story.vendor.add_fault("slow", "createTask", match={"prompt": story.prompt}, seconds=1.0)
    story.worker()
    story.submit()
    story.reaches("submitting")
    story.server.kill()
    eventually(lambda: list((story.folder / "journal").glob("*/*.json")))
    story.lose_power(since=b"sent_until")
    return story.end()


def recorded(story: Outage) -> End:
    """The task is on record, and the record forgets it and the sending: the journal brings it back."""
    story.worker()
    story.submit()
    story.reaches("running")
    story.lose_power(since=b"sent_until")
    return story.end()


def recorded_and_dead(story: Outage) -> End:
    """The same, and the worker dies with the server: the next one finds the journal."""
    worker = story.worker()
    story.submit()
    story.reaches("running")
    worker.kill()
    story.lose_power(since=b"sent_until")
    story.worker()
    return story.end()


def replica_lacks_the_arming(story: Outage) -> End:
    """The replica lags from before the arming: submit waits for it and sends nothing; the replica arms it anew."""
    assert isinstance(story, FailOver)
    story.submit()
    story.stall()
    story.worker()
    record = story.reaches("armed")
    eventually(lambda: story.store.now() > record.durable_at + 3000, 20)
    assert (story.record.state, story.posted()) == ("armed", False)
    story.promote()
    return story.end()


def replica_lacks_the_task(story: Outage) -> End:
    """The replica lags from the moment of sending: it never hears of the task, and the journal tells it."""
    assert isinstance(story, FailOver)
    story.vendor.add_fault("slow", "createTask", match={"prompt": story.prompt}, seconds=1.5)
    story.worker()
    story.submit()
    story.reaches("submitting")
    story.stall()
    story.reaches("running")
    story.promote()
    return story.end()


STORIES: dict[Callable[[Outage], End], End] = {
    young_and_lost: BOUGHT_ONCE,
    young_and_kept: NOTHING_SENT,
    durable: NOTHING_SENT,
    submitting: ("failed", "submit_unknown unknown", 1, 1),
    answered_late: BOUGHT_ONCE,
    answered_meanwhile: BOUGHT_ONCE,
    recorded: BOUGHT_ONCE,
    recorded_and_dead: BOUGHT_ONCE,
    replica_lacks_the_arming: BOUGHT_ONCE,
    replica_lacks_the_task: BOUGHT_ONCE,
}


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Callable[[Outage], End], Future[End]]]:
    """All stories, told side by side."""
    vendor = SandboxProcess(speed=60, settings={"duration": 60.0, "render": "none", "rate_limit": "off"})
    base, started = tmp_path_factory.mktemp("power"), nursery()
    with vendor, ThreadPoolExecutor(len(STORIES)) as pool:

        def tell(story: Callable[[Outage], End]) -> End:
            folder = base / story.__name__
            folder.mkdir()
            with ExitStack() as stack:
                kind = FailOver if story.__name__.startswith("replica") else Outage
                return story(stack.enter_context(kind(folder, vendor, started)))

        yield {story: pool.submit(tell, story) for story in STORIES}


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_nothing_is_bought_twice_and_no_task_in_hand_is_lost(
    story: Callable[[Outage], End], ends: dict[Callable[[Outage], End], Future[End]]
) -> None:
    """At most one createTask call per job in the vendor's ledger, and a task ID that came back is delivered."""
    assert ends[story].result(180) == STORIES[story]


def test_a_file_is_cut_between_commands_and_never_inside_a_transaction() -> None:
    """What the tests above cut off is what a loss of power leaves: whole commands."""
    one, multi, execute = (_command(*words) for words in ((b"SET", b"a", b"1"), (b"MULTI",), (b"EXEC",)))
    raw = b"#TS:1\r\n" + one + multi + one + execute + one
    ends = [whole_commands(raw, limit) for limit in (0, len(raw) - 1, len(raw))]
    assert ends == [0, len(raw) - len(one), len(raw)]
    inside = 7 + len(one) + len(multi) + len(one)
    assert whole_commands(raw, inside) == 7 + len(one)


def _command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
