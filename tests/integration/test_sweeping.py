"""Staged files on a real disk, jobs on a real server: what no job needs goes, and nothing else."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from motionq import Job, MotionQueue, Settings
from motionq.contract.errors import InvalidSettings
from motionq.contract.job import StagedSource
from motionq.contract.models import MODELS
from motionq.staging import StagedFile, Staging
from motionq_worker.sweeper import Sweeper
from motionq_worker.sweeping import QUEUES, Shared, Swept, local_root, sweep, take_away
from support import eventually
from support.by_hand import buy, fail, succeed

MEDIA = Path(__file__).parents[1] / "media"
PNG, MP4 = MEDIA / "astronaut.png", MEDIA / "bigbuckbunny.mp4"
MODEL = MODELS["kling-2.6/motion-control"]
TTL = 7 * 86_400.0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data" / "staging"


@pytest.fixture
def submitted(queue: MotionQueue) -> Callable[[str], Job]:
    """A job with a picture of its own, and the video that all share."""
    return lambda name: queue.submit(image=PNG.read_bytes() + name.encode(), video=MP4, tenant=name)


def image_of(root: Path, job: Job) -> Path:
    assert isinstance(job.spec.image, StagedSource)
    return root / StagedFile(**job.spec.image.model_dump()).key


def staged(root: Path) -> set[Path]:
    return {path for path in root.glob("??/*") if path.is_file()}


def age(paths: set[Path], seconds: float = TTL + 60) -> None:
    for path in paths:
        os.utime(path, (time.time() - seconds, time.time() - seconds))


# -- what goes --------------------------------------------------------------------------------------------------------
def test_only_what_no_job_needs_goes(queue: MotionQueue, root: Path, submitted: Callable[[str], Job]) -> None:
    """A succeeded job's own file goes; those of unfinished jobs, and of jobs that may be replayed, stay."""
    queued, running, failed, cancelled, done = (submitted(f"t{n}") for n in range(5))
    buy(queue, running.id)
    fail(queue, failed.id)
    queue.cancel(cancelled.id)
    succeed(queue, done.id)
    before = staged(root)
    age(before)
    size = image_of(root, done).stat().st_size
    assert sweep(queue.store, root, ttl=TTL) == Swept(1, size)
    assert before - staged(root) == {image_of(root, done)}
    assert sweep(queue.store, root, ttl=TTL) == Swept()
    for job in (queued, running, failed, cancelled):
        assert image_of(root, job).exists()


def test_a_replayed_job_finds_its_files(queue: MotionQueue, root: Path, submitted: Callable[[str], Job]) -> None:
    """However long ago a failed job's files were given: as long as it can be replayed they are there."""
    job = submitted("t")
    fail(queue, job.id)
    age(staged(root), 10 * TTL)
    sweep(queue.store, root, ttl=TTL)
    assert queue.replay(job.id).state == "queued"
    assert len(staged(root)) == 2


def test_what_was_submitted_lately_stays(queue: MotionQueue, root: Path, submitted: Callable[[str], Job]) -> None:
    """Staging again counts as new, also before the job is on record."""
    job = submitted("t")
    succeed(queue, job.id)
    age(staged(root))
    Staging(str(root)).put(PNG.read_bytes() + b"t", model=MODEL, kind="image")
    sweep(queue.store, root, ttl=TTL)
    assert staged(root) == {image_of(root, job)}


def test_leftovers(queue: MotionQueue, root: Path, submitted: Callable[[str], Job]) -> None:
    """A sweep that was killed is undone by the next one; half a file of a killed submission goes when it is old."""
    job = submitted("t")
    image = image_of(root, job)
    image.rename(image.with_name(f"{image.name}.swept"))
    old, young = (image.with_name(f"{image.name}.{n}.part") for n in "ab")
    old.touch()
    young.touch()
    age(staged(root) - {young})
    sweep(queue.store, root, ttl=TTL)
    assert image.exists()
    assert (old.exists(), young.exists()) == (False, True)


