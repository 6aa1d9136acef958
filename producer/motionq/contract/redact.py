"""How an address is shown: presigned URLs carry their secret in the query, so nothing after the path is printed."""

from __future__ import annotations

from urllib.parse import urlsplit

_LONGEST = 200


def redact(url: str) -> str:
    """`url` without user, password, query and fragment: `https://host/path?…`.

    Whatever was cut is marked with `…`; an address that can't be parsed is shown as `(unreadable address)`.
    """
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "(unreadable address)"
    if not parts.scheme or not host:
        return "(unreadable address)" if "://" in url else _printable(url.partition("?")[0])
    tail = "?…" if parts.query else "#…" if parts.fragment else ""
    return _printable(f"{parts.scheme}://{host}{parts.path}") + tail


def _printable(text: str) -> str:
    clean = "".join(character if character.isprintable() else "?" for character in text)
    return clean if len(clean) <= _LONGEST else f"{clean[:_LONGEST]}…"
