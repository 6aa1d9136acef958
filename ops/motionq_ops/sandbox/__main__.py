"""``python -m motionq_ops.sandbox``: the command line of the sandbox."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from motionq_ops.sandbox.faults import FAULTS, Rule
from motionq_ops.sandbox.numbers import is_number, read_text
from motionq_ops.sandbox.rules import parse_rules
from motionq_ops.sandbox.server import CannotAnnounce, Config, run
from motionq_ops.sandbox.settings import BadSetting, Settings, changed

_DESCRIPTION = """\
A stand-in for kie.ai over real HTTP: same addresses, same answers, same ugly parts, no money.
Point both KIE_BASE_URL and KIE_UPLOAD_BASE_URL at it and use one of its keys as KIE_API_KEY.
Its results lie on another host, as the vendor's do; a worker on another machine needs it in MOTIONQ_TRUSTED_HOSTS.
"""
_EPILOG = """\
examples:
  python -m motionq_ops.sandbox --port 8900 --speed 20 --api-key sandbox-key
      a generation of two minutes takes six seconds
  curl -X POST localhost:8900/sandbox/faults -d '{"call": "createTask", "fault": "drop_after"}'
      the next task is made, but its answer is lost
  curl 'localhost:8900/sandbox/ledger?summary=1'
      what was asked, made and charged
  python -m motionq_ops.sandbox --set render=none --set null_seconds=0 --set rate_limit=off
      switches for load tests; docs/sandbox.md lists all of them

faults by name:
"""


class BadScript(ValueError):
    """The file of a script can't be read, or is none; the text says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sandbox; 2 on wrong usage, 1 when the port is taken."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        config = _config(options)
    except ValueError as error:  # of a switch, a rule, a script
        parser.error(str(error))
    try:
        run(config)
    except CannotAnnounce as error:
        return _failed(str(error))
    except OSError as error:
        return _failed(f"can't listen on {options.host}:{options.port}: {error.strerror}")
    return 0


def _failed(sentence: str) -> int:
    print(f"motionq sandbox: {sentence}", file=sys.stderr)
    return 1


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see `{self.prog} --help`)\n")


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to 65535, not {text!r}")
    return int(text)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not is_number(value):
        raise argparse.ArgumentTypeError(f"must be a number, not {text!r}")
    return value


def _key(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("must not be empty")
    return text


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, FAULTS)) + 2
    names = "\n".join(f"  {name:<{width}}{fault.text}" for name, fault in FAULTS.items())
    parser = _Parser(
        prog="motionq sandbox",
        description=_DESCRIPTION,
        epilog=_EPILOG + names,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", type=_port, default=8900, help="0 takes a free one (default: %(default)s)")
    add("--speed", type=_number, default=1.0, help="simulated seconds per second: generations, expiry, time-outs")
    add("--api-key", action="append", type=_key, metavar="KEY", help="may be given several times: one account each")
    add("--hmac-key", type=_key, metavar="KEY", help="sign callbacks with it")
    add("--credits", type=_number, default=100_000.0, help="each account's balance (default: %(default)s)")
    add("--median-seconds", type=_number, help="median of a generation before the driver's length is added (125)")
    add("--sigma", type=_number, help="spread of the lognormal distribution (0.15)")
    add("--rate-limit", metavar="N/SECONDS", help="createTask per account, wall clock (20/10), or off")
    add("--latency", type=_number, help="wall-clock seconds before an API answer (0)")
    add("--render", choices=("real", "copy", "none"), help="what a result is (real)")
    add("--discard-uploads", action="store_true", help="count uploaded bytes and throw them away")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="any other switch; VALUE is JSON or text")
    add("--script", type=Path, help='a JSON file: {"faults": [rule, …], "settings": {…}} or a list of rules')
    add("--seed", type=int, default=1, help="of the drawn durations (default: %(default)s)")
    add("--public-url", help="base of result and upload URLs (default: the loopback's other name; docs/sandbox.md)")
    add("--ready-file", type=Path, help="write {url, files_url, port, pid} there once it listens")
    add("--stop-on-eof", action="store_true", help="end when stdin is closed, i.e. with the process that started it")
    return parser


def _config(options: argparse.Namespace) -> Config:
    rules, values = _script(options.script)
    named = ("speed", "median_seconds", "sigma", "rate_limit", "latency", "render")
    values |= {name: getattr(options, name) for name in named if getattr(options, name) is not None}
    values |= {"discard_uploads": True} if options.discard_uploads else {}
    values |= dict(_pair(text) for text in options.set)
    return Config(
        host=options.host,
        port=options.port,
        keys=tuple(options.api_key or ("sandbox-key",)),
        hmac_key=options.hmac_key,
        credits=options.credits,
        seed=options.seed,
        settings=changed(Settings(), values),
        rules=rules,
        public_url=options.public_url.rstrip("/") if options.public_url else None,
        ready_file=options.ready_file,
        stop_on_eof=options.stop_on_eof,
    )


def _script(path: Path | None) -> tuple[tuple[Rule, ...], dict[str, Any]]:
    if path is None:
        return (), {}
    try:
        script = read_text(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BadScript(f"--script {path}: {getattr(error, 'strerror', None) or error}") from None
    script = {"faults": script} if isinstance(script, list) else script
    if not isinstance(script, dict) or not script.keys() <= {"faults", "settings"}:
        raise BadScript(f'--script {path}: a script is {{"faults": [rule, …], "settings": {{…}}}}, or a list of rules')
    faults, settings = script.get("faults", []), script.get("settings", {})
    if not isinstance(faults, list) or not isinstance(settings, dict):
        raise BadScript(f"--script {path}: faults are a list of rules, settings an object")
    return tuple(parse_rules(faults)), settings


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise BadSetting(f"--set takes NAME=VALUE, not {text!r}")
    try:
        return name, read_text(value)
    except ValueError:
        return name, value


if __name__ == "__main__":
    sys.exit(main())
