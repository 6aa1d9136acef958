"""What looks teach, through a real server: every worker learns from every other, and jobs are looked at accordingly."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from motionq.contract.connection import connect
from motionq.contract.durations import BINS, CALLBACKS, KINDS, MEMORY, Sketch, kind_of, lesson_of, parse
from motionq.contract.keys import Keys
from motionq.contract.record import Record
from motionq.contract.settings import Settings
from motionq.contract.store import JobStore
from motionq.estimate import eta_seconds
from motionq_worker.estimates import Estimates
from motionq_worker.kie.messages import Phase
from motionq_worker.schedule import next_look
from support.records import NOW, line, reading, record

pytestmark = pytest.mark.redis_server


@pytest.fixture
def store(redis_url: str, namespace: str) -> Iterator[JobStore]:
    """A store in a namespace of its own."""
    redis: Redis = connect(Settings(redis_url=redis_url))
    yield JobStore(redis, Keys(namespace))
    redis.close()


def estimates(store: JobStore, tmp_path: Path, callbacks: bool = False) -> Estimates:
    """What a fresh worker process knows."""
    url = "https://we.example" if callbacks else None
    return Estimates(store, Settings(data_dir=tmp_path, public_base_url=url))


def flush(learner: Estimates, store: JobStore) -> None:
    pipe = store.redis.pipeline(transaction=False)
    learner.teach(pipe)
    pipe.execute()


def ended(seconds: float, *, before: float = 0.0, found: float = 0.0, candidate: str | None = None) -> Record:
    """A job whose task ended after so many seconds, looked at `before`, and found so much later at NOW."""
    since = NOW - int((seconds + found) * 1000)
    purchase = line(sent_at=since - 500, candidate=candidate)
    return record(running_since=since, updated_at=since + int(before * 1000), purchases=(purchase,))


def success(seconds: float, found: float = 0.0):  # type: ignore[no-untyped-def]
    """What the vendor says of it."""
    done = NOW - int(found * 1000)
    return reading(Phase.SUCCESS, created_ms=done - int(seconds * 1000), completed_ms=done)


def test_the_server_learns_as_the_sketch_does(store: JobStore) -> None:
    """Two hundred random lessons: what learn.lua has made of them is what `Sketch.learn` makes of them."""
    dice, sketch = random.Random(1), Sketch()
    for _ in range(200):
        looks = [(dice.uniform(0, 50), dice.lognormvariate(5, 1), dice.random() < 0.5) for _ in range(5)]
        lesson = lesson_of([(min(a, b), b, over) for a, b, over in looks])
        sketch = sketch.learn(lesson)
        counts = {"reached": lesson.reached, "ended": lesson.ended}
        store.scripts.run("learn", {"kind": "m 720p 1", **counts, "memory": MEMORY, "kinds": KINDS})
    stored = parse(str(store.redis.hget(store.keys.durations, "m 720p 1")))
    assert stored.reached == pytest.approx(sketch.reached, rel=0.02, abs=0.05)
    assert stored.ended == pytest.approx(sketch.ended, rel=0.02, abs=0.05)
    assert max(sketch.reached) == pytest.approx(MEMORY)


def test_there_are_never_too_many_kinds(store: JobStore) -> None:
    """One kind more than are kept is not learned; a known one still is."""
    for kind in ("a", "b", "a"):
        store.scripts.run("learn", {"kind": kind, "reached": {1: 1}, "ended": {1: 1}, "memory": MEMORY, "kinds": 1})
    assert store.redis.hgetall(store.keys.durations) == {"a": "1:2:2"}


def test_the_last_bin_is_learned_and_none_beyond(store: JobStore) -> None:
    """The server's table is as long as ours."""
    counts = {"reached": {BINS - 1: 2, BINS: 2}, "ended": {BINS - 1: 1, BINS: 1}}
    for _ in range(2):
        store.scripts.run("learn", {"kind": "a", **counts, "memory": MEMORY, "kinds": KINDS})
    assert store.redis.hget(store.keys.durations, "a") == f"{BINS - 1}:4:2"


_BROKEN = (
    *("abc", "999:5:3", "96:5:3", "5:10:-400", "5:-1:-1", "-5:3:3", "05:3:3", "5:3:9", "5:nan:1", "5:inf:0"),
    *("5:1e400:1", "5:--:1", "1e5:3:1", "1.5:3:1", "5:5:3:1", "\0"),
)


@pytest.mark.parametrize("text", _BROKEN)
def test_a_broken_sketch_heals_with_its_next_lesson(store: JobStore, text: str) -> None:
    """What can't be a count is dropped, the rest is kept, and what is learned can be read."""
    store.redis.hset(store.keys.durations, "a", f"{text} 7:4:2")
    lesson = lesson_of([(140.0, 150.0, True)])
    counts = {"reached": lesson.reached, "ended": lesson.ended}
    store.scripts.run("learn", {"kind": "a", **counts, "memory": MEMORY, "kinds": KINDS})
    assert store.redis.hget(store.keys.durations, "a") == "7:4:2 53:1:1"
    assert parse("7:4:2 53:1:1").known == 3.0


