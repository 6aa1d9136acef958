"""TLS to the queue's server, as the query of a rediss:// address asks for it.

Everything that connects gets the same options from here: redis-py reads most of them from the address itself, kombu
would go on without checking the server's certificate where the address says nothing (kombu 5.7, `Connection`), and
Flower reads only Celery's `broker_use_ssl`.
"""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import parse_qsl, urlsplit

_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_CHECKS = {"required": "required", "optional": "optional", "none": "none"}
_CHECKS |= {f"CERT_{name.upper()}": name for name in _CHECKS}  # Celery's words for the same
_NAMES = (*_FILES, "ssl_cert_reqs", "ssl_check_hostname")


def tls_options(url: str) -> dict[str, Any] | None:
    """What redis-py's SSLConnection takes, for a rediss:// address; None for the other ones.

    The server's certificate is checked unless the address says `ssl_cert_reqs=none`. Raises ValueError, in a sentence
    without the address: a name that does not exist, an unknown value, or a file that can't be used.
    """
    given = _given(url)
    if urlsplit(url).scheme != "rediss":
        if given:
            raise ValueError(f"{min(given)} needs an address that begins with rediss://")
        return None
    options: dict[str, Any] = {name: given[name] for name in _FILES if name in given}
    options["ssl_cert_reqs"] = _one_of(_CHECKS, "ssl_cert_reqs", given.get("ssl_cert_reqs", "required"))
    checked = _one_of({"true": True, "false": False}, "ssl_check_hostname", given.get("ssl_check_hostname", "true"))
    options["ssl_check_hostname"] = checked and options["ssl_cert_reqs"] != "none"
    _try(options)
    return options


def without_tls_options(url: str) -> str:
    """The address without those parts of its query."""
    address, mark, query = url.partition("?")
    kept = [part for part in query.split("&") if part and not part.startswith("ssl_")]
    return f"{address}{mark if kept else ''}{'&'.join(kept)}"


def _given(url: str) -> dict[str, str]:
    given = {name: value for name, value in parse_qsl(urlsplit(url).query) if name.startswith("ssl_")}
    unknown = sorted(set(given) - set(_NAMES))
    if unknown:
        raise ValueError(f"{unknown[0]} is not known: write {', '.join(_NAMES)}")
    return given


def _one_of(values: dict[str, Any], name: str, given: str) -> Any:
    if given not in values:
        raise ValueError(f"{name} must be {' or '.join(value for value in values if value.islower())}")
    return values[given]


def _try(options: dict[str, Any]) -> None:
    """Read the files as a connection would: their faults are told now, and once."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if "ssl_keyfile" in options and "ssl_certfile" not in options:
        raise ValueError("ssl_keyfile needs ssl_certfile")
    if "ssl_ca_certs" in options:
        _load("ssl_ca_certs", lambda: context.load_verify_locations(options["ssl_ca_certs"]))
    if "ssl_certfile" in options:
        chain = (options["ssl_certfile"], options.get("ssl_keyfile"))
        # An encrypted key would ask for its password on the terminal; an empty one is a fault instead.
        _load("ssl_certfile and ssl_keyfile", lambda: context.load_cert_chain(*chain, password=""))


def _load(names: str, load: Any) -> None:
    try:
        load()
    except ssl.SSLError:
        raise ValueError(f"{names}: no certificate, or no key that fits to it") from None
    except OSError as error:
        raise ValueError(f"{names}: can't be read: {error.strerror}") from None
