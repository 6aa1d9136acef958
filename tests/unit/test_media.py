"""Files are recognised by their first bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from motionq.contract.models import MODELS, TYPE_NAMES
from motionq.media import HEAD_BYTES, TYPES, recognise

MEDIA = Path(__file__).parents[1] / "media"


def ftyp(major: bytes, *compatible: bytes) -> bytes:
    size = 16 + 4 * len(compatible)
    return size.to_bytes(4, "big") + b"ftyp" + major + bytes(4) + b"".join(compatible) + b"\x00\x00\x00\x08free"


def ebml(document_type: bytes) -> bytes:
    body = b"\x42\x86\x81\x01\x42\x82" + bytes([0x80 | len(document_type)]) + document_type
    return b"\x1a\x45\xdf\xa3" + bytes([0x80 | len(body)]) + body + b"\x18\x53\x80\x67"


@pytest.mark.parametrize(
    ("head", "mime"),
    [
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "image/jpeg"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "image/png"),
        (b"RIFF\x10\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"GIF89a\x01\x00", "image/gif"),
        (b"II*\x00\x08\x00", "image/tiff"),
        (b"BM\x36\x00\x0c\x00\x00\x00\x00\x00\x36\x00", "image/bmp"),
        (ftyp(b"heic", b"mif1"), "image/heic"),
        (ftyp(b"avif", b"mif1"), "image/avif"),
        (ftyp(b"mif1", b"avif"), "image/avif"),
        (ftyp(b"mif1", b"heic"), "image/heic"),
        (ftyp(b"isom", b"iso2", b"mp41"), "video/mp4"),
        (ftyp(b"mp42"), "video/mp4"),
        (ftyp(b"M4V "), "video/mp4"),
        (ftyp(b"qt  "), "video/quicktime"),
        (b"\x00\x00\x00\x08wide\x00\x01\x00\x00mdat", "video/quicktime"),
        (ebml(b"matroska"), "video/x-matroska"),
        (ebml(b"webm"), "video/webm"),
        (ebml(b"webm\x00\x00"), "video/webm"),
        (b"RIFF\x10\x00\x00\x00AVI LIST", "video/x-msvideo"),
        (b"%PDF-1.7", "application/pdf"),
        (b"PK\x03\x04\x14\x00", "application/zip"),
        (b"\n <!DOCTYPE html><html>", "text/html"),
        (b"not a picture\n", "text/plain"),
        (b"BMW is a text, not a bitmap", "text/plain"),
        ("é".encode() * HEAD_BYTES, "text/plain"),
        (b"x" + ("é".encode() * HEAD_BYTES)[: HEAD_BYTES - 1], "text/plain"),
    ],
)
def test_known_types(head: bytes, mime: str) -> None:
    """Each type is told by its content, near relatives apart from each other."""
    found = recognise(head)
    assert found is not None
    assert found.mime == mime


@pytest.mark.parametrize(
    "head",
    [b"", b"\x00" * 64, b"RIFF\x10\x00\x00\x00WAVEfmt ", ebml(b"other"), b"\x1a\x45\xdf\xa3", b"\xfe\xfe\xfa text"],
)
def test_unknown_content_is_none(head: bytes) -> None:
    """What is not recognised is not guessed at."""
    assert recognise(head) is None


@pytest.mark.parametrize(
    ("name", "mime", "kind"), [("astronaut.png", "image/png", "image"), ("bigbuckbunny.mp4", "video/mp4", "video")]
)
def test_the_sample_media(name: str, mime: str, kind: str) -> None:
    """Real files are recognised too."""
    with (MEDIA / name).open("rb") as file:
        found = recognise(file.read(HEAD_BYTES))
    assert found is not None
    assert (found.mime, found.kind) == (mime, kind)


def test_every_type_has_a_name_for_people() -> None:
    """Whatever is recognised can be named in a refusal, and every type that a model takes can be recognised."""
    assert set(TYPES) == set(TYPE_NAMES)
    taken = {one for model in MODELS.values() for one in (*model.image.types, *model.video.types)}
    assert taken <= set(TYPES)
