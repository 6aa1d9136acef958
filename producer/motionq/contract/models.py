"""The vendor's models and their limits, and the checks that hold a request against them.

Every check is a pure function that raises `InvalidJob` with one sentence naming the field, the limit and the value.
The vendor checks again, free of charge; these checks save an upload and give a clearer sentence. Where its documents
disagree the wider reading is taken, because a refusal at the vendor costs nothing and a refusal here is final.

Sources, as they are named below:
- docs 2.6: docs.kie.ai/market/kling/motion-control
- docs 3.0: docs.kie.ai/market/kling/motion-control-v3
- docs 2.6 (January 2026): the older page of the same model, which also lists WebP
- catalogue: GET api.kie.ai/api/v1/models, October 2026
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from motionq.contract.errors import InvalidJob

Kind = Literal["image", "video"]

# A clip of "30 s" at 30000/1001 frames per second lasts 30.03 s, and encoders round up to a whole frame.
DURATION_TOLERANCE_SECONDS = 0.1

# The documents say "10MB" and "100MB" and not which megabyte. Binary is the wider reading: a file between the two
# readings may be refused by the vendor, free of charge, but is never refused here although the vendor would take it.
MEGABYTE = 1024 * 1024

# Media type -> what a person calls it. Types that no model takes are here too, so that a refusal can name them.
TYPE_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "image/jpeg": "JPEG",
        "image/png": "PNG",
        "image/webp": "WebP",
        "image/gif": "GIF",
        "image/heic": "HEIC",
        "image/avif": "AVIF",
        "image/bmp": "BMP",
        "image/tiff": "TIFF",
        "video/mp4": "MP4",
        "video/quicktime": "QuickTime (mov)",
        "video/x-matroska": "Matroska (mkv)",
        "video/webm": "WebM",
        "video/x-msvideo": "AVI",
        "text/html": "HTML page",
        "text/plain": "text file",
        "application/pdf": "PDF",
        "application/zip": "ZIP archive",
    }
)


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """What a decoded image is: width and height in pixels as shown (EXIF orientation applied)."""

    width: int
    height: int
    media_type: str


@dataclass(frozen=True, kw_only=True)
class VideoFacts:
    """What a decoded video is: pixels as shown (rotation applied), seconds and frames per second of its picture."""

    width: int
    height: int
    seconds: float
    fps: float
    media_type: str
    has_audio: bool


@dataclass(frozen=True, kw_only=True)
class FileLimits:
    """What the vendor takes as one file.

    `min_side` is exclusive, in pixels (None: no limit); `ratio_tall` and `ratio_wide` are inclusive width:height pairs.
    """

    types: tuple[str, ...]
    max_bytes: int
    min_side: int | None = None
    ratio_tall: tuple[int, int] | None = None
    ratio_wide: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class VendorModel:
    """One model of the vendor.

    `seconds`: orientation -> (shortest, longest) driving video. `credits_per_second`: mode -> list price, for
    estimates only: prices move.
    """

    name: str
    image: FileLimits
    video: FileLimits
    seconds: Mapping[str, tuple[float, float]]
    prompt_characters: int
    modes: tuple[str, ...]
    orientations: tuple[str, ...]
    credits_per_second: Mapping[str, float]

    def limits(self, kind: Kind) -> FileLimits:
        """The limits of the image or of the video."""
        return self.image if kind == "image" else self.video

    def estimate(self, mode: str, orientation: str, seconds: float | None) -> float:
        """Credits that a purchase likely costs; of a driving video of unknown length, what the longest costs."""
        longest = self.seconds[orientation][1]
        return round(self.credits_per_second[mode] * (seconds or longest), 2)


# docs 2.6 and 3.0: "3-30 seconds"; docs 2.6: with orientation `image` the driving video is at most 10 s.
_SECONDS: Mapping[str, tuple[float, float]] = MappingProxyType({"video": (3.0, 30.0), "image": (3.0, 10.0)})

_KLING_26 = VendorModel(
    name="kling-2.6/motion-control",
    image=FileLimits(
        types=("image/jpeg", "image/png", "image/webp"),  # docs 2.6; WebP: docs 2.6 (January 2026) and its own example
        max_bytes=10 * MEGABYTE,  # docs 2.6
        min_side=300,  # docs 2.6: "size needs to be greater than 300px"
        ratio_tall=(2, 5),  # docs 2.6
        ratio_wide=(5, 2),  # docs 2.6
    ),
    video=FileLimits(
        types=("video/mp4", "video/quicktime", "video/x-matroska"),  # docs 2.6
        max_bytes=100 * MEGABYTE,  # docs 2.6
    ),
    seconds=_SECONDS,
    prompt_characters=2500,  # docs 2.6
    modes=("720p", "1080p"),  # docs 2.6 (its prose says std/pro, which the vendor refuses)
    orientations=("image", "video"),  # docs 2.6
    credits_per_second=MappingProxyType({"720p": 11.0, "1080p": 18.0}),  # catalogue
)

_KLING_30 = VendorModel(
    name="kling-3.0/motion-control",
    image=FileLimits(
        types=("image/jpeg", "image/png"),  # docs 3.0
        max_bytes=10 * MEGABYTE,  # docs 3.0
        min_side=340,  # docs 3.0: "size needs to be greater than 340px", image and video
        ratio_tall=(2, 5),  # docs 3.0, image and video
        ratio_wide=(5, 2),  # docs 3.0, image and video
    ),
    video=FileLimits(
        types=("video/mp4", "video/quicktime"),  # docs 3.0 (no Matroska)
        max_bytes=100 * MEGABYTE,  # docs 3.0
        min_side=340,
        ratio_tall=(2, 5),
        ratio_wide=(5, 2),
    ),
    seconds=_SECONDS,
    prompt_characters=2500,  # docs 3.0
    modes=("720p", "1080p"),  # docs 3.0 example; std and pro were refused when tried
    orientations=("image", "video"),  # docs 3.0
    credits_per_second=MappingProxyType({"720p": 20.0, "1080p": 27.0}),  # catalogue
)

MODELS: Mapping[str, VendorModel] = MappingProxyType({model.name: model for model in (_KLING_26, _KLING_30)})


def find_model(name: str) -> VendorModel:
    """The model of this name; raises `InvalidJob` (field `model`) for another name."""
    _one_of("model", name, MODELS)
    return MODELS[name]


def check_request(model: str, prompt: str | None, mode: str, orientation: str) -> VendorModel:
    """Check the words of a request; returns the model they were held against.

    Raises `InvalidJob` with field `model`, `mode`, `orientation` or `prompt`.
    """
    found = find_model(model)
    _one_of("mode", mode, found.modes)
    _one_of("orientation", orientation, found.orientations)
    characters = len(prompt or "")
    if characters > found.prompt_characters:
        raise InvalidJob(
            f"prompt: {characters} characters, the limit is {found.prompt_characters}",
            field="prompt",
            limit=found.prompt_characters,
            value=characters,
        )
    return found


def check_file(model: VendorModel, kind: Kind, media_type: str | None, size: int, *, name: str = "the file") -> None:
    """Check what is known without decoding: the type found in the content, and the bytes.

    `media_type` is None where the content was not recognised; `name` is how the sentence calls the file.
    Raises `InvalidJob` with field `image` or `video`.
    """
    check_type(model, kind, media_type, name=name)
    check_size(model, kind, size, name=name)


def check_type(model: VendorModel, kind: Kind, media_type: str | None, *, name: str = "the file") -> None:
    """Check the type found in a file's content; raises `InvalidJob` with field `image` or `video`."""
    types = model.limits(kind).types
    if media_type in types:
        return
    found = "of an unknown type" if media_type is None else _with_article(TYPE_NAMES.get(media_type, media_type))
    wanted = ", ".join(TYPE_NAMES[one] for one in types)
    raise InvalidJob(
        f"{kind}: {name} is {found}, {model.name} takes {wanted}", field=kind, limit=list(types), value=media_type
    )


