"""What the command line prints and how it ends: results on stdout, everything else on stderr, one line per error."""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import sys
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import TextIO

import typer

from motionq.contract.errors import (
    IdempotencyConflict,
    InvalidJob,
    InvalidSettings,
    JobNotFound,
    MotionQueueError,
    QueueUnavailable,
    WaitTimeout,
)

PROGRAM = "motionq"


class Code(IntEnum):
    """The exit codes of every verb."""

    DONE = 0
    FAILED = 1  # a job failed or was cancelled, or the action was refused
    USAGE = 2  # wrong usage or invalid input; nothing was sent
    NOT_FOUND = 3
    TIMEOUT = 4
    UNREACHABLE = 5  # the queue's server
    INTERRUPTED = 130


class WrongUsage(MotionQueueError):
    """An option or argument is wrong; `field` is its name without dashes, `limit` what is allowed, `value` what was."""

    kind = "usage"

    def __init__(self, message: str, *, field: str | None = None, limit: object = None, value: object = None) -> None:
        super().__init__(message)
        self.field, self.limit, self.value = field, limit, value


_WORST_FIRST = (Code.UNREACHABLE, Code.NOT_FOUND, Code.TIMEOUT, Code.USAGE, Code.FAILED, Code.DONE)
_CODES: tuple[tuple[type[BaseException], Code], ...] = (
    (QueueUnavailable, Code.UNREACHABLE),
    (JobNotFound, Code.NOT_FOUND),
    (WaitTimeout, Code.TIMEOUT),
    (WrongUsage, Code.USAGE),
    (InvalidJob, Code.USAGE),
    (InvalidSettings, Code.USAGE),
    (MotionQueueError, Code.FAILED),
    (OSError, Code.FAILED),
)


def worst(codes: Iterable[Code]) -> Code:
    """The code to end with after several jobs: 5 > 3 > 4 > 2 > 1 > 0."""
    found = set(codes)
    return next((code for code in _WORST_FIRST if code in found), Code.DONE)


def code_of(error: BaseException) -> Code | None:
    """The exit code of an error that is explained in one line; None for a fault of motionq itself."""
    if _is_usage(error):
        return Code.USAGE
    if _is_of_redis(error):
        return Code.UNREACHABLE
    return next((code for kind, code in _CODES if isinstance(error, kind)), None)


def _is_usage(error: BaseException) -> bool:
    # Typer carries a copy of Click from 0.20 on, older ones use Click itself: the shape is what both share.
    return hasattr(error, "format_message")


def _is_of_redis(error: BaseException) -> bool:
    """By its name: redis is not imported for this, since half of all commands never need it."""
    return any(kind.__name__ == "RedisError" for kind in type(error).__mro__)


def message_of(error: BaseException) -> str:
    """The error in one printable line."""
    if _is_usage(error):
        context = getattr(error, "ctx", None)
        hint = f" (see `{context.command_path} --help`)" if context else ""
        return clean(_usage_text(error).strip().removesuffix(".")) + hint
    if _is_of_redis(error):
        return clean(f"the queue's server refused: {error}")
    if isinstance(error, OSError) and not isinstance(error, MotionQueueError):
        return clean(": ".join(str(part) for part in (error.filename, error.strerror or error) if part))
    return clean(str(error))


def _usage_text(error: BaseException) -> str:
    """What Click says; of options that exist it would also name such as have little in common with what was typed."""
    known = {option.lstrip("-"): option for option in getattr(error, "possibilities", None) or ()}
    if not known:
        return str(getattr(error, "format_message")())  # noqa: B009
    said, typed = getattr(error, "message", ""), getattr(error, "option_name", "")
    close = difflib.get_close_matches(typed.lstrip("-"), known, n=1)
    return f"{said}: did you mean {known[close[0]]}?" if close else said


