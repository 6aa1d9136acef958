"""A child on the leash ends with the process that started it; logs stay bounded; the data directory has one owner."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from motionq_ops import leash, processes, stack_file
from motionq_ops.processes import Child, Command, last_words
from support import eventually
from support.local_stack import descendants, gone

_PARENT = """
import subprocess, sys
from motionq_ops import leash
command = leash.leashed([sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"])
if sys.argv[1] == "watchdog":
    start = f"import sys; sys.path.insert(0, {sys.argv[2]!r}); from motionq_ops import leash; "
    command[1:4] = ["-c", start + "leash.main(sys.argv[1:], kernel=False)"]
child = subprocess.Popen(command, start_new_session=True)
child.wait()
"""


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("kernel", marks=pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")),
        "watchdog",
    ],
)
def test_children_end_with_a_killed_parent(kind: str) -> None:
    """SIGKILL of the parent takes the child along, by the kernel or by the watchdog."""
    ops = str(Path(leash.__file__).parents[1])
    parent = subprocess.Popen([sys.executable, "-c", _PARENT, kind, ops], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout
        assert parent.stdout.readline() == "up\n"
        children = descendants(parent.pid)
        assert len(children) == {"kernel": 1, "watchdog": 2}[kind]
    finally:
        parent.kill()
        parent.wait()
        if parent.stdout:
            parent.stdout.close()
    gone(children, timeout=5)


def test_the_watchdog_ends_with_its_program() -> None:
    """A program that ends by itself leaves no watchdog behind."""
    start = "import sys; from motionq_ops import leash; leash.main(sys.argv[1:], kernel=False)"
    program = [sys.executable, "-c", "input()"]
    child = subprocess.Popen([sys.executable, "-c", start, str(os.getpid()), *program], stdin=subprocess.PIPE)
    watchdogs = eventually(lambda: descendants(child.pid))
    child.communicate(b"\n", timeout=10)
    assert child.returncode == 0
    gone(watchdogs, timeout=5)


def _child(folder: Path, program: str) -> Child:
    argv = (sys.executable, "-c", program)
    return Child(Command(name="part", argv=argv, environment=dict(os.environ), log=folder / "logs" / "part.log"))


def test_a_child_writes_into_its_log_and_can_be_ended(tmp_path: Path) -> None:
    """Its words are added to its log; a child that ignores SIGTERM is killed together with what it started."""
    child = _child(
        tmp_path,
        "import signal, subprocess, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); print('deaf', flush=True);"
        "signal.pause()",
    )
    child.start()
    eventually(lambda: last_words(child.log) == "deaf")
    assert child.pid is not None
    family = {child.pid, *descendants(child.pid)}
    assert len(family) == 2
    child.terminate()
    assert child.wait(0.2) is False
    assert child.ended() is None
    child.kill()
    assert child.ended() == -signal.SIGKILL
    gone(list(family), timeout=5)


def test_a_long_log_is_put_aside_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log above the limit becomes NAME.log.1; a shorter one is added to."""
    monkeypatch.setattr(processes, "LOG_LIMIT", 10)
    child = _child(tmp_path, "print('twelve bytes')")
    for _ in range(2):
        child.start()
        assert child.wait(10)
    assert child.log.read_text() == "twelve bytes\n"
    assert (tmp_path / "logs" / "part.log.1").read_text() == "twelve bytes\n"


def test_the_data_directory_has_one_owner(tmp_path: Path) -> None:
    """A second owner is refused in one sentence that names the first; the next one finds nothing of the first left."""
    with stack_file.sole_owner(tmp_path):
        stack_file.write(tmp_path, {"redis_url": "unix:///s"})
        with pytest.raises(stack_file.AlreadyRunning) as refused, stack_file.sole_owner(tmp_path):
            pass
    assert str(refused.value) == (
        f"a stack runs already over {tmp_path} (process {os.getpid()}): end it first, or take another --data-dir"
    )
    with stack_file.sole_owner(tmp_path):
        assert stack_file.read(tmp_path) == {}


def test_where_the_stack_listens_is_for_its_user_alone(tmp_path: Path) -> None:
    """The file may hold a server's password."""
    stack_file.write(tmp_path, {"redis_url": "redis://:secret@host"})
    path = tmp_path / "stack.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text())["redis_url"] == "redis://:secret@host"
    stack_file.remove(tmp_path)
    assert stack_file.read(tmp_path) == {}
