"""The helper that forks a decoder per file: what a file can do to it, to other files and to the worker. Real ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from motionq.contract.models import ImageFacts
from motionq_ops.bench.measure import children
from motionq_worker import inspection
from motionq_worker.inspection import Limits, Unreadable, inspect_image
from motionq_worker.keeper import Keeper
from support.waiting import eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")

PNG = Path(__file__).parents[1] / "media" / "astronaut.png"
FACTS = ImageFacts(width=512, height=512, media_type="image/png")
HEAD = PNG.read_bytes()[:64]
USUAL = Limits()


@pytest.fixture
def keeper(monkeypatch: pytest.MonkeyPatch) -> Iterator[Keeper]:
    """This test's own; its helper starts with the first file."""
    own = Keeper()
    monkeypatch.setattr(inspection, "keeper", own)
    yield own
    own.close()


class Hanging:
    """An inspection that hangs: its file is a FIFO, which the decoder can't open until somebody writes to it."""

    def __init__(self, path: Path, limits: Limits = USUAL) -> None:
        os.mkfifo(path)
        self.path = path
        self.verdict: Future[ImageFacts] = Future()
        self._thread = threading.Thread(target=self._run, args=(limits,))
        self._thread.start()
        path.write_bytes(HEAD)  # for the worker, which looks at the head before it asks anybody

    def _run(self, limits: Limits) -> None:
        try:
            self.verdict.set_result(inspect_image(self.path, limits))
        except BaseException as error:
            self.verdict.set_exception(error)

    def sentence(self) -> tuple[str, bool]:
        """Its end: the words behind "image: can't be decoded: ", and whether they are certain."""
        self._thread.join(20.0)
        error = self.verdict.exception(timeout=0)
        assert isinstance(error, Unreadable)
        return str(error).removeprefix("image: can't be decoded: "), error.certain


class Held(Hanging):
    """One whose decoder is known, and waits for its file by now."""

    def __init__(self, path: Path, keeper: Keeper, limits: Limits = USUAL) -> None:
        helper_pid = keeper.current().pid
        before = set(children(helper_pid))
        super().__init__(path, limits)
        (self.decoder,) = eventually(lambda: set(children(helper_pid)) - before)
        eventually(lambda: _opens(self.decoder))


def _opens(decoder: int) -> bool:
    """Whether it is about to look at its file: with its limits, and asleep."""
    asleep = Path(f"/proc/{decoder}/stat").read_text().rpartition(")")[2].split()[0] == "S"
    return asleep and _limits(decoder)["core file size"] == ("0", "0") and open_files(decoder) == 3


def stand_in(monkeypatch: pytest.MonkeyPatch, folder: Path, change: str) -> None:
    """Helpers that start from now on run a line of Python first."""
    code = f"import os, runpy; from motionq_worker import decoding; {change}; "
    code += "runpy.run_module('motionq_worker.decoders', run_name='__main__')"
    program = folder / "python"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -c "{code}"\n')
    program.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(program))


def gone(pid: int) -> bool:
    """Whether a process has ended, be it that nobody has waited for it yet."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


# -- one file ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL", "SIGABRT"])
def test_a_killed_decoder(tmp_path: Path, keeper: Keeper, name: str) -> None:
    """A decoder that dies by a signal is one sentence, no verdict, and takes nothing along."""
    held = Held(tmp_path / "a.png", keeper)
    before = keeper.current().pid
    os.kill(held.decoder, signal.Signals[name])
    assert held.sentence() == (f"the decoder was ended by {name}", False)
    assert inspect_image(PNG) == FACTS
    assert keeper.current().pid == before


def test_a_decoder_that_works_too_much(tmp_path: Path, keeper: Keeper) -> None:
    """The end by the kernel's limit of processor time has words of its own."""
    held = Held(tmp_path / "a.png", keeper)
    os.kill(held.decoder, signal.SIGXCPU)
    assert held.sentence() == ("the decoder took too much processor time", False)


