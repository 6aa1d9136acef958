"""What a file is, told by its first bytes; the name it carries is never believed."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import Literal

# Enough for every signature here, the Matroska header with its document type included.
HEAD_BYTES = 4096


@dataclass(frozen=True)
class MediaType:
    """A recognised type: `mime`, the usual `extension` with its dot, and whether it is an image or a video."""

    mime: str
    extension: str
    kind: Literal["image", "video", "other"]


JPEG = MediaType("image/jpeg", ".jpg", "image")
PNG = MediaType("image/png", ".png", "image")
WEBP = MediaType("image/webp", ".webp", "image")
GIF = MediaType("image/gif", ".gif", "image")
HEIC = MediaType("image/heic", ".heic", "image")
AVIF = MediaType("image/avif", ".avif", "image")
BMP = MediaType("image/bmp", ".bmp", "image")
TIFF = MediaType("image/tiff", ".tif", "image")
MP4 = MediaType("video/mp4", ".mp4", "video")
QUICKTIME = MediaType("video/quicktime", ".mov", "video")
MATROSKA = MediaType("video/x-matroska", ".mkv", "video")
WEBM = MediaType("video/webm", ".webm", "video")
AVI = MediaType("video/x-msvideo", ".avi", "video")
PDF = MediaType("application/pdf", ".pdf", "other")
ZIP = MediaType("application/zip", ".zip", "other")
HTML = MediaType("text/html", ".html", "other")
TEXT = MediaType("text/plain", ".txt", "other")

TYPES: dict[str, MediaType] = {
    one.mime: one
    for one in (
        *(JPEG, PNG, WEBP, GIF, HEIC, AVIF, BMP, TIFF),
        *(MP4, QUICKTIME, MATROSKA, WEBM, AVI),
        *(PDF, ZIP, HTML, TEXT),
    )
}

_SIGNATURES: tuple[tuple[bytes, MediaType], ...] = (
    (b"\xff\xd8\xff", JPEG),
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"II*\x00", TIFF),
    (b"MM\x00*", TIFF),
    (b"%PDF-", PDF),
    (b"PK\x03\x04", ZIP),
)

# Brands of the "ftyp" box (ISO 14496-12; registered at mp4ra.org). Any other brand is a video of the MP4 family.
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_QUICKTIME_BRAND = b"qt  "

# A QuickTime file from before "ftyp" begins with one of these atoms (Apple, QuickTime File Format).
_QUICKTIME_ATOMS = frozenset({b"moov", b"mdat", b"wide", b"pnot"})

_EBML = b"\x1a\x45\xdf\xa3"
_EBML_DOCUMENT_TYPE = b"\x42\x82"


def recognise(head: bytes) -> MediaType | None:
    """The type of a file that begins with `head` (up to `HEAD_BYTES`), or None where nothing is recognised."""
    for signature, media_type in _SIGNATURES:
        if head.startswith(signature):
            return media_type
    return _riff(head) or _boxes(head) or _matroska(head) or _bitmap(head) or _text(head)


def _riff(head: bytes) -> MediaType | None:
    if head[:4] != b"RIFF":
        return None
    return {b"WEBP": WEBP, b"AVI ": AVI}.get(head[8:12])


def _boxes(head: bytes) -> MediaType | None:
    box = head[4:8]
    if box in _QUICKTIME_ATOMS:
        return QUICKTIME
    if box != b"ftyp" or len(head) < 12:
        return None
    size = min(int.from_bytes(head[:4], "big"), len(head))
    major, compatible = head[8:12], {head[at : at + 4] for at in range(16, size - 3, 4)}
    # An AVIF may have "mif1", the brand of all such images, as its major one.
    if major in _AVIF_BRANDS or (major in _HEIC_BRANDS and compatible & _AVIF_BRANDS):
        return AVIF
    if major in _HEIC_BRANDS:
        return HEIC
    return QUICKTIME if major == _QUICKTIME_BRAND else MP4


def _matroska(head: bytes) -> MediaType | None:
    """Matroska and WebM share their header and differ in its document type (RFC 8794, RFC 9559)."""
    if not head.startswith(_EBML):
        return None
    at = head.find(_EBML_DOCUMENT_TYPE, len(_EBML))
    if at < 0 or at + 2 >= len(head):
        return None
    length = head[at + 2] & 0x7F
    document_type = head[at + 3 : at + 3 + length].rstrip(b"\x00")
    return {b"matroska": MATROSKA, b"webm": WEBM}.get(document_type)


def _bitmap(head: bytes) -> MediaType | None:
    # "BM" alone is also how a text may begin; the four reserved bytes of the header are zero.
    return BMP if head[:2] == b"BM" and head[6:10] == bytes(4) else None


def _text(head: bytes) -> MediaType | None:
    if not head or any(byte < 32 and byte not in b"\t\n\r\f" for byte in head):
        return None
    try:
        # The head may end inside a character, which an incremental decoder forgives.
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return None
    beginning = text.lstrip("\ufeff \t\r\n\f")[:14].lower()
    return HTML if beginning.startswith(("<!doctype html", "<html")) else TEXT