def check_size(model: VendorModel, kind: Kind, size: int, *, name: str = "the file") -> None:
    """Check a file's bytes; raises `InvalidJob` with field `image` or `video`."""
    limit = model.limits(kind).max_bytes
    if size <= 0:
        raise InvalidJob(f"{kind}: {name} is empty", field=kind, limit=limit, value=size)
    if size > limit:
        raise InvalidJob(
            f"{kind}: {name} has {size:,} bytes, the limit is {limit:,} ({limit // MEGABYTE} MB)",
            field=kind,
            limit=limit,
            value=size,
        )


def check_image(model: VendorModel, facts: ImageFacts) -> None:
    """Check a decoded image: sides and ratio; raises `InvalidJob` with field `image`."""
    _check_sides(model, "image", facts.width, facts.height)
    _check_ratio(model, "image", facts.width, facts.height)


def check_video(model: VendorModel, facts: VideoFacts, orientation: str) -> None:
    """Check a decoded driving video: sides, ratio and duration; raises `InvalidJob` with field `video`."""
    _check_sides(model, "video", facts.width, facts.height)
    _check_ratio(model, "video", facts.width, facts.height)
    _check_seconds(model, facts.seconds, orientation)


def _check_sides(model: VendorModel, kind: Kind, width: int, height: int) -> None:
    limit = model.limits(kind).min_side
    if limit is not None and min(width, height) <= limit:
        raise InvalidJob(
            f"{kind}: {width}x{height} pixels, {model.name} needs both sides larger than {limit}",
            field=kind,
            limit=limit,
            value=f"{width}x{height}",
        )


