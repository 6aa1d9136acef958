"""What is shown of secrets: an address without its query, which may sign it, and a text without the secrets in it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

_LONGEST = 200

_NAMES = r"(?i)(?<![a-z0-9])((?:api|access|hmac)[-_]?key|token|nonce|secret|password|passwd|signature)"
_VALUE = r"[^\s\"'<>,;&\\]"

# Where a secret can stand in a text of whatever origin: a vendor's words, a library's error, a traceback. Order
# matters: addresses are shortened first, then what is left of secrets outside addresses.
_PLACES = (
    # user and password of an address, also of redis://:password@host
    (re.compile(r"(?i)(?<![a-z0-9+.-])([a-z][a-z0-9+.-]*://)[^\s/?#\"'<>]*@"), r"\1"),
    # the last part of a callback's path is a capability
    (re.compile(r"(?i)(/callbacks/kie/[^/\s\"'<>]+/)[^\s\"'<>]+"), r"\1…"),
    (re.compile(r"(?i)(\bhttps?://[^\s?#\"'<>]{0,2000})[?#][^\s\"'<>]*"), r"\1?…"),
    # the query of a path alone, as urllib3 shows it
    (re.compile(r"\?[^\s?=\"'<>]{1,200}=[^\s\"'<>]*"), "?…"),
    (re.compile(r"(?i)\b(bearer)\s+[^\s\"'<>,;]+"), r"\1 …"),
    (re.compile(r"(?i)\b(authorization[\\\"']*\s*[:=]\s*[\\\"']*(?:basic|digest)\s+)[^\s\"'<>,;\\]+"), r"\1…"),
    # name=value; and "name": value if the value has a digit, for a sentence may well say "the token: none"
    (re.compile(rf"{_NAMES}(=[\\\"']*){_VALUE}+"), r"\1\2…"),
    (re.compile(rf"{_NAMES}([\\\"']*\s*:\s*[\\\"']*)(?={_VALUE}*\d){_VALUE}{{6,}}"), r"\1\2…"),
    # a nonce by its shape: 40 hex digits, or some more with the rest of a %2F; 64 are a file's hash, and no secret
    (re.compile(r"(?i)(?<![0-9a-f])[0-9a-f]{40,63}(?![0-9a-f])"), "…"),
)

# To its last letter or digit: a sentence may go on right behind it.
_ADDRESS = re.compile(r"(?i)(?<![a-z0-9+.-])[a-z][a-z0-9+.-]*://[^\s\"'<>]*[^\s\"'<>:;,.)]")


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


def without_secrets(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` without the given secrets, and without whatever else stands where secrets stand.

    That is: user, password and query of an address, the capability in a callback's path, bearer tokens, the values of
    names such as `token=` and `"api_key":`, and anything of a nonce's shape.
    """
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "…")
    for place, shown in _PLACES:
        text = place.sub(shown, text)
    return text


def without_addresses(text: str) -> str:
    """`text` as it may be shown to people who have nothing to do with the job: a path alone may open a file."""
    return _ADDRESS.sub("(address)", text)


def _printable(text: str) -> str:
    clean = "".join(character if character.isprintable() else "?" for character in text)
    return clean if len(clean) <= _LONGEST else f"{clean[:_LONGEST]}…"
