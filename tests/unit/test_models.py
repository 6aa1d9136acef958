"""The limits of the vendor's models, each at its edge."""

from __future__ import annotations

import pytest

from motionq.contract.errors import InvalidJob
from motionq.contract.models import (
    MODELS,
    ImageFacts,
    Kind,
    VideoFacts,
    check_file,
    check_image,
    check_request,
    check_video,
)

K26 = MODELS["kling-2.6/motion-control"]
K30 = MODELS["kling-3.0/motion-control"]
MB = 1024 * 1024


def image(width: int, height: int) -> ImageFacts:
    return ImageFacts(width=width, height=height, media_type="image/png")


def video(seconds: float, width: int = 720, height: int = 1280) -> VideoFacts:
    return VideoFacts(width=width, height=height, seconds=seconds, fps=30.0, media_type="video/mp4", has_audio=False)


def test_a_good_request_passes() -> None:
    """Allowed values are let through, the longest prompt and no prompt among them, and the model is returned."""
    assert check_request(K26.name, "x" * 2500, "720p", "video") is K26
    assert check_request(K30.name, None, "1080p", "image") is K30


@pytest.mark.parametrize(
    ("model", "prompt", "mode", "orientation", "field", "sentence"),
    [
        (K26.name, "x" * 2501, "720p", "video", "prompt", "prompt: 2501 characters, the limit is 2500"),
        (K26.name, None, "4k", "video", "mode", "mode: '4k' is not one of 720p, 1080p"),
        (K30.name, None, "std", "video", "mode", "mode: 'std' is not one of 720p, 1080p"),
        (K26.name, None, "720p", "left", "orientation", "orientation: 'left' is not one of image, video"),
        (
            "kling",
            None,
            "720p",
            "video",
            "model",
            "model: 'kling' is not one of kling-2.6/motion-control, kling-3.0/motion-control",
        ),
    ],
)
def test_a_bad_request_is_one_sentence(
    model: str, prompt: str | None, mode: str, orientation: str, field: str, sentence: str
) -> None:
    """Every wrong word of a request is refused with its field, the limit and the value."""
    with pytest.raises(InvalidJob) as caught:
        check_request(model, prompt, mode, orientation)
    assert (caught.value.field, str(caught.value)) == (field, sentence)


@pytest.mark.parametrize(
    ("model", "kind", "media_type"),
    [
        (K26, "image", "image/jpeg"),
        (K26, "image", "image/png"),
        (K26, "image", "image/webp"),
        (K26, "video", "video/mp4"),
        (K26, "video", "video/quicktime"),
        (K26, "video", "video/x-matroska"),
        (K30, "image", "image/jpeg"),
        (K30, "image", "image/png"),
        (K30, "video", "video/mp4"),
        (K30, "video", "video/quicktime"),
    ],
)
def test_every_documented_type_is_taken(model: object, kind: Kind, media_type: str) -> None:
    """The types that the vendor documents pass, at the largest size that passes."""
    assert model in (K26, K30)
    chosen = K26 if model is K26 else K30
    check_file(chosen, kind, media_type, chosen.limits(kind).max_bytes)


@pytest.mark.parametrize(
    ("name", "kind", "media_type", "sentence"),
    [
        ("photo.png", "image", "image/gif", "image: photo.png is a GIF, {model} takes JPEG, PNG"),
        ("photo.png", "image", "image/avif", "image: photo.png is an AVIF, {model} takes JPEG, PNG"),
        ("photo.png", "image", "text/plain", "image: photo.png is a text file, {model} takes JPEG, PNG"),
        ("photo.png", "image", None, "image: photo.png is of an unknown type, {model} takes JPEG, PNG"),
        ("a.webp", "image", "image/webp", "image: a.webp is a WebP, {model} takes JPEG, PNG"),
        ("a.mkv", "video", "video/x-matroska", "video: a.mkv is a Matroska (mkv), {model} takes MP4, QuickTime (mov)"),
        ("a.mp4", "video", "image/png", "video: a.mp4 is a PNG, {model} takes MP4, QuickTime (mov)"),
    ],
)
def test_another_type_is_named(name: str, kind: Kind, media_type: str | None, sentence: str) -> None:
    """A file of another type is refused with what it is and what is taken."""
    with pytest.raises(InvalidJob) as caught:
        check_file(K30, kind, media_type, 1000, name=name)
    assert (caught.value.field, str(caught.value)) == (kind, sentence.format(model=K30.name))


def test_webm_is_not_matroska() -> None:
    """WebM shares Matroska's header and is not taken where Matroska is."""
    with pytest.raises(InvalidJob, match=r"^video: a\.mkv is a WebM, kling-2\.6/motion-control takes MP4, "):
        check_file(K26, "video", "video/webm", 1000, name="a.mkv")


