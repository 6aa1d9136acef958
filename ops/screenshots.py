"""Takes the pictures in docs/images, from a stack of its own against the sandbox.

.venv/bin/python ops/screenshots.py      (needs Chromium; on Debian: apt-get install chromium)
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import takewhile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, ViewportSize, expect, sync_playwright

from motionq import Job, MotionQueue
from motionq.output import note
from motionq_ops.demo import SAMPLES, forget_settings, settings_of
from motionq_ops.local import Stack, running
from motionq_ops.plan import Plan
from motionq_ops.redis_server import free_port
from motionq_ops.stop import stops_on_signals

IMAGES = Path(__file__).parents[1] / "docs" / "images"
_WIDTH, _HEIGHT, _SCALE = 1600, 920, 0.8  # pixels of the page; of the picture, 0.8 times as many
_COLOURS = 128
_FAILS = "a dance without a dancer"
_REASON = "No complete upper body was detected in the video."


def main() -> None:
    """Write every picture."""
    forget_settings()
    with tempfile.TemporaryDirectory(prefix="motionq-") as folder, stops_on_signals():
        plan = Plan(
            data_dir=Path(folder),
            workers=2,
            sandbox_speed=60.0,
            flower_port=free_port(),
            callback_port=free_port(),
            local_callbacks=True,
            environment=dict(os.environ),
            folder=Path(folder),
        )
        with running(plan, note) as stack:
            jobs = _run_jobs(stack)
            with _page() as page:
                _flower(page, str(stack.flower_url), jobs)


def _run_jobs(stack: Stack) -> list[Job]:
    """Some that succeed, and one that fails."""
    _control(stack, "/sandbox/settings", {"duration": 120.0})
    fault = {"fault": "fail_generation", "call": "createTask", "match": {"prompt": _FAILS}, "code": 422, "msg": _REASON}
    _control(stack, "/sandbox/faults", fault)
    image, video = SAMPLES / "astronaut.png", SAMPLES / "bigbuckbunny.mp4"
    with MotionQueue(redis_url=stack.redis_url, settings=settings_of(stack)) as queue:
        first = queue.submit(image=image, video=video)
        queue.wait(first.id, timeout=120)  # so that nobody waits for its uploads
        others = [queue.submit(image=image, video=video, prompt=prompt) for prompt in (_FAILS, None)]
        return [queue.wait(job.id, timeout=120) for job in (first, *others)]


def _control(stack: Stack, path: str, body: dict[str, object]) -> None:
    request = urllib.request.Request(f"{stack.sandbox_url}{path}", json.dumps(body).encode())  # noqa: S310
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10).close()


@contextmanager
def _page() -> Iterator[Page]:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        sys.exit("screenshots: Chromium is missing (on Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        try:
            size: ViewportSize = {"width": _WIDTH, "height": _HEIGHT}
            yield browser.new_page(viewport=size, device_scale_factor=_SCALE, color_scheme="light")
        finally:
            browser.close()


def _flower(page: Page, url: str, jobs: list[Job]) -> None:
    """The list of tasks: what each step of each job did, and why one of them failed."""
    page.goto(f"{url}/tasks")
    search = page.get_by_placeholder("state:FAILURE")
    search.fill(_common([job.id for job in jobs]))  # their steps, without the wake-ups
    search.blur()
    for job in jobs:
        expect(page.locator("#tasks-table tbody tr", has_text=f"{job.id}.deliver.1")).to_have_count(1)
    _write("flower.png", page.screenshot())


def _common(texts: list[str]) -> str:
    """How all of them begin."""
    return "".join(same[0] for same in takewhile(lambda column: len(set(column)) == 1, zip(*texts, strict=True)))


def _write(name: str, picture: bytes) -> None:
    """A picture of a page has few colours: with a palette it is a third as large."""
    path = IMAGES / name
    few = Image.open(BytesIO(picture)).convert("RGB").quantize(_COLOURS, Image.Quantize.MAXCOVERAGE)
    few.save(path, optimize=True)
    note(f"wrote {path} ({path.stat().st_size / 1000:.0f} kB)")


if __name__ == "__main__":
    main()