def test_a_decoder_that_ends_without_an_answer(tmp_path: Path, keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its exit code is told, and it is no verdict about the file."""
    stand_in(monkeypatch, tmp_path, "decoding.main = lambda *_: os._exit(3)")
    with pytest.raises(Unreadable, match=r"the decoder ended without an answer \(exit code 3\)$") as caught:
        inspect_image(PNG)
    assert not caught.value.certain


def test_a_decoder_that_writes_without_end(tmp_path: Path, keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it writes takes no more of the worker's memory than an answer may have, and is no answer."""
    stand_in(monkeypatch, tmp_path, "decoding.main = lambda *_: [os.write(1, bytes(65536)) for _ in range(64)]")
    output, code = keeper.ask(b"[]", 30.0)
    assert len(output) <= 65_536
    assert code == 0
    with pytest.raises(Unreadable, match="ended without an answer"):
        inspect_image(PNG)


def test_a_decoder_that_hangs_is_killed(tmp_path: Path, keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its time nobody waits for it, and it is gone."""
    stand_in(monkeypatch, tmp_path, "decoding.ALONE = 1000")  # by itself it would end much later
    assert Hanging(tmp_path / "a.png", Limits(seconds=0.1)).sentence() == ("it takes longer than 0.1 s", False)
    eventually(lambda: children(keeper.current().pid) == [])


def test_what_a_decoder_may_take(tmp_path: Path, keeper: Keeper) -> None:
    """It has its own limits and a low priority; the helper, and so the next decoder, has neither."""
    held = Held(tmp_path / "a.png", keeper, Limits(seconds=20.0, memory=10**9))
    limits = _limits(held.decoder)
    assert [limits[name] for name in ("address space", "core file size")] == [("1000000000",) * 2, ("0",) * 2]
    assert limits["cpu time"] == ("20", "21")  # were they one, the kernel would send SIGKILL, which says nothing
    assert os.getpriority(os.PRIO_PROCESS, held.decoder) == os.getpriority(os.PRIO_PROCESS, 0) + 10
    assert _limits(keeper.current().pid)["address space"] == _limits(os.getpid())["address space"]
    assert os.getpriority(os.PRIO_PROCESS, keeper.current().pid) == os.getpriority(os.PRIO_PROCESS, 0)
    os.kill(held.decoder, signal.SIGKILL)
    held.sentence()


def _limits(pid: int) -> dict[str, tuple[str, str]]:
    """Of each resource the soft and the hard limit."""
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()[1:]
    return {line[4:26].strip(): (line[26:47].strip(), line[47:68].strip()) for line in lines}


def test_a_machine_without_a_process_to_spare(tmp_path: Path, keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where none can be forked, that is the machine's fault and not the file's."""
    stand_in(monkeypatch, tmp_path, "os.fork = lambda: os.open(b'/dev/null/none', 0)")
    with pytest.raises(NotADirectoryError):
        inspect_image(PNG)


# -- several files -----------------------------------------------------------------------------------------------------
def test_decoders_run_side_by_side(tmp_path: Path, keeper: Keeper) -> None:
    """While two are held up a third comes to its end, and the end of one is not that of the other."""
    first, second = Held(tmp_path / "a.png", keeper), Held(tmp_path / "b.png", keeper)
    assert inspect_image(PNG) == FACTS
    assert set(children(keeper.current().pid)) == {first.decoder, second.decoder}
    os.kill(first.decoder, signal.SIGTERM)  # which it does not heed
    os.kill(first.decoder, signal.SIGABRT)
    assert first.sentence() == ("the decoder was ended by SIGABRT", False)
    assert children(keeper.current().pid) == [second.decoder]
    os.kill(second.decoder, signal.SIGKILL)
    assert second.sentence() == ("the decoder was ended by SIGKILL", False)


def test_many_threads_ask_one_helper(keeper: Keeper) -> None:
    """Sixteen threads that ask at once get their answers, from one helper without a thread of its own."""
    barrier = threading.Barrier(16)

    def ask(_: int) -> tuple[ImageFacts, int]:
        barrier.wait()
        return inspect_image(PNG), keeper.current().pid

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(ask, range(16)))
    assert {facts for facts, _ in found} == {FACTS}
    (pid,) = {pid for _, pid in found}
    assert [thread.name for thread in Path(f"/proc/{pid}/task").iterdir()] == [str(pid)]


def test_nothing_stays_open(tmp_path: Path, keeper: Keeper) -> None:
    """Good files, bad ones, one that hung and one that crashed: no handle stays open, no process is left."""
    pid, bad = keeper.current().pid, tmp_path / "bad.png"
    bad.write_bytes(HEAD)
    before = open_files(os.getpid())
    waiting = Held(tmp_path / "a.png", keeper)  # so that the helper is at rest now
    at_rest = open_files(pid)
    for _ in range(5):
        inspect_image(PNG)
        with pytest.raises(Unreadable):
            inspect_image(bad)
    crashed = Held(tmp_path / "b.png", keeper)
    os.kill(crashed.decoder, signal.SIGSEGV)
    crashed.sentence()
    Hanging(tmp_path / "c.png", Limits(seconds=0.1)).sentence()
    eventually(lambda: children(pid) == [waiting.decoder])
    eventually(lambda: open_files(pid) == at_rest)
    os.kill(waiting.decoder, signal.SIGKILL)
    waiting.sentence()
    eventually(lambda: open_files(pid) == at_rest - 1)
    eventually(lambda: open_files(os.getpid()) <= before)


def test_a_decoder_has_nothing_of_the_helper(tmp_path: Path, keeper: Keeper) -> None:
    """It can neither hear what the helper is asked nor answer for another file: it has three handles."""
    first, second = Held(tmp_path / "a.png", keeper), Held(tmp_path / "b.png", keeper)
    own = _sockets(second.decoder)
    assert (open_files(second.decoder), len(own)) == (3, 1)
    assert own <= _sockets(keeper.current().pid)
    assert own.isdisjoint(_sockets(first.decoder))
    for held in (first, second):
        os.kill(held.decoder, signal.SIGKILL)
        held.sentence()


def _sockets(pid: int) -> set[str]:
    places = {str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    return {place for place in places if place.startswith("socket:")}


# -- the helper --------------------------------------------------------------------------------------------------------
def test_the_helper_knows_no_secrets(tmp_path: Path, keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """No key or token of the worker's environment reaches the processes that decode foreign bytes."""
    monkeypatch.setenv("KIE_API_KEY", "s3cr3t")
    monkeypatch.setenv("MOTIONQ_REDIS_URL", "redis://:s3cr3t@127.0.0.1")
    held = Held(tmp_path / "a.png", keeper)
    for pid in (keeper.current().pid, held.decoder):
        environment = Path(f"/proc/{pid}/environ").read_text()
        names = {line.partition("=")[0] for line in environment.split("\0")}
        assert "PYTHONPATH" in names
        assert "s3cr3t" not in environment
        assert not names & {"KIE_API_KEY", "MOTIONQ_REDIS_URL", "HOME"}
    os.kill(held.decoder, signal.SIGKILL)
    held.sentence()


def test_a_killed_helper_is_replaced(keeper: Keeper) -> None:
    """The next file has a new one."""
    assert inspect_image(PNG) == FACTS
    before = keeper.current().pid
    os.kill(before, signal.SIGKILL)
    assert inspect_image(PNG) == FACTS
    assert keeper.current().pid != before
    eventually(lambda: gone(before))


def test_a_file_whose_helper_is_killed_has_another_try(tmp_path: Path, keeper: Keeper) -> None:
    """The end of a helper is no verdict about the files that it had."""
    held = Held(tmp_path / "a.png", keeper)
    whole = tmp_path / "whole.png"
    whole.write_bytes(PNG.read_bytes())
    whole.replace(held.path)
    os.kill(keeper.current().pid, signal.SIGKILL)
    os.kill(held.decoder, signal.SIGKILL)
    assert held.verdict.result(20.0) == FACTS


def test_a_decoder_that_hangs_does_not_outlive_its_helper_for_long(tmp_path: Path, keeper: Keeper) -> None:
    """Where nobody is left to kill it, it ends by itself."""
    held = Held(tmp_path / "a.png", keeper, Limits(seconds=1.0))
    os.kill(keeper.current().pid, signal.SIGKILL)
    assert held.sentence() == ("it takes longer than 1 s", False)
    eventually(lambda: gone(held.decoder))


def test_helpers_that_can_not_live(tmp_path: Path, keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """A helper that ends at once is not started for ever: two of them are one sentence."""
    stand_in(monkeypatch, tmp_path, f"open('{tmp_path}/starts', 'a').write('x'); os._exit(4)")
    with pytest.raises(Unreadable, match=r"the decoder ended without an answer \(exit code 4\)$") as caught:
        inspect_image(PNG)
    assert not caught.value.certain
    assert (tmp_path / "starts").read_text() == "xx"


def test_signals_are_for_the_worker(keeper: Keeper) -> None:
    """Ctrl+C at the worker's terminal does not reach the helper, and SIGTERM for all of a service does not end it."""
    assert inspect_image(PNG) == FACTS
    pid = keeper.current().pid
    assert os.getsid(pid) == pid
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGINT)
    assert inspect_image(PNG) == FACTS
    assert keeper.current().pid == pid


# -- the worker --------------------------------------------------------------------------------------------------------
WORKER = """
import os, signal, sys, threading
from pathlib import Path
from motionq_worker.keeper import keeper
from motionq_worker.inspection import inspect_image
if sys.argv[1] == "fork":
    inspect_image(Path(sys.argv[2]))
    if forked := os.fork():
        print(forked, keeper.current().pid, flush=True)
        os.waitpid(forked, 0)
    inspect_image(Path(sys.argv[2]))
    print(keeper.current().pid, flush=True)
    sys.stdin.read()
else:
    print(keeper.current().pid, flush=True)
    threading.Thread(target=inspect_image, args=[Path(sys.argv[2])], daemon=True).start()
    sys.stdin.readline()
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        sys.stdin.read()
        os._exit(0)
    signal.pause()
"""


def worker(*arguments: str) -> subprocess.Popen[str]:
    """A process that has a helper."""
    command = [sys.executable, "-c", WORKER, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)


def line(process: subprocess.Popen[str]) -> list[int]:
    """The next process IDs that it says."""
    assert process.stdout
    return [int(word) for word in process.stdout.readline().split()]


def test_a_killed_worker_leaves_nothing_behind(tmp_path: Path) -> None:
    """With its worker, be it killed, a helper ends, and so does the decoder of a file that hangs.

    Also where a process that was forked meanwhile, and lives on, has copies of all that was open.
    """
    path = tmp_path / "a.png"
    os.mkfifo(path)
    with worker("hang", str(path)) as process:
        (helper_pid,) = line(process)
        path.write_bytes(HEAD)
        (decoder,) = eventually(lambda: children(helper_pid))
        assert process.stdin
        process.stdin.write("fork\n")
        (forked,) = line(process)
        process.kill()
        eventually(lambda: gone(helper_pid))
        assert (gone(decoder), gone(forked)) == (True, False)
        process.stdin.close()
    eventually(lambda: gone(forked))


def test_a_forked_process_has_its_own_helper() -> None:
    """Neither has the other's, and each helper ends with its own process while the other process lives on."""
    with worker("fork", str(PNG)) as process:
        forked, of_parent = line(process)
        (of_forked,) = line(process)
        assert of_forked != of_parent
        assert (children(forked), gone(of_parent)) == ([of_forked], False)
        process.kill()
        eventually(lambda: gone(of_parent))
        assert not gone(of_forked)
        assert process.stdin
        process.stdin.close()
        eventually(lambda: gone(of_forked))


def test_a_worker_that_ends_waits_for_its_helper() -> None:
    """No process and no warning is left of an orderly end."""
    code = "from motionq_worker.inspection import *; from motionq_worker.keeper import keeper; "
    code += f"inspect_image(Path({str(PNG)!r})); print(keeper.current().pid)"
    command = [sys.executable, "-W", "error", "-X", "dev", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    assert gone(int(done.stdout))
