"""The worker dies before and after every command of a job: what the vendor's ledger says of it.

No hook in the product: proxies before Redis and before the vendor, and wrapped calls of the operating system, count
what a worker does and kill it there (`motionq_ops.bench.crash`). Here each distinct boundary is crossed once, and those
around the purchase are looked at from both sides; `motionq bench crash` does so with all of them, twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from motionq.contract.keys import Keys
from motionq_ops.bench.crash import Lab, Run
from motionq_ops.bench.matrix import SUCCEEDED, allowed, distinct, only_with_callbacks, places
from support import DANCE, IMAGE
from support.invariants import violations

pytestmark = pytest.mark.timeout(420)  # the first test makes all runs
AT_ONCE = 32


@dataclass(frozen=True)
class Matrix:
    """A run in which nothing happens, with and without callbacks; one run per place; what each namespace breaks."""

    clean: tuple[Run, Run]
    runs: tuple[Run, ...]
    broken: dict[str, list[str]]


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    with Lab(tmp_path_factory.mktemp("crash"), IMAGE, DANCE) as lab:
        with ThreadPoolExecutor(2) as pool:
            alone, called = pool.map(lambda callbacks: lab.clean(callbacks=callbacks), (False, True))
        without = places(alone.passed, callbacks=False)
        beside = only_with_callbacks(places(called.passed, callbacks=True), without)
        runs = lab.killed(distinct(beside) + distinct(without), at_once=AT_ONCE, clean=alone)
        broken = {str(run.at): list(_broken(lab, run)) for run in runs}
        yield Matrix((alone, called), tuple(runs), broken)


def _broken(lab: Lab, run: Run) -> Iterator[str]:
    keys = Keys(run.namespace)
    return violations(lab.redis, keys, jobs=[run.job.id], tenants=["default"], cap=100, rate=200)


def test_the_clean_runs_have_the_boundaries_that_money_depends_on(matrix: Matrix) -> None:
    """The matrix is not empty by mistake: both clean runs pass the purchase, the journal and the result's rename."""
    wanted = {
        *("move begin_upload#1", "POST file-stream-upload#1", "hset upload#1", "move uploaded#1", "admit#1"),
        *("claim submit#1", "publish submit#1", "take submit#1", "send#1", "POST createTask#1", "sync line#1"),
        *("rename line#1", "sync folder#1", "move record_task#1", "erase line#1", "GET recordInfo#1", "move paid#1"),
        *("move begin_deliver#1", "GET file#1", "rename result#1", "move delivered#1"),
    }
    for run in matrix.clean:
        assert (run.outcome, run.purchases, run.asked) == (SUCCEEDED, 1, 1)
        assert wanted - set(run.passed) == set()
    assert "candidates#1" in matrix.clean[1].passed


def test_every_worker_was_killed_where_it_should_be(matrix: Matrix) -> None:
    """No place of the matrix is left out: each was reached, and its worker died there."""
    assert [str(run.at) for run in matrix.runs if not run.reached] == []
    assert len(matrix.runs) >= 45


def test_no_job_is_bought_twice_wherever_its_worker_dies(matrix: Matrix) -> None:
    """The vendor's ledger: at most one createTask call, and so at most one task, per job."""
    assert {str(run.at): (run.asked, run.purchases) for run in matrix.runs if max(run.asked, run.purchases) > 1} == {}


def test_every_job_ends_as_its_place_allows(matrix: Matrix) -> None:
    """It succeeds; only between the right to send and the journal's line may its fate be unknown, and charged so."""
    wrong = {
        (str(run.at), run.at.callbacks): (run.outcome, run.purchases)
        for run in matrix.runs
        if run.at and (run.outcome, run.purchases) not in allowed(run.at)
    }
    assert wrong == {}


def test_with_callbacks_every_bought_job_succeeds(matrix: Matrix) -> None:
    """The callback brings the task ID of a worker that died with it: whatever was bought is delivered."""
    bought = [run for run in matrix.runs if run.at and run.at.callbacks and run.purchases]
    assert len(bought) >= 8
    assert {str(run.at): run.outcome for run in bought if run.outcome != SUCCEEDED} == {}


def test_a_job_that_succeeds_has_its_video_under_its_final_name(matrix: Matrix) -> None:
    """Also when the worker died while it was put into place, and the record names the task that was paid for."""
    for run in matrix.runs:
        if run.outcome == SUCCEEDED:
            assert run.job.result is not None
            assert Path(str(run.job.result.file)).stat().st_size > 0, str(run.at)
            assert [line.task_id for line in run.record.purchases if line.status == "paid"] == [run.job.task_id]


def test_nothing_is_left_behind(matrix: Matrix) -> None:
    """No slot is leaked, no alarm is left, and every record, index and expiry fits the job's state."""
    assert {str(run.at): run.stuck for run in matrix.runs if run.stuck} == {}
    assert {place: found for place, found in matrix.broken.items() if found} == {}
