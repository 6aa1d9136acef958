"""Real images and clips, decoded in real processes with limits."""

from __future__ import annotations

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import pytest
from PIL import Image

from motionq.contract.models import ImageFacts, VideoFacts
from motionq_worker.inspection import Limits, Unreadable, check_playable, inspect_image, inspect_video

MEDIA = Path(__file__).parents[1] / "media"
PNG = MEDIA / "astronaut.png"
MP4 = MEDIA / "bigbuckbunny.mp4"

inspections = pytest.mark.parametrize("inspect", [inspect_video, check_playable])
Inspect = Callable[[Path], VideoFacts]


def clip(
    path: Path, seconds: float, *, fps: int = 10, size: tuple[int, int] = (64, 48), faststart: bool = False
) -> Path:
    """A small clip whose every frame differs."""
    options = {"movflags": "faststart"} if faststart else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, fps)
        for number in range(round(seconds * fps)):
            shade = number * 7 % 256
            frame = av.VideoFrame.from_image(Image.new("RGB", size, (shade, 255 - shade, 128)))  # type: ignore[no-untyped-call]
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_the_sample_image() -> None:
    """A PNG gives its width, height and type."""
    assert inspect_image(PNG) == ImageFacts(width=512, height=512, media_type="image/png")


@inspections
def test_the_sample_video(inspect: Inspect) -> None:
    """An MP4 gives its size, the duration of its picture, its rate and whether it has sound."""
    assert inspect(MP4) == VideoFacts(
        width=1280, height=720, seconds=5.28, fps=25.0, media_type="video/mp4", has_audio=True
    )


@pytest.mark.parametrize(
    ("suffix", "media_type"), [("jpg", "image/jpeg"), ("png", "image/png"), ("webp", "image/webp")]
)
def test_every_image_type(tmp_path: Path, suffix: str, media_type: str) -> None:
    """Each image type that a model takes can be decoded."""
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", (320, 400), "teal").save(path)
    assert inspect_image(path) == ImageFacts(width=320, height=400, media_type=media_type)


def test_a_turned_picture(tmp_path: Path) -> None:
    """Width and height are those that are shown: a phone's EXIF orientation exchanges them."""
    path, exif = tmp_path / "a.jpg", Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (320, 400), "teal").save(path, exif=exif)
    assert inspect_image(path) == ImageFacts(width=400, height=320, media_type="image/jpeg")


@pytest.mark.parametrize(
    ("suffix", "media_type"),
    [("mp4", "video/mp4"), ("mov", "video/quicktime"), ("mkv", "video/x-matroska")],
)
@pytest.mark.parametrize("seconds", [2.0, 31.0])
@inspections
def test_durations(tmp_path: Path, inspect: Inspect, suffix: str, media_type: str, seconds: float) -> None:
    """Each video type gives its true duration, short and long."""
    path = clip(tmp_path / f"a.{suffix}", seconds)
    assert inspect(path) == VideoFacts(
        width=64, height=48, seconds=seconds, fps=10.0, media_type=media_type, has_audio=False
    )


def test_a_turned_video(tmp_path: Path) -> None:
    """A phone's upright clip is taken as it is shown."""
    source, path = clip(tmp_path / "a.mp4", 1), tmp_path / "b.mp4"
    with av.open(str(source)) as reader, av.open(str(path), "w") as writer:
        stream = writer.add_stream_from_template(reader.streams.video[0])
        stream.set_display_rotation(90)
        for packet in reader.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                writer.mux(packet)
    facts = inspect_video(path)
    assert (facts.width, facts.height) == (48, 64)


def unreadable(inspect: Callable[..., object], path: Path, *arguments: object) -> tuple[str, bool]:
    """The sentence, and whether it is the decoder's own; the file's place is not in it."""
    with pytest.raises(Unreadable) as caught:
        inspect(path, *arguments)
    assert str(path) not in str(caught.value)
    return str(caught.value), caught.value.certain


