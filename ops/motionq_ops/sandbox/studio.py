"""Where films are made: in two threads, each film once, so that the event loop keeps answering."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp

from motionq_ops.sandbox import render
from motionq_ops.sandbox.settings import Settings
from motionq_ops.sandbox.shelf import Blob, Shelf, own_path
from motionq_ops.sandbox.tasks import Order

_FETCH_LIMIT = 100 * 1024 * 1024
_FETCH_SECONDS = 30.0
_UNKNOWN_SECONDS = 5.0


class BadMedia(Exception):
    """A generation can't be made of these media; carries the vendor's failCode and failMsg."""

    def __init__(self, code: str, msg: str) -> None:
        super().__init__(msg)
        self.code = code
        self.msg = msg


_MISSING = ("422", "Your media file is unavailable, please replace it.")
_NO_VIDEO = ("400", "File type not supported")
_NO_PICTURE = ("400", "Image recognition failed")


class Studio:
    """Fetches media, measures drivers, renders films; results are cached by content."""

    def __init__(self, folder: Path, shelf: Shelf, session: aiohttp.ClientSession, is_ours: Callable[[str], bool]):
        self._folder = folder
        self._shelf = shelf
        self._session = session
        self._is_ours = is_ours
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="studio")
        self._stopping = threading.Event()
        self._once: dict[tuple[str, ...], asyncio.Future[Any]] = {}

    def close(self) -> None:
        """Stop; a film in the making ends at its present frame."""
        self._stopping.set()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def is_foreign(self, url: str) -> bool:
        """Return whether a URL is not one of our uploads."""
        return own_path(url, self._is_ours) is None

    async def driver_seconds(self, url: str) -> float | None:
        """Return the length of an uploaded driver; None if it is foreign, missing or not a video."""
        path = own_path(url, self._is_ours)
        stored = self._shelf.get(path) if path else None
        if stored is None:
            return None
        try:
            return await self._measure(stored.blob)
        except BadMedia:
            return None

    async def film(self, order: Order, settings: Settings) -> tuple[Path, float | None]:
        """Return the finished film and the driver's seconds (None if nobody looked). Raises BadMedia."""
        if settings.render == "none":
            return await self._film_unseen(order)
        picture, driver = await self._blob(order.image_url), await self._blob(order.video_url)
        if picture.path is None or driver.path is None:
            return await self._tiny(), None
        seconds = await self._measure(driver)
        await self._run(("picture", picture.sha256), _check_picture, picture.path)
        target = self._folder / f"film-{settings.render}-{picture.sha256[:16]}-{driver.sha256[:16]}-{order.mode}.mp4"
        if settings.render == "copy":
            await self._run(("film", target.name), shutil.copyfile, driver.path, target)
        else:
            await self._run(("film", target.name), self._render, picture.path, driver.path, order.mode, target)
        return target, seconds

    async def _film_unseen(self, order: Order) -> tuple[Path, float | None]:
        for url in (order.image_url, order.video_url):
            if not self.is_foreign(url):
                self._own(url)
        return await self._tiny(), None

    async def _tiny(self) -> Path:
        target = self._folder / "film-tiny.mp4"
        await self._run(("film", target.name), render.write_tiny, target)
        return target

    def _own(self, url: str) -> Blob:
        stored = self._shelf.get(own_path(url, self._is_ours) or "")
        if stored is None:
            raise BadMedia(*_MISSING)
        return stored.blob

    async def _blob(self, url: str) -> Blob:
        return await self._fetch(url) if self.is_foreign(url) else self._own(url)

    async def fetch(self, url: str) -> Blob:
        """Fetch anybody's file (at most 100 MiB, 30 s on the wall clock). Raises BadMedia."""
        return await self._fetch(url)

    async def _fetch(self, url: str) -> Blob:
        intake = self._shelf.intake()
        try:
            async with self._session.get(url, timeout=aiohttp.ClientTimeout(total=_FETCH_SECONDS)) as answer:
                answer.raise_for_status()
                received = 0
                async for chunk in answer.content.iter_chunked(1 << 18):
                    received += len(chunk)
                    if received > _FETCH_LIMIT:
                        raise BadMedia(*_MISSING)
                    intake.write(chunk)
            return intake.finish()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise BadMedia(*_MISSING) from error
        finally:
            intake.abandon()

    async def _measure(self, blob: Blob) -> float:
        if blob.path is None:
            return _UNKNOWN_SECONDS
        return float(await self._run(("seconds", blob.sha256), _seconds, blob.path))

    async def _run(self, key: tuple[str, ...], work: Callable[..., Any], *args: Any) -> Any:
        """Do the work of that key once, whoever asks and however often; a failure is remembered too."""
        if key not in self._once:
            self._once[key] = asyncio.get_running_loop().run_in_executor(self._threads, work, *args)
        return await asyncio.shield(self._once[key])

    def _render(self, picture: Path, driver: Path, mode: str, target: Path) -> None:
        part = target.with_suffix(".part")
        try:
            render.render(picture, driver, mode, part, self._stopping.is_set)
        except render.Undecodable as error:
            part.unlink(missing_ok=True)
            raise BadMedia(*_NO_VIDEO) from error
        part.replace(target)


def _seconds(path: Path) -> float:
    try:
        return render.video_seconds(path)
    except render.Undecodable as error:
        raise BadMedia(*_NO_VIDEO) from error


def _check_picture(path: Path) -> None:
    try:
        render.check_picture(path)
    except render.Undecodable as error:
        raise BadMedia(*_NO_PICTURE) from error
