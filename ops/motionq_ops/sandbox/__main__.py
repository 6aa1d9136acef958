"""``python -m motionq_ops.sandbox``: the command line of the sandbox."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from motionq_ops.sandbox.faults import FAULTS, BadFault, Rule, parse_rule
from motionq_ops.sandbox.server import Config, run
from motionq_ops.sandbox.settings import BadSetting, Settings, changed

_DESCRIPTION = """\
A stand-in for kie.ai over real HTTP: same addresses, same answers, same ugly parts, no money.
Point both KIE_BASE_URL and KIE_UPLOAD_BASE_URL at it and use one of its keys as KIE_API_KEY.
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sandbox; 2 on wrong usage, 1 when the port is taken."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        config = _config(options)
    except (BadSetting, BadFault, OSError, ValueError) as error:
        parser.error(str(error))
    try:
        run(config)
    except OSError as error:
        print(f"motionq sandbox: can't listen on {options.host}:{options.port}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, FAULTS)) + 2
    names = "\n".join(f"  {name:<{width}}{fault.text}" for name, fault in FAULTS.items())
    parser = argparse.ArgumentParser(
        prog="motionq sandbox",
        description=_DESCRIPTION,
        epilog=_EPILOG + names,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", type=int, default=8900, help="0 takes a free one (default: %(default)s)")
    add("--speed", type=float, default=1.0, help="simulated seconds per second: generations, expiry, time-outs")
    add("--api-key", action="append", metavar="KEY", help="may be given several times: one account each")
    add("--hmac-key", metavar="KEY", help="sign callbacks with it")
    add("--credits", type=float, default=100_000.0, help="each account's balance (default: %(default)s)")
    add("--median-seconds", type=float, help="median of a generation before the driver's length is added (125)")
    add("--sigma", type=float, help="spread of the lognormal distribution (0.15)")
    add("--rate-limit", metavar="N/SECONDS", help="createTask per account, wall clock (20/10), or off")
    add("--latency", type=float, help="wall-clock seconds before an API answer (0)")
    add("--render", choices=("real", "copy", "none"), help="what a result is (real)")
    add("--discard-uploads", action="store_true", help="count uploaded bytes and throw them away")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="any other switch; VALUE is JSON or text")
    add("--script", type=Path, help='a JSON file: {"faults": [rule, …], "settings": {…}} or a list of rules')
    add("--seed", type=int, default=1, help="of the drawn durations (default: %(default)s)")
    add("--public-url", help="base of result and upload URLs (default: the address each request used)")
    add("--ready-file", type=Path, help="write {url, port, pid} there once it listens")
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
    script = json.loads(path.read_text(encoding="utf-8"))
    script = {"faults": script} if isinstance(script, list) else script
    return tuple(parse_rule(raw) for raw in script.get("faults", ())), dict(script.get("settings", {}))


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise BadSetting(f"--set takes NAME=VALUE, not {text!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


if __name__ == "__main__":
    sys.exit(main())
