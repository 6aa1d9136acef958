"""Films: the driving video's frames with the picture laid into them. Pure functions of files; PyAV, no numpy."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError
from av.filter import Graph
from av.video.frame import PictureType
from PIL import Image, UnidentifiedImageError

SHORT_SIDES = {"720p": 720, "1080p": 1080}


class Undecodable(Exception):
    """The file is not a picture, or not a video, that can be read."""


class Stopped(Exception):
    """The film is no longer wanted."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels, from the upper left corner of a frame."""

    x: int
    y: int
    width: int
    height: int


def film_size(width: int, height: int, mode: str) -> tuple[int, int]:
    """Return the film's size: the short side as ``mode`` says, the driver's aspect, even numbers."""
    scale = SHORT_SIDES[mode] / min(width, height)
    return _even(width * scale), _even(height * scale)


def picture_box(frame: tuple[int, int], picture: tuple[int, int]) -> Box:
    """Return where the picture stands: lower left, at most a third as wide and two thirds as high as the frame."""
    scale = min(frame[0] / 3 / picture[0], frame[1] * 2 / 3 / picture[1])
    width, height = _even(picture[0] * scale), _even(picture[1] * scale)
    return Box(0, frame[1] - height, width, height)


def video_seconds(path: Path) -> float:
    """Return the length of the first video stream. Raises Undecodable."""
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            next(container.decode(stream))
            if container.format.name in ("png_pipe", "image2", "jpeg_pipe", "webp_pipe"):
                raise Undecodable("a picture, not a video")
            return _seconds(container, stream)
    except (FFmpegError, IndexError, StopIteration, OSError) as error:
        raise Undecodable(str(error)) from error


def check_picture(path: Path) -> None:
    """Raise Undecodable if the file is not a picture."""
    _picture(path)


def render(picture: Path, driver: Path, mode: str, target: Path, stopped: Callable[[], bool] = lambda: False) -> None:
    """Write the film (H.264, yuv420p, no sound, moov first) to ``target``.

    ``stopped`` is asked before each frame, so that a shutdown need not wait. Raises Undecodable, Stopped.
    """
    try:
        with av.open(str(driver)) as source, av.open(str(target), "w", format="mp4", options=_FASTSTART) as film:
            _copy_frames(source, film, _picture(picture), mode, stopped)
    except (FFmpegError, IndexError, OSError) as error:
        raise Undecodable(str(error)) from error


def write_tiny(target: Path) -> None:
    """Write a constant black video of 64 x 64 pixels and one second."""
    with av.open(str(target), "w", format="mp4", options=_FASTSTART) as film:
        stream = _stream(film, (64, 64), Fraction(10), Fraction(1, 10))
        for number in range(10):
            frame = _yuv(Image.new("RGB", (64, 64)), number, Fraction(1, 10))
            film.mux(stream.encode(frame))
        film.mux(stream.encode())


_FASTSTART = {"movflags": "+faststart"}


def _even(length: float) -> int:
    return max(2, round(length / 2) * 2)


def _seconds(container: Any, stream: Any) -> float:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if container.duration is None:
        raise Undecodable("a video without a length")
    return float(container.duration / av.time_base)


def _picture(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise Undecodable(str(error)) from error


def _stream(film: Any, size: tuple[int, int], rate: Fraction, time_base: Fraction) -> Any:
    stream = film.add_stream("libx264", rate=rate, options={"preset": "ultrafast", "crf": "23"})
    stream.width, stream.height, stream.pix_fmt = size[0], size[1], "yuv420p"
    stream.codec_context.time_base = time_base
    stream.codec_context.thread_count = 1
    return stream


def _copy_frames(source: Any, film: Any, picture: Image.Image, mode: str, stopped: Callable[[], bool]) -> None:
    driver = source.streams.video[0]
    frames = source.decode(driver)
    first = next(frames, None)
    if first is None:
        raise Undecodable("a video without frames")
    turn = _TURNS.get(-first.rotation % 360, ())
    upright = (first.height, first.width) if len(turn) == 1 else (first.width, first.height)
    size = film_size(*upright, mode)
    table = _MixingTable(driver, first, turn, size, picture)
    stream = _stream(film, size, driver.average_rate or Fraction(25), driver.time_base)
    for frame in table.mixed(itertools.chain([first], frames)):
        if stopped():
            raise Stopped
        film.mux(stream.encode(frame))
    film.mux(stream.encode())


_TURNS = {90: ("clock",), 270: ("cclock",), 180: ("clock", "clock")}
"""What a phone's rotation mark asks for, as arguments of FFmpeg's transpose filter."""


class _MixingTable:
    """driver -> upright -> scale -> overlay(picture) -> out. FFmpeg does it in C, outside the interpreter's lock."""

    def __init__(
        self, driver: Any, first: Any, turn: tuple[str, ...], size: tuple[int, int], picture: Image.Image
    ) -> None:
        box = picture_box(size, picture.size)
        graph: Any = Graph()
        self._frames = graph.add_buffer(
            width=first.width, height=first.height, format=first.format.name, time_base=driver.time_base
        )
        still = graph.add_buffer(width=box.width, height=box.height, format="yuv420p", time_base=driver.time_base)
        overlay = graph.add("overlay", f"{box.x}:{box.y}:eof_action=repeat:format=yuv420")
        self._sink: Any = graph.add("buffersink")
        steps = [graph.add("transpose", direction) for direction in turn]
        graph.link_nodes(self._frames, *steps, graph.add("scale", f"{size[0]}:{size[1]}"), overlay)
        graph.link_nodes(overlay, graph.add("format", "yuv420p"), self._sink)
        still.link_to(overlay, 0, 1)
        graph.configure()
        self._graph = graph
        still.push(_still(picture, box, driver.time_base))
        still.push(None)

    def mixed(self, frames: Iterable[Any]) -> Iterator[Any]:
        """Yield the finished frames; times count from the first one."""
        start = None
        for frame in frames:
            start = frame.pts if start is None else start
            frame.pts -= start
            self._frames.push(frame)
            yield from self._ready()
        self._frames.push(None)
        yield from self._ready()

    def _ready(self) -> Iterator[Any]:
        while True:
            try:
                frame = self._sink.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            frame.pict_type = PictureType.NONE
            yield frame


def _still(picture: Image.Image, box: Box, time_base: Fraction) -> av.VideoFrame:
    resized = picture.resize((box.width, box.height), Image.Resampling.LANCZOS)
    return _yuv(resized, 0, time_base)


def _yuv(image: Image.Image, pts: int, time_base: Fraction) -> av.VideoFrame:
    make: Callable[[Image.Image], av.VideoFrame] = av.VideoFrame.from_image
    frame = make(image).reformat(format="yuv420p")
    frame.pts, frame.time_base = pts, time_base
    return frame