def _check_ratio(model: VendorModel, kind: Kind, width: int, height: int) -> None:
    limits = model.limits(kind)
    if limits.ratio_tall is None or limits.ratio_wide is None:
        return
    tall, wide = limits.ratio_tall, limits.ratio_wide
    # Whole numbers, so that a picture of exactly 2:5 is not lost to rounding.
    if width * tall[1] >= height * tall[0] and width * wide[1] <= height * wide[0]:
        return
    limit = f"{tall[0]}:{tall[1]} to {wide[0]}:{wide[1]}"
    raise InvalidJob(
        f"{kind}: {width}x{height} pixels, {model.name} takes width to height from {limit}",
        field=kind,
        limit=limit,
        value=f"{width}x{height}",
    )


def _check_seconds(model: VendorModel, seconds: float, orientation: str) -> None:
    shortest, longest = model.seconds[orientation]
    with_orientation = " when orientation is image" if orientation == "image" else ""
    if seconds < shortest - DURATION_TOLERANCE_SECONDS:
        comparison, limit = f"shorter than the {shortest:g} s that {model.name} needs", shortest
    elif seconds > longest + DURATION_TOLERANCE_SECONDS:
        comparison, limit = f"longer than the {longest:g} s that {model.name} takes{with_orientation}", longest
    else:
        return
    raise InvalidJob(f"video: {_seconds(seconds)} s is {comparison}", field="video", limit=limit, value=seconds)


def _seconds(seconds: float) -> str:
    """`31.0`, but `30.12`: enough digits to tell the value from the limit."""
    return f"{seconds:.2f}".removesuffix("0")


def _one_of(field: str, value: str, choices: Iterable[str]) -> None:
    listed = list(choices)
    if value not in listed:
        raise InvalidJob(
            f"{field}: {value!r} is not one of {', '.join(listed)}", field=field, limit=listed, value=value
        )


def _with_article(name: str) -> str:
    return f"an {name}" if name.startswith(("AV", "MP4", "HTML")) else f"a {name}"
