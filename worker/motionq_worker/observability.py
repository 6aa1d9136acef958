"""Logs: structured, one line each, without secrets."""

from __future__ import annotations

import logging
import re
import sys
from typing import Any

import structlog

from motionq.contract.settings import Settings

# Query strings may sign an address; the last part of a callback's path is a capability.
_QUERY = re.compile(r"(https?://[^\s?'\"]+)\?[^\s'\"]+")
_CALLBACK = re.compile(r"(/callbacks/kie/[^/\s]+/)[0-9a-f]+")
_BEARER = re.compile(r"(?i)(bearer\s+)\S+")


class Redactor:
    """Takes secrets out of a finished line: known values, signed addresses, callback capabilities."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        self._secrets = tuple(secret for secret in secrets if len(secret) >= 4)

    def __call__(self, line: str) -> str:
        """The line without secrets."""
        for secret in self._secrets:
            line = line.replace(secret, "…")
        line = _QUERY.sub(r"\1?…", line)
        line = without_nonce(line)
        return _BEARER.sub(r"\1…", line)


def without_nonce(line: str) -> str:
    """A callback's path without its capability."""
    return _CALLBACK.sub(r"\1…", line)


class _Formatter(structlog.stdlib.ProcessorFormatter):
    def __init__(self, redactor: Redactor, **options: Any) -> None:
        super().__init__(**options)
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        return self._redactor(super().format(record))


def secrets_of(settings: Settings) -> tuple[str, ...]:
    """The values that no line may show."""
    held = (settings.kie_api_key, settings.kie_webhook_hmac_key)
    values = [secret.get_secret_value() for secret in held if secret]
    password = re.search(r"://[^/@]*:([^/@]+)@", settings.redis_url.get_secret_value()) if settings.redis_url else None
    return (*values, password[1]) if password else tuple(values)


def configure(settings: Settings) -> None:
    """Sets up logging for a process of motionq, as `MOTIONQ_LOG_LEVEL` and `MOTIONQ_LOG_FORMAT` say."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    as_json = (settings.log_format or ("console" if sys.stderr.isatty() else "json")) == "json"
    plain = structlog.dev.plain_traceback  # the other ones print local variables: prompts, nonces, addresses
    renderer: Any = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(exception_formatter=plain)
    )
    last = [structlog.processors.format_exc_info, renderer] if as_json else [renderer]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _Formatter(
            Redactor(secrets_of(settings)),
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    logging.getLogger("urllib3").setLevel(logging.INFO)  # its debug lines show whole addresses
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