# -- what keeps it safe -----------------------------------------------------------------------------------------------
def test_a_storage_of_two_queues_is_left_alone(
    queue: MotionQueue, redis_url: str, root: Path, submitted: Callable[[str], Job]
) -> None:
    """Nobody knows what the other queue's jobs need: nothing goes, and it is said whose names are in the book."""
    done = submitted("t")
    succeed(queue, done.id)
    age(staged(root))
    other = Settings(redis_url=redis_url, namespace=f"{queue.store.keys.namespace}-other", data_dir=root.parent)
    with MotionQueue(settings=other) as second:
        assert sweep(second.store, root, ttl=10 * TTL) == Swept()
        name = str(second.store.redis.get(second.store.keys.staging))
        with pytest.raises(Shared, match=rf"other queues .* remove {name} from {root / QUEUES}\)"):
            sweep(queue.store, root, ttl=TTL)
    assert image_of(root, done).exists()
    (root / QUEUES / name).unlink()
    assert sweep(queue.store, root, ttl=TTL).files == 2


def test_a_file_that_was_touched_meanwhile_is_put_back(tmp_path: Path) -> None:
    """Between the look at its age and its removal a job may have been given the file."""
    path = tmp_path / "file"
    path.write_bytes(b"x")
    assert take_away(path, time.time() - 60) is None
    assert path.read_bytes() == b"x"
    assert take_away(path, time.time() + 60) == 1
    assert take_away(path, time.time() + 60) is None
    assert list(tmp_path.iterdir()) == []


def test_a_submission_beside_a_sweep_has_its_file(tmp_path: Path) -> None:
    """Whoever comes first: when `put` has answered and the sweep has ended, the file is there."""
    staging, content = Staging(str(tmp_path)), PNG.read_bytes()
    path = tmp_path / staging.put(content, model=MODEL, kind="image").key
    for _ in range(100):
        age({path})
        sweeping = threading.Thread(target=take_away, args=(path, time.time() - TTL))
        sweeping.start()
        staging.put(content, model=MODEL, kind="image")
        sweeping.join()
        assert path.stat().st_size == len(content)


def test_what_is_no_local_folder_is_not_swept(tmp_path: Path) -> None:
    """An object store is left to its lifecycle rules; there a file older than a day is written again."""
    assert local_root(f"file://{tmp_path}") == tmp_path
    assert local_root("memory://bucket") is None
    with pytest.raises(InvalidSettings, match=r"^MOTIONQ_STAGING_URL: "):
        local_root("nosuch://bucket")


# -- when -------------------------------------------------------------------------------------------------------------
@pytest.fixture
def sweepers(queue: MotionQueue, root: Path) -> Iterator[tuple[Sweeper, Sweeper]]:
    two = Sweeper(queue.store, str(root), TTL), Sweeper(queue.store, str(root), TTL)
    yield two
    for sweeper in two:
        sweeper.close()


def test_one_worker_an_hour(
    queue: MotionQueue, root: Path, submitted: Callable[[str], Job], sweepers: tuple[Sweeper, Sweeper]
) -> None:
    """The first that asks sweeps, the others find it done, for an hour."""
    first, second = (submitted(name) for name in "ab")
    succeed(queue, first.id)
    age(staged(root))
    sweepers[0].look()
    eventually(lambda: not image_of(root, first).exists())
    sweepers[0].close()
    succeed(queue, second.id)
    sweepers[1].look()
    sweepers[1].close()
    assert image_of(root, second).exists()
    assert 3_500_000 < int(str(queue.store.redis.pttl(queue.store.keys.sweep))) <= 3_600_000


def test_a_sandbox_sweeps_nothing(
    queue: MotionQueue, root: Path, submitted: Callable[[str], Job], sweepers: tuple[Sweeper, Sweeper]
) -> None:
    """Its jobs may lie beside real ones in one storage, and it does not know those."""
    queue.store.redis.set(queue.store.keys.vendor, "127.0.0.1")
    done = submitted("t")
    succeed(queue, done.id)
    age(staged(root))
    sweepers[0].look()
    sweepers[0].close()
    assert image_of(root, done).exists()
    assert not (root / QUEUES).exists()
