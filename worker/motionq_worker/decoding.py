"""What runs in a decoder: a process that looks at one file within limits, prints one JSON line and ends.

The line is `{"facts": {...}}` or `{"fault": "..."}`. `decoders.py` forks that process, `inspection.py` reads the line.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
import signal
import warnings
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

# 120 megapixels take 360 MB as RGB: more than any camera's picture of 10 MB, less than the memory limit.
MOST_PIXELS = 120_000_000
FIRST_FRAMES = 5
LEAST = 16 * 1024**2
NICENESS = 10
ALONE = 2  # seconds beyond its limit after which a decoder that hangs ends by itself, should nobody be left to kill it

# Naming the one decoder keeps a playlist or a script that only looks like a media file from being opened.
_IMAGE_FORMATS = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP"}
_VIDEO_FORMATS = {
    "video/mp4": "mov",
    "video/quicktime": "mov",
    "video/x-matroska": "matroska",
    "video/webm": "matroska",
}
_SIDEWAYS = frozenset({5, 6, 7, 8})  # EXIF orientations that exchange width and height
_ORIENTATION_TAG = 0x0112


class Fault(Exception):
    """The file can't be decoded; the message says why."""


def image_facts(path: str, media_type: str) -> dict[str, Any]:
    """Width and height as shown, after the whole image was decoded; raises `Fault`."""
    from PIL import Image  # here: on macOS it must not be imported before the fork

    Image.MAX_IMAGE_PIXELS = MOST_PIXELS
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    formats = [_IMAGE_FORMATS[media_type]]
    try:
        with Image.open(path, formats=formats) as image:
            image.verify()
        # verify() checks checksums and leaves the object unusable; load() decodes every pixel.
        with Image.open(path, formats=formats) as image:
            image.load()
            width, height = image.size
            sideways = image.getexif().get(_ORIENTATION_TAG) in _SIDEWAYS
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise Fault(f"it has more than {MOST_PIXELS // 1_000_000} million pixels") from None
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise Fault(_words(error, path)) from None
    return {"width": height, "height": width} if sideways else {"width": width, "height": height}


def video_facts(path: str, media_type: str, *, playable: bool = False) -> dict[str, Any]:
    """Size, duration, frame rate and sound of a video; raises `Fault`.

    Every packet is read, so a file that is cut short is found, and the duration is the one that is really there. The
    first frames are decoded; with `playable` also one in the middle and all from the last key frame to the end.
    """
    import av  # here: on macOS it must not be imported before the fork

    demuxer = _VIDEO_FORMATS[media_type]
    if demuxer == "mov":
        _check_boxes(path)
    try:
        with av.open(path, format=demuxer, options={"protocol_whitelist": "file"}) as container:
            # The best one: some files carry a cover picture as another video stream.
            video = cast("VideoStream | None", container.streams.best("video"))
            if video is None:
                raise Fault("it has no picture")
            first = _decode_first(container, video)
            span, packets = _read_through(container, video)
            if playable:
                _decode_from(container, video, span[0] + (span[1] - span[0]) / 2, most=1)
                _decode_from(container, video, span[1])
            return _facts(container, video, first, span, packets)
    except (av.FFmpegError, ValueError) as error:
        raise Fault(_words(error, path)) from None


def _facts(
    container: InputContainer, video: VideoStream, first: VideoFrame, span: tuple[float, float], packets: int
) -> dict[str, Any]:
    seconds = span[1] - span[0]
    rate = float(video.average_rate or 0) or (packets / seconds if seconds else 0.0)
    sideways = first.rotation % 180 != 0
    width, height = (first.height, first.width) if sideways else (first.width, first.height)
    return {
        "width": width,
        "height": height,
        "seconds": round(seconds, 3),
        "fps": round(rate, 3),
        "has_audio": bool(container.streams.audio),
    }


def _decode_first(container: InputContainer, video: VideoStream) -> VideoFrame:
    frames = []
    for frame in container.decode(video):
        frames.append(frame)
        if len(frames) == FIRST_FRAMES:
            break
    if not frames:
        raise Fault("it has no picture that can be decoded")
    return frames[0]