@pytest.mark.parametrize("share", [0.3, 0.9, 0.99])
@pytest.mark.parametrize("faststart", [True, False])
@inspections
def test_a_video_cut_short(tmp_path: Path, inspect: Inspect, share: float, faststart: bool) -> None:
    """A cut MP4 is found, be its table of contents at the end (damaged) or at the beginning (promising more)."""
    path = clip(tmp_path / "a.mp4", 4, faststart=faststart)
    assert inspect(path).seconds == 4.0
    os.truncate(path, int(path.stat().st_size * share))
    assert unreadable(inspect, path) == ("video: can't be decoded: it is cut short", True)


def test_a_matroska_cut_short(tmp_path: Path) -> None:
    """A cut Matroska file is found by the duration that its head promises."""
    path = clip(tmp_path / "a.mkv", 20)
    os.truncate(path, path.stat().st_size // 2)
    assert unreadable(inspect_video, path) == ("video: can't be decoded: it is cut short", True)


@pytest.mark.parametrize("share", [0.3, 0.99])
def test_an_image_cut_short(tmp_path: Path, share: float) -> None:
    """A cut PNG is found although its head is whole."""
    path = tmp_path / "a.png"
    path.write_bytes(PNG.read_bytes()[: int(PNG.stat().st_size * share)])
    words, certain = unreadable(inspect_image, path)
    assert words.startswith("image: can't be decoded: ")
    assert certain


def test_a_video_without_picture(tmp_path: Path) -> None:
    """A sound file that calls itself a video is refused."""
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame(format="fltp", layout="mono", samples=1024)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.rate = 8000
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert unreadable(inspect_video, path) == ("video: can't be decoded: it has no picture", True)


def test_garbage_inside(tmp_path: Path) -> None:
    """A right head with nothing behind it is one clear sentence."""
    image, video = tmp_path / "a.png", tmp_path / "a.mp4"
    image.write_bytes(b"\x89PNG\r\n\x1a\n" + b"garbage" * 100)
    video.write_bytes(MP4.read_bytes()[:64] + b"garbage" * 100)
    assert unreadable(inspect_image, image)[0].startswith("image: can't be decoded: ")
    assert unreadable(inspect_video, video)[0].startswith("video: can't be decoded: ")


def test_another_type(tmp_path: Path) -> None:
    """What is not an image or not a video is refused before any decoder sees it."""
    text = tmp_path / "a.png"
    text.write_text("#EXTM3U\nhttp://127.0.0.1/secret\n")
    assert unreadable(inspect_image, text)[0] == "image: can't be decoded: its content is of type text file"
    assert unreadable(inspect_video, text)[0] == "video: can't be decoded: its content is of type text file"
    assert unreadable(inspect_video, PNG)[0] == "video: can't be decoded: its content is of type PNG"


def test_a_decompression_bomb(tmp_path: Path) -> None:
    """A small file that unfolds into too many pixels is refused before they are unfolded."""
    path = tmp_path / "a.png"
    Image.new("1", (12_001, 10_000)).save(path)
    assert path.stat().st_size < 1_000_000
    words = "image: can't be decoded: it has more than 120 million pixels"
    assert unreadable(inspect_image, path) == (words, True)


def test_the_memory_limit_ends_the_child_alone() -> None:
    """A child without enough memory is one sentence, and not a verdict about the file."""
    words, certain = unreadable(inspect_video, MP4, Limits(memory=64 * 1024**2))
    assert words.startswith("video: can't be decoded: the decoder ")
    assert not certain


def test_the_time_limit_ends_the_child(tmp_path: Path) -> None:
    """A child that takes too long is ended, and that is not a verdict about the file."""
    words = "video: can't be decoded: it takes longer than 0.001 s"
    assert unreadable(inspect_video, MP4, Limits(seconds=0.001)) == (words, False)


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    """A file that is gone is not an unreadable one."""
    with pytest.raises(FileNotFoundError):
        cast(Inspect, inspect_video)(tmp_path / "gone.mp4")
