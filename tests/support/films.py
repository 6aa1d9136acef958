"""Small media made for a test, and what is in a film when all of it is played."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import av
from PIL import Image


def picture(width: int = 400, height: int = 500, *, colour: tuple[int, int, int] = (10, 200, 30)) -> bytes:
    """A PNG of one colour."""
    file = BytesIO()
    Image.new("RGB", (width, height), colour).save(file, "PNG")
    return file.getvalue()


def film(path: Path, seconds: float, *, fps: int = 10, width: int = 352, height: int = 288) -> Path:
    """An MP4 of so many seconds."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for n in range(round(seconds * fps)):
            frame = av.VideoFrame.from_image(Image.new("RGB", (width, height), (n % 256, 80, 120)))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@dataclass(frozen=True)
class Played:
    """A film as it was played: `seconds` are its decoded frames by their rate."""

    width: int
    height: int
    seconds: float


def played(path: Path) -> Played:
    """Decode every frame."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = sum(1 for _ in container.decode(stream))
        assert stream.average_rate is not None
        return Played(stream.width, stream.height, float(frames / stream.average_rate))
