"""The command `motionq`: the job verbs of `motionq.cli`, and those that run motionq itself.

Verbs are declared here and in `motionq.cli`, and imported when they are called: most of them need more than the base
install, and `--help` should not wait for any (so importlib.metadata is imported where it is used, too).
"""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from motionq import cli as jobs
from motionq.contract.errors import InvalidSettings
from motionq.helping import Program
from motionq.output import run, say

_NEEDED = (
    "aiohttp",
    "av",
    "flower",
    "PIL",
    "prometheus_client",
    "requests_toolbelt",
    "structlog",
    "uvicorn",
)  # by workers, Flower and the sandbox
_RAW = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

app = Program(
    help=jobs.app.info.help,
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class MissingExtra(InvalidSettings):
    """The verb needs packages that are not installed."""

    kind = "missing_extra"


def main() -> None:
    """Run the command line."""
    sys.exit(run(app))


def _show_version(wanted: bool) -> None:
    if wanted:
        say(f"motionq {importlib.import_module('importlib.metadata').version('motionq')}")
        raise typer.Exit


@app.callback()
def motionq(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Declares the options of the program as a whole."""


def _call(module: str, function: str, *arguments: Any, **options: Any) -> int:
    """Call a function of a module that needs the extra `local`. Raises MissingExtra where that is not installed."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise MissingExtra(f"not installed: {', '.join(missing)}; run pip install 'motionq[local]'")
    return int(getattr(importlib.import_module(module), function)(*arguments, **options))


@app.command(
    epilog="""Examples:
  motionq demo
  motionq demo --keep
  motionq demo --image hero.png --video dance.mp4
  motionq demo --break-things

The last line of stdout is the video's path. Settings of the environment are ignored; --real uses the vendor's alone.

Exit codes: 0 the video is there, 1 the job failed, 2 wrong usage or input, 130 Ctrl+C."""
)
def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the stack, with Flower, until Ctrl+C; then try other verbs.")
    ] = False,
    image: Annotated[Path | None, typer.Option(metavar="FILE", help="Another character than the sample.")] = None,
    video: Annotated[Path | None, typer.Option(metavar="FILE", help="Another motion than the sample.")] = None,
    real: Annotated[bool, typer.Option("--real", help="Buy it with KIE_API_KEY; asks before it does.")] = False,
    speed: Annotated[
        float | None, typer.Option(metavar="X", min=0.01, help="Of the sandbox's clock. Default: 20.")
    ] = None,
    break_things: Annotated[bool, typer.Option("--break-things", help="Three jobs, and everything breaks.")] = False,
) -> int:
    """Run one job from end to end: no key, no Docker, no money."""
    if real and speed is not None:
        raise typer.BadParameter("the vendor's clock can't be turned", param_hint="--speed")
    if break_things and (real or keep):
        raise typer.BadParameter("goes neither with --real nor with --keep", param_hint="--break-things")
    if break_things:
        return _call("motionq_ops.break_things", "break_things", image=image, video=video, speed=speed)
    return _call("motionq_ops.demo", "demo", keep=keep, image=image, video=video, real=real, speed=speed)


@app.command(
    epilog="""Examples:
  motionq up --sandbox --speed 20
  KIE_API_KEY=… motionq up --workers 4

Starts the queue's server (unless REDIS_URL names one), workers and Flower, and restarts what dies. \
Prints "motionq: ready" when all answer: then use `motionq submit` in another terminal. Ctrl+C ends everything.

Exit codes: 0 ended by a signal, 1 it can't start or runs already, 2 wrong usage or settings, 5 REDIS_URL names a \
server that can't be reached."""
)
def up(
    sandbox: Annotated[
        bool, typer.Option("--sandbox", help="Against a stand-in for the vendor: no key, no money.")
    ] = False,
    speed: Annotated[
        float | None, typer.Option(metavar="X", min=0.01, help="Of the sandbox's clock; 1 is the vendor's pace.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Worker processes. Default: 2, or 1 on one core.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where records, logs and videos are kept (MOTIONQ_DATA_DIR).")
    ] = None,
    flower_port: Annotated[
        int | None,
        typer.Option(metavar="P", min=0, max=65535, help="Of Flower; 0: none. Default: FLOWER_PORT, or 5555."),
    ] = None,
    callback_port: Annotated[
        int | None,
        typer.Option(metavar="P", min=0, max=65535, help="Of the callback receiver; 0: none. Default: 8787."),
    ] = None,
) -> int:
    """Run the local stack: queue server, workers, Flower, and with --sandbox the vendor's stand-in."""
    if speed is not None and not sandbox:
        raise typer.BadParameter("only the sandbox has a clock to turn: add --sandbox", param_hint="--speed")
    options = {"workers": workers, "folder": data_dir, "flower_port": flower_port}
    options["callback_port"] = callback_port
    return _call("motionq_ops.up", "up", sandbox=sandbox, speed=speed or 1.0, **options)


@app.command(context_settings=_RAW, add_help_option=False)
def sandbox(context: typer.Context) -> int:
    """Run the stand-in for kie.ai alone; its own --help lists switches and faults."""
    return _call("motionq_ops.sandbox.__main__", "main", context.args)


@app.command(context_settings=_RAW, add_help_option=False)
def bench(context: typer.Context) -> int:
    """Measure motionq on this machine; its own --help lists the benchmarks."""
    return _call("motionq_ops.bench.cli", "main", context.args)


@app.command(
    "credits",
    epilog="""Examples:
  motionq credits
  motionq credits --json | jq .credits

Asks kie.ai with KIE_API_KEY (free). Without credits the gate is closed: see `motionq gate status`.

Exit codes: 0 shown, 1 kie.ai can't be reached or refused the key, 2 wrong usage or settings.""",
)
def credits_(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> int:
    """Show how many credits the account at kie.ai has left."""
    return _call("motionq_ops.credits", "credits", as_json=as_json)


@app.command(
    epilog="""Examples:
  motionq exporter
  motionq exporter --host 0.0.0.0 --port 8788

For Prometheus: one process for the whole queue. Nothing asks for a password: other addresses than the loopback one are
for networks that you trust. docs/monitoring.md lists the metrics.

Exit codes: 0 ended by a signal, 2 wrong usage or settings, 5 no queue server is known."""
)
def exporter(
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="P", min=0, max=65535, help="0 takes a free one.")] = 8788,
) -> int:
    """Show the queue's figures to Prometheus, read from the queue's server at each scrape."""
    return _call("motionq_ops.exporter.serve", "exporter", host=host, port=port)


@app.command(
    epilog="""Examples:
  motionq doctor
  motionq doctor --fix
  motionq doctor --json | jq '.findings[] | select(.level != "ok")'

Buys nothing. --fix puts jobs that have lost their alarm back into their sets and drops entries without a job, beside
running workers; purchases are never touched. docs/doctor.md tells what each finding means.

Exit codes: 0 all is well (or mended), 6 a warning, 1 an error, 2 wrong usage or settings, 5 the queue's server can't be
reached (the other checks are made)."""
)
def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="Mend jobs without alarms and alarms without jobs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> int:
    """Look for what is wrong with this deployment, and say how to mend it."""
    return _call("motionq_ops.doctor.verb", "doctor", as_json=as_json, fix=fix)


app.add_typer(jobs.app)
