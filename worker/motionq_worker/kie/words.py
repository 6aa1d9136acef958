"""The vendor's words, made safe to show: no secret, no query string, no control character, not long."""

from __future__ import annotations

import re
from collections.abc import Iterable

from motionq.contract.redact import without_secrets

WORDS_LIMIT = 300  # characters of a vendor's message that are kept

_BLANKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")


def storable(text: str) -> str:
    """The same text with lone surrogates replaced, so that it can be written as UTF-8 anywhere."""
    return text.encode("utf-8", "replace").decode("utf-8")


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """At most 300 characters on one line, without the given secrets, user names or query strings of addresses."""
    for secret in filter(None, secrets):
        text = text.replace(secret, "…")
    text = without_secrets(_BLANKS.sub(" ", storable(text[: 20 * WORDS_LIMIT])).strip())
    return text if len(text) <= WORDS_LIMIT else text[: WORDS_LIMIT - 1] + "…"


def error_words(error: BaseException) -> str:
    """A short name for a failure of the network: never an address, a header or a body."""
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, OSError) and error.strerror:
        return redact(error.strerror)
    return type(error).__name__