def test_a_key_of_another_type_is_not_asked_for_at_every_batch(store: JobStore, tmp_path: Path) -> None:
    """What was known holds for the next ten seconds, as if the server had said nothing new."""
    store.redis.set(store.keys.durations, "x")
    pupil = estimates(store, tmp_path)
    pupil.refresh()
    store.redis.delete(store.keys.durations)
    store.redis.hset(store.keys.durations, kind_of(record().spec.model, "720p", 6.0), "30:90:0 50:50:50")
    pupil.refresh()
    assert pupil.schedule(record()).next_look(0.0) == next_look(0.0)


def test_one_worker_looks_when_another_has_learned_to(store: JobStore, tmp_path: Path) -> None:
    """Sixty jobs of 100 to 160 s: another process then looks first after a minute, and tells how long it takes."""
    teacher, pupil = estimates(store, tmp_path), estimates(store, tmp_path)
    assert pupil.schedule(record()).next_look(0.0) == next_look(0.0)
    for n in range(60):
        teacher.ended(ended(100.0 + n, found=3.0), success(100.0 + n, found=3.0), NOW)
    flush(teacher, store)
    pupil.refresh()
    assert 60.0 < pupil.schedule(record()).next_look(0.0) < 130.0
    assert pupil.schedule(record()).next_look(115.0) < 20.0

    known = store.redis.hgetall(store.keys.durations)
    assert list(known) == [kind_of(record().spec.model, "720p", 6.0)]
    left = eta_seconds(record(running_since=NOW), known, NOW)
    assert left == pytest.approx(130.0 + 4.0, rel=0.05)


def test_a_process_that_knows_something_does_not_ask_again_at_once(store: JobStore, tmp_path: Path) -> None:
    """Within ten seconds a process plans with what it has read, however many batches it has."""
    pupil = estimates(store, tmp_path)
    pupil.refresh()
    store.redis.hset(store.keys.durations, kind_of(record().spec.model, "720p", 6.0), "30:90:0 50:50:50")
    pupil.refresh()
    assert pupil.schedule(record()).next_look(0.0) == next_look(0.0)


def test_looks_that_find_a_task_running_teach_too(store: JobStore, tmp_path: Path) -> None:
    """What is seen running is written at the next refresh, counted once for each bin between two looks."""
    learner = estimates(store, tmp_path)
    learner.still(ended(20.0), reading(Phase.RUNNING), NOW)
    learner.still(ended(30.0, before=20.0), reading(Phase.RUNNING), NOW)
    learner.refresh()
    (text,) = store.redis.hvals(store.keys.durations)
    sketch = parse(text)
    assert set(sketch.reached) == {0.0, 1.0}
    assert sum(sketch.reached) == 36.0  # bins 1 to 36: 30 s lie in the last of them
    assert sketch.known == 0.0


def test_the_vendors_times_are_taken_unless_they_cannot_be(store: JobStore, tmp_path: Path) -> None:
    """Found 50 s late, a task taught 100 s by the vendor's clock; one that claims hours, the middle of two looks."""
    learner = estimates(store, tmp_path)
    learner.ended(ended(100.0, found=50.0), success(100.0, found=50.0), NOW)
    learner.ended(ended(100.0, before=60.0), success(7200.0), NOW)
    flush(learner, store)
    (text,) = store.redis.hvals(store.keys.durations)
    sketch = parse(text)
    at = {age: sketch.ended[[i for i, k in enumerate(sketch.ended) if k][n]] for n, age in enumerate((80.0, 100.0))}
    assert at == {80.0: 1.0, 100.0: 1.0}
    assert [i for i, k in enumerate(sketch.ended) if k] == [46, 49]  # 1.1^45 = 73 s, 1.1^48 = 97 s


def test_callbacks_that_come_make_looks_rare(store: JobStore, tmp_path: Path) -> None:
    """Announced ends are counted apart: with a hundred of them the first look comes late, else it does not."""
    learner = estimates(store, tmp_path, callbacks=True)
    for n in range(100):
        learner.ended(ended(100.0 + n / 2, candidate="T1" if n else None), success(100.0 + n / 2), NOW)
    flush(learner, store)
    calls = parse(str(store.redis.hget(store.keys.durations, CALLBACKS)))
    assert (calls.reached[0], calls.ended[0]) == (100.0, 1.0)

    with_them, without = estimates(store, tmp_path, callbacks=True), estimates(store, tmp_path)
    for pupil in (with_them, without):
        pupil.refresh()
    assert with_them.schedule(record()).next_look(0.0) > 150.0
    assert without.schedule(record()).next_look(0.0) < 120.0
