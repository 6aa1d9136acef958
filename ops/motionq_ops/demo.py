"""`motionq demo`: one job from end to end on a stack of its own, which then goes away; the video stays."""

from __future__ import annotations

import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from motionq import Job, MotionQueue, Request
from motionq.batch import Line
from motionq.contract.errors import ActionRefused, InvalidJob, InvalidSettings
from motionq.contract.job import DEFAULT_MODEL
from motionq.contract.models import check_video, find_model
from motionq.contract.settings import Settings, data_dir, load
from motionq.contract.states import State
from motionq.output import Code, note, say
from motionq.precheck import check_lines
from motionq_ops import demo_view
from motionq_ops.local import Stack, running
from motionq_ops.plan import Plan, without_settings
from motionq_ops.redis_server import free_port
from motionq_ops.stop import Stopped, stops_on_signals
from motionq_worker.inspection import Unreadable, inspect_video

SAMPLES = Path(__file__).with_name("samples")
_MODE, _ORIENTATION = "720p", "video"
_DOLLARS_PER_CREDIT = 0.005  # the vendor's price page, October 2026
_RESULTS = "results"
SPEED = 20.0  # a generation of the sample takes some 135 simulated seconds, so 7 real ones


def demo(*, keep: bool, image: Path | None, video: Path | None, real: bool, speed: float | None) -> int:
    """Run the demo; returns the exit code: 0 when the video is there, 1 when the job failed.

    Raises InvalidJob, InvalidSettings, CannotStart.
    """
    request = Request(
        image=image or SAMPLES / "astronaut.png",
        video=video or SAMPLES / "bigbuckbunny.mp4",
        mode=_MODE,
        orientation=_ORIENTATION,
    )
    for bad in check_lines([Line(1, request)]):
        raise bad.error
    key = _bought_with(request) if real else {}
    forget_settings()
    with stops_on_signals():
        try:
            return _run(request, key, keep=keep, speed=None if real else speed or SPEED)
        except Stopped:
            note("stopped")
            return Code.INTERRUPTED


def _run(request: Request, key: dict[str, str], *, keep: bool, speed: float | None) -> int:
    vendor = "kie.ai" if speed is None else "a stand-in for kie.ai (nothing is bought)"
    note(f"starting a queue server and a worker, against {vendor}")
    with own_folder() as folder:
        with running(_plan(folder, key, keep=keep, speed=speed), note) as stack:
            job = _process(stack, request)
            purchases = _purchases(stack, job)
            if keep:
                _show(job, purchases)
                _hold(stack)
        if not keep:  # everything has ended by now
            _show(job, purchases)
        if job.state is not State.SUCCEEDED:
            note(f"the job {job.state}: {job.failure}; the logs are in {folder / 'logs'}")
            return Code.FAILED
        leave_only_results(folder)
        return Code.DONE


# -- the stack ----------------------------------------------------------------------------------------------------
def forget_settings() -> None:
    """The demo runs as if nothing were configured, and so do its children: no foreign server, no key, no limits."""
    kept = without_settings(os.environ)
    os.environ.clear()
    os.environ.update(kept)


@contextmanager
def own_folder() -> Iterator[Path]:
    """A data directory of our own; gone again when the demo is cut short."""
    base = data_dir() / "demo"
    try:
        base.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=base))
    except OSError:  # no home to write to
        folder = Path(tempfile.mkdtemp(prefix="motionq-demo-"))
    try:
        yield folder
    except Stopped:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _plan(folder: Path, key: dict[str, str], *, keep: bool, speed: float | None) -> Plan:
    return Plan(
        data_dir=folder,
        workers=1,
        sandbox_speed=speed,
        flower_port=free_port() if keep else None,
        callback_port=None if speed is None else free_port(),
        local_callbacks=speed is not None,
        environment=os.environ | key,
        folder=folder,  # no `.env` of the place where the demo was started
    )


def _hold(stack: Stack) -> None:
    note(f"Flower shows the work at {stack.flower_url}/tasks")
    note(f"MOTIONQ_DATA_DIR={stack.plan.data_dir} motionq list    talks to this stack; Ctrl+C ends it")
    try:
        stack.hold()
    except Stopped:
        note("stopped")


def leave_only_results(folder: Path) -> None:
    """Everything in the demo's folder goes, but for the videos."""
    for path in folder.iterdir():
        if path.name == _RESULTS:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


# -- the job ------------------------------------------------------------------------------------------------------
def _process(stack: Stack, request: Request) -> Job:
    with MotionQueue(redis_url=stack.redis_url, settings=settings_of(stack)) as queue:
        [job] = queue.submit_many([request])
        return demo_view.follow(queue, job.id, stack.look)


def settings_of(stack: Stack) -> Settings:
    """The settings of a caller of this stack."""
    return load(redis_url=stack.redis_url, data_dir=stack.plan.data_dir)


def _purchases(stack: Stack, job: Job) -> str:
    """What was bought, as the one who sells counts it; the vendor has no such book, so there our own counts."""
    if stack.sandbox_url:
        return f"purchases: {demo_view.tasks_made(stack.sandbox_url)}, cost 0 (sandbox)"
    cost = job.result.credits if job.result else None
    return f"purchases: {job.attempts}, cost {'unknown' if cost is None else f'{cost:g} credits'}"


def _show(job: Job, purchases: str) -> None:
    for line in demo_view.timeline(job):
        say(line)
    say(purchases)
    if job.result and job.result.file:
        say(job.result.file)


# -- with real money ----------------------------------------------------------------------------------------------
def _bought_with(request: Request) -> dict[str, str]:
    """The vendor's settings, once the person at the terminal has agreed to the price.

    Raises InvalidSettings (no key, no terminal), InvalidJob, ActionRefused (not agreed).
    """
    settings = load(dotenv=True, required=("KIE_API_KEY",))
    if not sys.stdin.isatty():
        raise InvalidSettings("--real asks before it buys, and there is no terminal to ask on")
    seconds = _seconds(Path(str(request.video)))
    credits = math.ceil(seconds) * find_model(DEFAULT_MODEL).credits_per_second[_MODE]
    note(f"this buys a video of {seconds:.1f} s: about {credits:g} credits, some ${credits * _DOLLARS_PER_CREDIT:.2f}")
    note("(by the vendor's list of October 2026; prices move)")
    if not typer.confirm("motionq: buy it?", default=False, err=True):
        raise ActionRefused("nothing was bought")
    return {
        "KIE_API_KEY": settings.kie_api_key.get_secret_value() if settings.kie_api_key else "",
        "KIE_BASE_URL": settings.kie_base_url,
        "KIE_UPLOAD_BASE_URL": settings.kie_upload_base_url,
    }


def _seconds(video: Path) -> float:
    """The length that is charged; raises InvalidJob for a video that the model does not take."""
    try:
        facts = inspect_video(video)
    except Unreadable as error:
        raise InvalidJob(str(error), field="video", value=str(video)) from None
    check_video(find_model(DEFAULT_MODEL), facts, _ORIENTATION)
    return facts.seconds