def error_object(error: BaseException) -> dict[str, object]:
    """The error as `--json` prints it; every key is always there."""
    field, limit, value = getattr(error, "field", None), getattr(error, "limit", None), getattr(error, "value", None)
    if isinstance(error, JobNotFound):
        field, value = "job", error.job_id
    elif isinstance(error, IdempotencyConflict):
        field, value = "idempotency_key", error.job_id
    elif isinstance(error, QueueUnavailable) and error.job_ids:
        field, value = "job", " ".join(error.job_ids)
    elif _is_usage(error):
        field = _option_of(error)
    kind = "usage" if _is_usage(error) else getattr(error, "kind", _foreign_kind(error))
    return {"error": {"kind": kind, "field": field, "limit": limit, "value": value, "message": message_of(error)}}


def _foreign_kind(error: BaseException) -> str:
    return QueueUnavailable.kind if _is_of_redis(error) else "system"


def _option_of(error: BaseException) -> str | None:
    """The option that is wrong: `mode` for `--mode`."""
    parameter = getattr(error, "param", None)
    name = getattr(parameter, "name", None) or getattr(error, "option_name", None) or getattr(error, "param_hint", None)
    return str(name).strip("'").lstrip("-").replace("-", "_") if name else None


def report(error: BaseException, *, as_json: bool) -> Code:
    """Prints the error (JSON on stdout, else one line on stderr) and gives its exit code.

    Raises the error itself when it is a fault of motionq: its traceback is then wanted.
    """
    code = code_of(error)
    if code is None:
        raise error
    if as_json:
        say_json(error_object(error))
    else:
        note(message_of(error))
    return code


def say(text: str) -> None:
    """A line of result on stdout."""
    _write(sys.stdout, text)


def say_json(value: object) -> None:
    """One JSON object on a line of stdout."""
    say(json.dumps(value, default=str))


def note(text: str) -> None:
    """A line of progress, hint or error on stderr."""
    _write(sys.stderr, f"{PROGRAM}: {text}")


def _write(stream: TextIO, text: str) -> None:
    """Writes a line. A reader that went away does not keep a verb from doing the rest of its work."""
    try:
        stream.write(f"{text}\n")
        stream.flush()
    except BrokenPipeError:
        _to_nowhere(stream)


def _to_nowhere(stream: TextIO) -> None:
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def clean(text: object) -> str:
    """`text` in one line without control characters: labels, prompts and names come from anywhere."""
    line = " ".join(str(text).split())
    return "".join(character if character.isprintable() else "?" for character in line)


def run(app: typer.Typer, args: Sequence[str] | None = None, *, program: str = PROGRAM) -> int:
    """Executes `app` with `args` (default: the command line) and gives the exit code.

    What motionq can explain is printed as one line, or as JSON where `--json` is among the arguments; a fault of
    motionq itself is raised.
    """
    words = list(sys.argv[1:] if args is None else args)
    for stream in (sys.stdout, sys.stderr):
        _forgive_encoding(stream)
    try:
        answer = typer.main.get_command(app).main(args=words, prog_name=program, standalone_mode=False)
    except SystemExit as ended:  # a pipe was closed while help was printed
        _to_nowhere(sys.stdout)
        return ended.code if isinstance(ended.code, int) else Code.FAILED
    except KeyboardInterrupt:
        return Code.INTERRUPTED
    except Exception as error:
        if _asks_for_help(error):
            return Code.USAGE
        return report(error, as_json=wants_json(words))
    return answer if isinstance(answer, int) else Code.DONE


def wants_json(words: Sequence[str]) -> bool:
    """Whether `--json` is among the options."""
    options = words[: words.index("--")] if "--" in words else words
    return "--json" in options


def _asks_for_help(error: BaseException) -> bool:
    """A command without any argument: the help itself is the message."""
    if type(error).__name__ != "NoArgsIsHelpError":
        return False
    text = getattr(error, "format_message")()  # noqa: B009
    if text.strip():  # Typer's rich help was printed when it was made
        _write(sys.stderr, text)
    return True


def _forgive_encoding(stream: object) -> None:
    """A name that the terminal's encoding lacks is printed escaped instead of ending the command."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
