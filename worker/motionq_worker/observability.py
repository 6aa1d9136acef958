"""Logs: one line each, as JSON or for a terminal, with the IDs of the job and the step, without secrets.

Everything that writes through `logging` comes out this way: motionq, Celery, kombu, urllib3, uvicorn, Flower, Python's
warnings, and what nobody caught. The fields are described in docs/logs.md.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
from collections.abc import Iterable, Mapping, MutableMapping
from contextlib import suppress
from types import TracebackType
from typing import Any, TextIO
from urllib.parse import quote, unquote, urlsplit

import structlog
from pydantic import SecretStr

from motionq.contract.redact import without_secrets
from motionq.contract.settings import Settings

_SHORTEST = 4  # characters of a secret that is looked for: shorter ones would blacken half of every line
_ORDER = ("timestamp", "level", "logger", "worker", "job", "step", "celery_id", "task_id", "event")
_STEP_ID = re.compile(r"([0-9a-z]{26})\.(\w+)\.\d+")  # a step's Celery task ID, as the publisher gives it
_NAMED_JOB = re.compile(r"\bjob ([0-9a-z]{26})\b")

Event = MutableMapping[str, Any]


def configure(settings: Settings, *, worker: str | None = None, secrets: Iterable[str] = ()) -> None:
    """Sets up logging for a process of motionq, as `MOTIONQ_LOG_LEVEL` and `MOTIONQ_LOG_FORMAT` say.

    `worker` is the name that every line carries; `secrets`: values that no line may show, beside those of the settings.
    """
    handler = _Handler(sys.stderr)
    handler.setFormatter(formatter(settings, worker=worker, colors=sys.stderr.isatty(), secrets=secrets))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    logging.getLogger("urllib3").setLevel(logging.INFO)  # its debug lines tell nothing but addresses
    if settings.log_level == "INFO":  # "Task … received" stands a moment before "succeeded", and costs as much
        logging.getLogger("celery.worker.strategy").setLevel(logging.WARNING)
    logging.captureWarnings(True)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread


def take_over(*names: str) -> None:
    """Loggers that a server has given handlers of its own write as all others do; silenced ones stay silent."""
    for logger in map(logging.getLogger, names):
        if logger.handlers:
            logger.handlers.clear()
            logger.propagate = True


def as_json(settings: Settings) -> bool:
    """Whether lines are JSON: as `MOTIONQ_LOG_FORMAT` says, else where no terminal would show them."""
    return (settings.log_format or ("console" if sys.stderr.isatty() else "json")) == "json"


def formatter(
    settings: Settings, *, worker: str | None = None, colors: bool = False, secrets: Iterable[str] = ()
) -> logging.Formatter:
    """What turns a record of whatever logger into a line."""
    plain = structlog.dev.plain_traceback  # the other ones print local variables: prompts, nonces, addresses
    renderer: Any = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if as_json(settings)
        else structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)
    )
    return structlog.stdlib.ProcessorFormatter(
        processors=[
            structlog.stdlib.add_logger_name,
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.contextvars.merge_contextvars,
            _Ids(worker),
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            Redactor((*secrets_of(settings), *secrets)),
            renderer,
        ],
    )


# -- who and what a line is about --------------------------------------------------------------------------------------


def ids_of(name: str, celery_id: str) -> dict[str, str]:
    """The fields of a Celery message: `step` and `celery_id`, and `job` unless it is about many or none."""
    found = _STEP_ID.fullmatch(celery_id)
    step = found[2] if found else name.removeprefix("motionq.")
    return ({"job": found[1]} if found else {}) | {"step": step, "celery_id": celery_id}


def begin_step(name: str, celery_id: str) -> None:
    """Lines of this thread carry the step's IDs from now on."""
    structlog.contextvars.bind_contextvars(**ids_of(name, celery_id))


def about_task(task_id: str | None) -> None:
    """Lines of this thread carry kie.ai's task ID as well, once there is one."""
    if task_id:
        structlog.contextvars.bind_contextvars(task_id=task_id)


def end_step() -> None:
    """Lines of this thread are about no step any more."""
    structlog.contextvars.clear_contextvars()


class _Ids:
    """Adds the worker, and the job and step of lines that are written outside a step's thread; puts all in order."""

    def __init__(self, worker: str | None) -> None:
        self._worker = {"worker": worker} if worker else {}

    def __call__(self, _: Any, __: str, event: Event) -> Event:
        """The line's values, with these."""
        found: Event = {}
        about = getattr(event.get("_record"), "data", None)  # Celery's words on a message it received or has done
        if isinstance(about, Mapping) and {"id", "name"} <= about.keys():
            found = ids_of(str(about["name"]), str(about["id"]))
        elif named := _NAMED_JOB.search(str(event.get("event", ""))):
            found = {"job": named[1]}
        full = {**found, **self._worker, **event}
        return {name: full[name] for name in _ORDER if name in full} | full


# -- secrets -----------------------------------------------------------------------------------------------------------


class Redactor:
    """The last processor before the renderer: no value of a line holds a secret, its traceback included.

    Values are cleaned before they are rendered, since JSON would escape a secret's quotes and hide it.
    """

    def __init__(self, secrets: tuple[str, ...]) -> None:
        self._secrets = tuple({form for secret in secrets if len(secret) >= _SHORTEST for form in _forms(secret)})

    def __call__(self, _: Any, __: str, event: Event) -> Event:
        """The line's values, cleaned."""
        return {name: self._clean(value) for name, value in event.items()}

    def _clean(self, value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, Mapping):
            return {self._clean(str(name)): self._clean(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._clean(inner) for inner in value]
        return without_secrets(value if isinstance(value, str) else repr(value), self._secrets)


def _forms(secret: str) -> tuple[str, ...]:
    """A secret as it stands in a text, in a repr, in JSON and in an address."""
    return (secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], quote(secret, safe=""))


def secrets_of(settings: Settings) -> tuple[str, ...]:
    """The values that no line may show: every secret setting; of an address with a password, the password."""
    values = [value.get_secret_value() for _, value in settings if isinstance(value, SecretStr)]
    return tuple(part for value in values for part in _parts(value))


def _parts(value: str) -> tuple[str, ...]:
    if "://" not in value:
        return (value,)
    try:
        password = urlsplit(value).password or ""
    except ValueError:
        return (value,)
    return (password, unquote(password))


class _Handler(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:
        """Logging would print the arguments of a line that can't be written, past every filter."""
        with suppress(OSError, ValueError):
            print(f"motionq: {record.pathname}:{record.lineno} logged a line that can't be written", file=self.stream)


# -- what nobody caught ------------------------------------------------------------------------------------------------


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Python would print the traceback past every filter."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logging.getLogger("motionq").critical("nobody caught this", exc_info=(kind, error, trace))


def _uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
        exc_info = (args.exc_type, args.exc_value, args.exc_traceback)
        logging.getLogger("motionq").critical("nobody caught this", exc_info=exc_info)
