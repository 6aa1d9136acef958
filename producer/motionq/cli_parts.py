"""What the declarations of the job verbs share. Nothing heavy is imported here: see `call`."""

from __future__ import annotations

import importlib
from typing import Annotated, Any

import typer

CODES = "Exit codes: "
BASIC = "2 wrong usage or input (nothing was sent), 5 the queue's server can't be reached."

Json = Annotated[bool, typer.Option("--json", help="One JSON object on each line of stdout.")]
Jobs = Annotated[list[str], typer.Argument(metavar="JOB", help="Job IDs.")]


def call(function: str, **options: Any) -> int:
    """Runs `module.function` of `motionq.verbs` and gives the exit code.

    Its module is imported now, not with the command line: redis, pydantic and the tables take four times as long as
    the rest, which `--help` and a mistyped option should not wait for.
    """
    module, _, name = function.partition(".")
    return int(getattr(importlib.import_module(f"motionq.verbs.{module}"), name)(**options))