@pytest.mark.parametrize(
    ("kind", "media_type", "size", "sentence"),
    [
        ("image", "image/png", 10 * MB + 1, "image: f has 10,485,761 bytes, the limit is 10,485,760 (10 MB)"),
        ("image", "image/png", 11_000_000, "image: f has 11,000,000 bytes, the limit is 10,485,760 (10 MB)"),
        ("video", "video/mp4", 100 * MB + 1, "video: f has 104,857,601 bytes, the limit is 104,857,600 (100 MB)"),
        ("video", "video/mp4", 0, "video: f is empty"),
    ],
)
def test_bytes_have_a_limit(kind: Kind, media_type: str, size: int, sentence: str) -> None:
    """One byte too many is refused, and so is an empty file; an 11 MB image is refused in either megabyte."""
    with pytest.raises(InvalidJob) as caught:
        check_file(K26, kind, media_type, size, name="f")
    assert (str(caught.value), caught.value.value) == (sentence, size)


@pytest.mark.parametrize(("width", "height"), [(301, 301), (4000, 1600), (400, 1000), (1000, 400)])
def test_images_at_the_edge_pass(width: int, height: int) -> None:
    """301 pixels and exactly 2:5 and 5:2 pass."""
    check_image(K26, image(width, height))


@pytest.mark.parametrize(
    ("width", "height", "sentence"),
    [
        (300, 500, "image: 300x500 pixels, kling-2.6/motion-control needs both sides larger than 300"),
        (500, 300, "image: 500x300 pixels, kling-2.6/motion-control needs both sides larger than 300"),
        (400, 1001, "image: 400x1001 pixels, kling-2.6/motion-control takes width to height from 2:5 to 5:2"),
        (1001, 400, "image: 1001x400 pixels, kling-2.6/motion-control takes width to height from 2:5 to 5:2"),
    ],
)
def test_images_beyond_the_edge_are_refused(width: int, height: int, sentence: str) -> None:
    """300 pixels is too small ("greater than"), and one pixel beyond the ratio is too much."""
    with pytest.raises(InvalidJob) as caught:
        check_image(K26, image(width, height))
    assert (caught.value.field, str(caught.value)) == ("image", sentence)


@pytest.mark.parametrize(
    ("seconds", "orientation"), [(3.0, "video"), (2.92, "video"), (30.03, "video"), (10.0, "image"), (10.1, "image")]
)
def test_durations_within_a_tenth_pass(seconds: float, orientation: str) -> None:
    """A clip that is a frame longer or shorter than the limit passes."""
    check_video(K26, video(seconds), orientation)


@pytest.mark.parametrize(
    ("seconds", "orientation", "sentence"),
    [
        (31.0, "video", "video: 31.0 s is longer than the 30 s that kling-2.6/motion-control takes"),
        (30.12, "video", "video: 30.12 s is longer than the 30 s that kling-2.6/motion-control takes"),
        (2.0, "video", "video: 2.0 s is shorter than the 3 s that kling-2.6/motion-control needs"),
        (
            12.0,
            "image",
            "video: 12.0 s is longer than the 10 s that kling-2.6/motion-control takes when orientation is image",
        ),
    ],
)
def test_durations_beyond_are_refused(seconds: float, orientation: str, sentence: str) -> None:
    """Too long and too short are refused with the limit of the orientation."""
    with pytest.raises(InvalidJob) as caught:
        check_video(K26, video(seconds), orientation)
    assert (caught.value.field, str(caught.value), caught.value.value) == ("video", sentence, seconds)


def test_only_30_limits_the_video_picture() -> None:
    """kling-3.0 needs more than 340 pixels of video and image and a ratio; kling-2.6 says nothing about the video."""
    check_video(K26, video(5.0, 320, 1000), "video")
    check_video(K30, video(5.0, 341, 341), "video")
    with pytest.raises(InvalidJob, match=r"^video: 340x600 pixels, .* needs both sides larger than 340$"):
        check_video(K30, video(5.0, 340, 600), "video")
    with pytest.raises(InvalidJob, match=r"^video: 2000x600 pixels, .* takes width to height from 2:5 to 5:2$"):
        check_video(K30, video(5.0, 2000, 600), "video")
    with pytest.raises(InvalidJob, match=r"^image: 340x340 pixels, .* needs both sides larger than 340$"):
        check_image(K30, image(340, 340))


def test_every_mode_has_a_price_and_every_orientation_a_duration() -> None:
    """The table is complete: no mode without a list price, no orientation without its seconds."""
    for model in MODELS.values():
        assert set(model.credits_per_second) == set(model.modes)
        assert set(model.seconds) == set(model.orientations)
