"""What is inside a media file, found out in a process of its own with limits.

A decoder fed with foreign bytes may crash, hang or take all memory. In a process per file it takes nothing along: no
other job's purchase, and no secret either, since its environment holds none. `decoding.py` is what runs there, forked
by the worker's helper (`helper.py`).
"""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motionq.contract.models import TYPE_NAMES, ImageFacts, VideoFacts
from motionq.media import HEAD_BYTES, recognise
from motionq_worker.keeper import keeper


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a decoder may take: `seconds` of wall time and of processor time, `memory` bytes of address space."""

    seconds: float = 30.0
    memory: int = 2 * 1024**3


class Unreadable(Exception):
    """The file can't be decoded; the message is one sentence, without the file's path.

    `certain` says that the decoder itself refused the content, so that trying again is useless. Otherwise its process
    crashed, was killed or took too long, which a starved machine can do to a good file as well: a caller's file is
    refused all the same, a result that was paid for deserves another try.
    """

    def __init__(self, message: str, *, certain: bool) -> None:
        super().__init__(message)
        self.certain = certain


def inspect_image(path: Path, limits: Limits = Limits()) -> ImageFacts:
    """Decode the whole image; raises `Unreadable`, or `OSError` when the file itself can't be read."""
    media_type = _media_type(path, "image")
    return ImageFacts(media_type=media_type, **_ask("image", "image", media_type, path, limits))


def inspect_video(path: Path, limits: Limits = Limits()) -> VideoFacts:
    """Read every packet and decode the first frames; raises `Unreadable`, or `OSError` as above."""
    media_type = _media_type(path, "video")
    return VideoFacts(media_type=media_type, **_ask("video", "video", media_type, path, limits))


def check_playable(path: Path, limits: Limits = Limits()) -> VideoFacts:
    """Like `inspect_video`, and decode the middle and the end as well: for a result that was paid for."""
    media_type = _media_type(path, "video")
    return VideoFacts(media_type=media_type, **_ask("playable", "video", media_type, path, limits))


def _media_type(path: Path, kind: str) -> str:
    with path.open("rb") as file:
        found = recognise(file.read(HEAD_BYTES))
    if found is None:
        raise Unreadable(f"{kind}: can't be decoded: its content is of an unknown type", certain=True)
    if found.mime not in _DECODED[kind]:
        raise Unreadable(f"{kind}: can't be decoded: its content is of type {TYPE_NAMES[found.mime]}", certain=True)
    return found.mime


_DECODED = {
    "image": frozenset({"image/jpeg", "image/png", "image/webp"}),
    "video": frozenset({"video/mp4", "video/quicktime", "video/x-matroska", "video/webm"}),
}


def _ask(task: str, kind: str, media_type: str, path: Path, limits: Limits) -> dict[str, Any]:
    """The facts that the decoder prints; whatever else happens to it is said in one sentence."""
    request = [task, media_type, str(path.absolute()), max(1, round(limits.seconds)), limits.memory]
    try:
        output, code = keeper.ask(json.dumps(request).encode(), limits.seconds)
    except TimeoutError:
        words = f"{kind}: can't be decoded: it takes longer than {limits.seconds:g} s"
        raise Unreadable(words, certain=False) from None
    answer = _parse(output)
    if code != 0 or answer is None:
        raise Unreadable(f"{kind}: can't be decoded: the decoder {_end(code)}", certain=False)
    if "fault" in answer:
        raise Unreadable(f"{kind}: can't be decoded: {answer['fault']}", certain=True)
    facts: dict[str, Any] = answer["facts"]
    return facts


def _parse(output: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(output)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _end(code: int) -> str:
    if code >= 0:
        return f"ended without an answer (exit code {code})"
    if -code == signal.SIGXCPU:
        return "took too much processor time"
    return f"was ended by {signal.Signals(-code).name}"
