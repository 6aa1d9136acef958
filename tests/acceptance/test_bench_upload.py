"""`motionq bench upload`, run small: what it reports is what the vendor's ledger saw. No figure of time is judged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import IO, Any

import pytest

from motionq.contract.job import DEFAULT_MODEL
from motionq.contract.models import check_file, check_video, find_model
from motionq.output import WrongUsage
from motionq_ops.bench.clips import CLIP, write_clips
from motionq_ops.bench.figures import Figures
from motionq_ops.bench.measure import Watch, children, usage
from motionq_worker.inspection import inspect_video

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")

BENCH = "import sys; from motionq_ops.cli import main; main()"
MB = 1000**2


def _bench(folder: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MOTIONQ_", "KIE_", "CELERY_", "REDIS_"))}
    return subprocess.run(
        [sys.executable, "-c", BENCH, "bench", "upload", *options],
        env=clean | {"TMPDIR": str(folder)} | environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )


def test_every_video_is_sent_once_and_the_second_job_sends_nothing(tmp_path: Path) -> None:
    """Two videos of 2 MB are 4,000,000 bytes at the vendor; another job with the first of them sends 0 bytes.

    Settings of the environment do not reach the benchmark, and nothing is left behind.
    """
    given = {"MOTIONQ_NAMESPACE": "elsewhere", "REDIS_URL": "redis://127.0.0.1:1/0", "KIE_API_KEY": "a real key"}
    done = _bench(tmp_path, "--size=2MB", "--jobs=2", "--repeats=1", "--hold=1s", "--json", **given)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    said: dict[str, Any] = json.loads(line)
    keys = ["benchmark", "size_bytes", "jobs", "hold_seconds", "repeats", "machine", "medians", "targets", "runs"]
    assert list(said) == keys
    assert [said[key] for key in keys[:5]] == ["upload", 2 * MB, 2, 1.0, 1]
    assert [list(run) for run in said["runs"]] == [[field.name for field in fields(Figures)]] * 3
    sent = [(run["name"], run["files"], run["sent_bytes"], run["again_bytes"]) for run in said["runs"]]
    assert sent == [("held open", 2, 4 * MB, 0), ("one", 1, 2 * MB, 0), ("together", 2, 4 * MB, 0)]
    assert said["medians"] == said["runs"]
    assert [target["name"] for target in said["targets"]] == ["growth_bytes", "again_bytes"]
    assert said["targets"][1] == {"name": "again_bytes", "below": 1, "worst": 0, "met": True}
    for run in said["runs"]:
        assert run["growth_bytes"] == run["peak_bytes"] - run["rest_bytes"]
        assert run["rest_bytes"] > 20 * MB  # a Python process with Celery in it, and no other
    assert list(tmp_path.iterdir()) == []


def test_a_size_below_the_sample_is_refused(tmp_path: Path) -> None:
    """The video must hold the sample clip: one line, exit code 2."""
    done = _bench(tmp_path, "--size=1MB")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == "motionq: --size: the sample clip alone has 1,055,736 bytes"


# -- the videos -------------------------------------------------------------------------------------------------------
def test_enlarged_videos_are_what_the_vendor_takes(tmp_path: Path) -> None:
    """Exactly as large as asked, no two alike, and by content, size and length within the model's limits."""
    first, second = write_clips(tmp_path, 2, 3 * MB)
    assert [first.stat().st_size, second.stat().st_size] == [3 * MB, 3 * MB]
    assert first.read_bytes() != second.read_bytes()
    model, facts = find_model(DEFAULT_MODEL), inspect_video(first)
    check_file(model, "video", facts.media_type, 3 * MB)
    check_video(model, facts, "image")
    assert facts == inspect_video(CLIP)


def test_the_smallest_video_is_the_sample_with_an_empty_box(tmp_path: Path) -> None:
    """Eight bytes more than the sample can be made, seven can't."""
    size = CLIP.stat().st_size
    (clip,) = write_clips(tmp_path, 1, size + 8)
    assert clip.read_bytes() == CLIP.read_bytes() + b"\x00\x00\x00\x08free"
    with pytest.raises(WrongUsage):
        write_clips(tmp_path, 1, size + 7)


# -- the measurement --------------------------------------------------------------------------------------------------
CHILD = """
import subprocess, sys
BUSY = '''
import subprocess, sys
subprocess.run([sys.executable, "-c", "sum(range(5_000_000))"])
print("done", flush=True)
sys.stdin.read()
'''
for line in sys.stdin:
    if line == "take\\n":
        block = bytearray(b"x" * 40_000_000)
        del block
    elif line == "child\\n":
        child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    elif line == "end\\n":
        child.communicate()
    elif line == "busy\\n":
        child = subprocess.Popen([sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        child.stdout.readline()
    elif line == "work\\n":
        sum(range(20_000_000))
    print("done", flush=True)
"""


class Puppet:
    """A process that does as it is told."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.pid = process.pid
        self._in: IO[str] | None = process.stdin
        self._out: IO[str] | None = process.stdout

    def do(self, what: str) -> None:
        assert self._in
        assert self._out
        self._in.write(f"{what}\n")
        self._in.flush()
        assert self._out.readline() == "done\n"


@contextmanager
def _puppet() -> Iterator[Puppet]:
    command = [sys.executable, "-c", CHILD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Puppet(process)


def test_memory_that_was_given_back_is_in_the_peak() -> None:
    """80 MB held for a moment count, and the next watch begins anew."""
    with _puppet() as puppet:
        puppet.do("nothing")
        rest = usage(puppet.pid).rss
        with Watch(puppet.pid) as taking:
            puppet.do("take")
        with Watch(puppet.pid) as resting:
            puppet.do("nothing")
    assert taking.exact
    assert 75 * MB < taking.peak - rest < 90 * MB
    assert resting.peak - rest < 10 * MB


def test_children_are_told_apart() -> None:
    """A child is found while it lives; its memory and time are not the process' own."""
    with _puppet() as puppet:
        puppet.do("child")
        (child,) = children(puppet.pid)
        assert usage(child).peak > 0
        puppet.do("end")
        assert children(puppet.pid) == []
        before = usage(puppet.pid)
        puppet.do("work")
        after = usage(puppet.pid)
    assert after.cpu > before.cpu
    assert after.children_cpu == before.children_cpu


def test_what_is_spent_further_below_counts() -> None:
    """The time of a grandchild is that of those below, also while the child that waited for it lives on."""
    with _puppet() as puppet, Watch(puppet.pid) as watch:
        puppet.do("busy")
        (child,) = children(puppet.pid)
        spent = usage(child).children_cpu
        assert usage(puppet.pid).children_cpu == 0.0
    assert spent > 0.0
    assert watch.below_cpu >= spent
