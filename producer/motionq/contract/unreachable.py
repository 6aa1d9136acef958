"""Why the queue's server can't be used, in one sentence without its address (which may hold a password)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from redis.exceptions import AuthenticationError, AuthorizationError, NoPermissionError, RedisError

NOT_THERE = "the queue's server can't be reached: start one with `motionq up --sandbox`, or set REDIS_URL"
_WANTS_CERTIFICATE = (
    "the queue's server wants a client certificate: set ssl_certfile and ssl_keyfile in the query of REDIS_URL"
)
_DISTRUSTS_CERTIFICATE = "the queue's server does not trust the client certificate in REDIS_URL (ssl_certfile)"
_OTHER_HOST = "the certificate of the queue's server is for another host than the one in REDIS_URL"
_NO_TLS = "the queue's server does not speak TLS at this port: use redis://, or its TLS port"
# With TLS 1.3 a server refuses a client only after the handshake, and its reason may be lost with the connection
# (measured: in 8 of 10 tries).
_ENDS = (
    "the queue's server can't be reached: it ends the connection at once; it may want TLS (rediss:// in REDIS_URL), "
    "or a client certificate (ssl_certfile and ssl_keyfile in its query)"
)

# Words of OpenSSL 3 and of the system, and what they mean here; the first that is found counts.
_WORDS = {
    "CERTIFICATE_REQUIRED": _WANTS_CERTIFICATE,
    "Hostname mismatch": _OTHER_HOST,
    "IP address mismatch": _OTHER_HOST,
    "CERTIFICATE_VERIFY_FAILED": "the certificate of the queue's server is not trusted: set ssl_ca_certs in REDIS_URL",
    "UNKNOWN_CA": _DISTRUSTS_CERTIFICATE,
    "BAD_CERTIFICATE": _DISTRUSTS_CERTIFICATE,
    "CERTIFICATE_EXPIRED": "the client certificate in REDIS_URL (ssl_certfile) has expired",
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "RECORD_LAYER_FAILURE": _NO_TLS,
    "EOF occurred in violation": _ENDS,
    "Connection reset by peer": _ENDS,
}


def why(error: BaseException) -> str:
    """The sentence for a fault of the connection."""
    for one in _chain(error):
        if isinstance(one, AuthenticationError | AuthorizationError):
            return "the queue's server refuses the user or the password in REDIS_URL"
    text = " ".join(str(one) for one in _chain(error))
    return next((sentence for word, sentence in _WORDS.items() if word in text), NOT_THERE)


# A script's error has words of its own: Redis 7.0, then 7.2 and Valkey.
_REFUSED = ("NOPERM", "The user executing the script can't", "ACL failure in script")
_SCRIPT = re.compile(r" script: [0-9a-f]+.*")


def not_permitted(error: RedisError) -> str | None:
    """The sentence for a command that the server's list of users does not allow us; None for any other fault."""
    if not isinstance(error, NoPermissionError) and not any(word in str(error) for word in _REFUSED):
        return None
    # redis-py puts a pipeline's command with its arguments before the server's words.
    said = _SCRIPT.sub("", str(error).rpartition("caused error: ")[2].removeprefix("NOPERM "))
    return f"the user in REDIS_URL may not do this on the queue's server ({said}): see ops/deploy/redis/users.acl"


def _chain(error: BaseException) -> Iterator[BaseException]:
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__ or one.__context__
