"""`motionq demo`: what a newcomer sees first."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from motionq_ops.redis_server import free_port
from motionq_ops.sandbox.process import SandboxProcess
from support import VIDEO, eventually
from support.films import played
from support.local_stack import COMMAND, descendants, environment, gone, motionq, quickly


def test_the_demo_ends_with_a_video(tmp_path: Path) -> None:
    """In an empty home and an empty folder, whatever the environment says, one job becomes a playable mp4.

    A key, an address or a mistyped setting in the environment or in `.env` changes nothing: nothing is bought.
    """
    (tmp_path / ".env").write_text("KIE_API_KEY=not-a-key\nMOTIONQ_SUBMIT_RAET=1/1s\n")
    foreign = {"KIE_API_KEY": "not-a-key", "KIE_BASE_URL": "http://127.0.0.1:1", "REDIS_URL": "redis://127.0.0.1:1"}
    foreign |= {"MOTIONQ_NAMESPACE": "of another", "CELERY_BROKER_URL": "redis://127.0.0.1:1", "FLOWER_PORT": "x"}
    ended = motionq(tmp_path, "demo", timeout=120, **foreign)
    assert ended.returncode == 0, ended.stderr
    *story, purchases, path = ended.stdout.splitlines()
    assert re.match(r"job [0-9a-z]{26}$", story[0])
    assert [line.split()[2] for line in story[1:]] == sorted((line.split()[2] for line in story[1:]), key=STATES.index)
    assert {line.split()[2] for line in story[1:]} == set(STATES)
    assert purchases == "purchases: 1, cost 0 (sandbox)"
    video = Path(path)
    assert video.is_relative_to(tmp_path)
    assert abs(played(video).seconds - played(VIDEO).seconds) < 0.2


STATES = ("queued", "uploading", "ready", "armed", "submitting", "running", "delivering", "succeeded")


def test_the_demo_leaves_nothing_but_the_video(tmp_path: Path) -> None:
    """After Ctrl+C in the middle no process and no folder is left."""
    demo = subprocess.Popen(
        [*COMMAND, "demo"],
        env=environment(tmp_path),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        eventually(lambda: any("w1@" in command for command in descendants(demo.pid).values()), timeout=60)
        children = descendants(demo.pid)
        demo.send_signal(signal.SIGINT)
        printed, _ = demo.communicate(timeout=20)
    finally:
        if demo.poll() is None:
            os.killpg(demo.pid, signal.SIGKILL)
            demo.communicate()
    assert (demo.returncode, printed) == (130, "")
    gone(children, timeout=5)
    assert list((tmp_path / ".local" / "state" / "motionq" / "demo").iterdir()) == []


@pytest.mark.parametrize(("answer", "code", "bought"), [("n", 1, 0), ("y", 0, 1)])
def test_real_money_is_spent_only_after_a_yes(tmp_path: Path, answer: str, code: int, bought: int) -> None:
    """--real names the price and asks; without a yes nothing is bought. (The vendor here is the sandbox.)"""
    port = free_port()
    public = [f"--public-url=http://127.0.0.1:{port}"]  # the demo takes no setting that would trust another host
    sandbox = SandboxProcess(port=port, speed=50, api_keys=["paid-for"], arguments=public)
    with sandbox as vendor, _terminal(f"{answer}\n") as terminal:
        ended = subprocess.run(
            [*COMMAND, "demo", "--real"],
            env=environment(tmp_path, KIE_API_KEY="paid-for", KIE_BASE_URL=vendor.url, KIE_UPLOAD_BASE_URL=vendor.url),
            cwd=tmp_path,
            stdin=terminal,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert vendor.summary()["creates_asked"] == bought
    assert "motionq: this buys a video of 5.3 s: about 66 credits, some $0.33\n" in ended.stderr
    assert ended.returncode == code, ended.stderr
    assert ("purchases: 1, cost 66 credits\n" in ended.stdout) is bool(bought)
    assert "paid-for" not in ended.stdout + ended.stderr


@contextmanager
def _terminal(typed: str) -> Iterator[int]:
    """A terminal's end for a program's stdin, on which somebody has typed."""
    ours, theirs = os.openpty()
    try:
        os.write(ours, typed.encode())
        yield theirs
    finally:
        os.close(theirs)
        os.close(ours)


@pytest.mark.parametrize(
    ("words", "settings", "line"),
    [
        (("--image", "no-such.png"), {}, "image: no such file: no-such.png"),
        (("--real",), {}, "KIE_API_KEY is not set"),
        (("--real",), {"KIE_API_KEY": "not-a-key"}, "--real asks before it buys, and there is no terminal to ask on"),
        (("--real", "--speed=2"), {}, "Invalid value for --speed: the vendor's clock can't be turned"),
    ],
)
def test_what_can_not_be_shown_says_why(
    tmp_path: Path, words: tuple[str, ...], settings: dict[str, str], line: str
) -> None:
    """One clear line, exit 2, nothing bought."""
    ended = quickly(tmp_path, "demo", *words, **settings)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.splitlines()[-1].startswith(f"motionq: {line}")
