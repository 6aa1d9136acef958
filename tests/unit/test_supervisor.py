"""When a part of the stack starts again."""

from __future__ import annotations

from pathlib import Path

import pytest

from motionq_ops.supervisor import CannotStart, Supervisor, how_it_ended, next_pause


def test_pauses_grow_and_are_forgotten_after_a_healthy_minute() -> None:
    """0.5 s, doubling up to 30 s; who lived a minute begins again with 0.5 s."""
    pauses = [0.0]
    for _ in range(8):
        pauses.append(next_pause(pauses[-1], lived=1.0))
    assert pauses[1:] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert next_pause(30.0, lived=59.9) == 30.0
    assert next_pause(30.0, lived=60.0) == 0.5


def test_an_end_is_told_in_words() -> None:
    """Exit codes and signals are told apart."""
    assert (how_it_ended(2), how_it_ended(-9)) == ("exit code 2", "killed by signal 9")


class _Part:
    """A part of the stack that does what the test says."""

    def __init__(self, log: Path) -> None:
        self.name, self.log = "part", log
        self.code: int | None = None
        self.starts = 0
        self.refuses: str | None = None

    def start(self) -> None:
        if self.refuses:
            raise OSError(self.refuses)
        self.starts += 1
        self.code = None

    def ended(self) -> int | None:
        return self.code


class _Watch:
    """A supervisor with one part and a clock in the test's hand."""

    def __init__(self, log: Path = Path("no.log")) -> None:
        self.now, self.said, self.part = 0.0, list[str](), _Part(log)
        self.supervisor = Supervisor(self.said.append, lambda: self.now)
        self.supervisor.watch(self.part)

    def look_at(self, now: float) -> int:
        """Look at this moment; how often the part was started again so far."""
        self.now = now
        self.supervisor.look()
        return self.part.starts


def test_a_dead_part_starts_again_after_its_pause() -> None:
    """It is said in one line when a part ends, and in another when it runs again; not before the pause is over."""
    watch = _Watch()
    assert watch.look_at(10.0) == 0
    watch.part.code = -9
    assert [watch.look_at(moment) for moment in (20.0, 20.4, 20.5, 25.0)] == [0, 0, 1, 1]
    assert watch.said == ["part ended (killed by signal 9); it starts again in 0.5 s", "part runs again"]


def test_a_part_that_can_not_start_is_tried_again_with_growing_pauses() -> None:
    """A failed start counts as a death of no age: the pause grows even if the part had lived long before."""
    watch = _Watch()
    watch.part.code, watch.part.refuses = 1, "no room"
    assert [watch.look_at(moment) for moment in (100.0, 100.5)] == [0, 0]
    assert watch.said[-1] == "part does not start (no room); next try in 1 s"
    watch.part.refuses = None
    assert [watch.look_at(moment) for moment in (101.4, 101.5)] == [0, 1]


def test_giving_up_names_the_last_words(tmp_path: Path) -> None:
    """After as many deaths as allowed the part's own last line says why."""
    log = tmp_path / "part.log"
    log.write_text("starting\nno such key\n\n")
    watch = _Watch(log)
    watch.part.code = 1
    watch.look_at(1.0)
    watch.supervisor.give_up_after(2)
    watch.look_at(1.5)
    watch.part.code = 1
    watch.look_at(1.6)
    with pytest.raises(CannotStart) as error:
        watch.supervisor.give_up_after(2)
    assert str(error.value) == f"part does not start: no such key (its log: {log})"