def _read_through(container: InputContainer, video: VideoStream) -> tuple[tuple[float, float], int]:
    """Read every packet; returns the picture's (start, end) in seconds and its packets."""
    container.seek(0)
    starts: list[float] = []
    ends: list[float] = []
    last_end = 0.0
    frame_seconds = float(1 / video.average_rate) if video.average_rate else 0.0
    for packet in container.demux():
        if packet.is_corrupt:
            raise Fault("it is cut short")
        start, end = _times(packet, frame_seconds if packet.stream is video else 0.0)
        if start is None:
            continue
        last_end = max(last_end, end)
        if packet.stream is video and not packet.is_discard:
            starts.append(start)
            ends.append(end)
    if not starts:
        raise Fault("it has no picture")
    _check_end(container, last_end)
    return (min(starts), max(ends)), len(starts)


def _times(packet: Packet[Any], frame_seconds: float) -> tuple[float | None, float]:
    if packet.pts is None:
        return None, 0.0  # the empty packet at the end
    start = float(packet.pts * packet.time_base)
    return start, start + (float((packet.duration or 0) * packet.time_base) or frame_seconds)


def _check_end(container: InputContainer, last_end: float) -> None:
    """A file that ends long before its header says is cut short (Matroska, fragmented MP4)."""
    announced = ((container.duration or 0) + max(0, container.start_time or 0)) / 1_000_000
    missing = announced - last_end
    # A header may be a little off, and to refuse a good file costs more than to take one that lacks a second.
    if missing > 1.0 and missing > announced / 10:
        raise Fault("it is cut short")


def _check_boxes(path: str) -> None:
    """The boxes of an MP4 or QuickTime file follow each other to its end (ISO 14496-12, 4.2); none goes beyond it."""
    end, at = Path(path).stat().st_size, 0
    with Path(path).open("rb") as file:
        while at + 8 <= end:
            file.seek(at)
            header = file.read(16)
            size = int.from_bytes(header[:4], "big")
            if size == 1:  # a large box has its size behind its type
                size = int.from_bytes(header[8:16], "big")
            if size < 8:  # 0 means "to the end"; anything else is not a box, which the decoder may judge
                return
            at += size
    if at > end:
        raise Fault("it is cut short")


def _decode_from(container: InputContainer, video: VideoStream, seconds: float, most: int | None = None) -> None:
    """Decode from the key frame before `seconds`, `most` frames or all to the end; raises `Fault` if there is none."""
    time_base = video.time_base or Fraction(1, 1_000_000)
    container.seek(int(seconds / time_base), stream=video)
    frames = 0
    for _ in container.decode(video):
        frames += 1
        if frames == most:
            break
    if frames == 0:
        raise Fault(f"nothing can be decoded at {seconds:.1f} s")


def _words(error: Exception, path: str) -> str:
    """The decoder's own words, without the path of this machine."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.replace(path, "the file").strip().splitlines()[0][:200]


def _limit(seconds: int, memory: int) -> None:
    """Limits of this process; what a platform doesn't have (macOS: the address space) is left out."""
    for kind, value, spare in (
        (resource.RLIMIT_CPU, seconds, 1),  # a second to die by SIGXCPU, which says why, before the kernel's SIGKILL
        (resource.RLIMIT_AS, memory, 0),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        with suppress(ValueError, OSError):
            resource.setrlimit(kind, (value, value + spare))
    with suppress(OSError):
        os.nice(NICENESS)
    signal.alarm(seconds + ALONE)


def main(kind: str, media_type: str, path: str, seconds: int, memory: int) -> None:
    """Print one JSON line about the file.

    `kind` is `image`, `video` or `playable`, `media_type` the one found by content; `seconds` of processor time and
    `memory` in bytes are the limits.
    """
    _limit(seconds, memory)
    mmap.mmap(-1, LEAST).close()  # too little memory to begin with is no verdict about the file: the process ends here
    answer: dict[str, Any]
    try:
        if kind == "image":
            answer = {"facts": image_facts(path, media_type)}
        else:
            answer = {"facts": video_facts(path, media_type, playable=kind == "playable")}
    except Fault as fault:
        answer = {"fault": str(fault)}
    except MemoryError:
        answer = {"fault": "decoding it takes too much memory"}
    print(json.dumps(answer), flush=True)
