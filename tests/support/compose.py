"""docker-compose.yml as Docker Compose would read it, for tests; Docker itself is not needed.

Only what the file uses is known here: `${NAME}`, and after the name `:-default`, `:?message` or `:+other`, nested, in
values of any depth; and a second file that changes values of the first. tests/architecture/test_compose_config.py holds
it against the real program where that is installed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
EXAMPLE = ROOT / ".env.example"
SANDBOX_ENV = ROOT / "ops" / "deploy" / "sandbox.env"
# What an operator's shell may hold of the real stack while the sandbox is tried; a name in the shell beats --env-file.
EXPORTED = {
    name: f"https://real.example/{name}"
    for name in (
        *("MOTIONQ_REDIS_URL", "REDIS_URL", "EXPORTER_REDIS_URL", "MOTIONQ_STAGING_URL", "MOTIONQ_RESULTS_URL"),
        *("KIE_API_KEY", "KIE_BASE_URL", "KIE_UPLOAD_BASE_URL", "KIE_WEBHOOK_HMAC_KEY"),
        *("MOTIONQ_PUBLIC_BASE_URL", "PUBLIC_BASE_URL"),
    )
}
NAME = re.compile(r"\$\{([A-Z][A-Z0-9_]*)")


class Missing(Exception):
    """A name that must be set is not."""


def environment_file(path: Path) -> dict[str, str]:
    """What `--env-file` reads."""
    return {name: value or "" for name, value in dotenv_values(path, interpolate=False).items()}


def parse(path: Path = FILE) -> dict[str, Any]:
    """A file with its anchors resolved and its names still in it."""
    parsed: dict[str, Any] = YAML(typ="safe", pure=True).load(path)
    return parsed


def read(variables: Mapping[str, str]) -> dict[str, Any]:
    """The files that `COMPOSE_FILE` names, their names filled in, the later ones over the earlier. Raises Missing."""
    read: dict[str, Any] = {}
    for name in variables.get("COMPOSE_FILE", FILE.name).split(":"):
        read = _merged(read, _filled(parse(ROOT / name), variables))
    return read


def _merged(below: Any, above: Any) -> Any:
    """Of mappings every name, the values of the upper one first; anything else is replaced."""
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return below | {name: _merged(below.get(name), value) for name, value in above.items()}


def fill(text: str, variables: Mapping[str, str]) -> str:
    """The text with every `${…}` replaced. Raises Missing, ValueError."""
    done, rest = "", text
    while (start := rest.find("${")) >= 0:
        end = _closing(rest, start + 2)
        done += rest[:start] + _value(rest[start + 2 : end], variables)
        rest = rest[end + 1 :]
    return done + rest


def _filled(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return fill(value, variables)
    if isinstance(value, list):
        return [_filled(one, variables) for one in value]
    if isinstance(value, dict):
        return {name: _filled(one, variables) for name, one in value.items()}
    return value


def _closing(text: str, at: int) -> int:
    depth = 1
    while depth:
        depth += (text[at : at + 2] == "${") - (text[at] == "}")
        at += 1
    return at - 1


def _value(inside: str, variables: Mapping[str, str]) -> str:
    match = re.match(r"([A-Z][A-Z0-9_]*)(?:(:[-?+])(.*))?$", inside)
    if match is None:
        raise ValueError(f"${{{inside}}} is not understood")
    name, operator, rest = match.groups()
    given = variables.get(name, "")
    if operator == ":?" and not given:
        raise Missing(f"{name}: {rest}")
    other = fill(rest or "", variables)  # what is asked for in there must be set, whether it is used or not
    return other if operator and bool(given) == (operator == ":+") else given


@dataclass(frozen=True, kw_only=True)
class Service:
    """One service with its words and its environment as a container would get them."""

    name: str
    raw: dict[str, Any]
    environment: dict[str, str]

    @property
    def words(self) -> list[str]:
        """Its command line."""
        return [str(word) for word in (*self.raw.get("entrypoint", ()), *self.raw.get("command", ()))]

    @property
    def check(self) -> list[str]:
        """The command line of its health check."""
        kind, *words = self.raw["healthcheck"]["test"]
        return ["/bin/sh", "-c", *words] if kind == "CMD-SHELL" else words


def services(variables: Mapping[str, str]) -> Iterator[Service]:
    """All services, whatever their profile. Raises Missing."""
    for name, raw in read(variables)["services"].items():
        yield Service(name=name, raw=raw, environment=_environment(raw.get("environment", {}), variables))


def _environment(given: Mapping[str, str | None], variables: Mapping[str, str]) -> dict[str, str]:
    """A name without a value is passed on if it is set, and else left out."""
    passed = {name: variables.get(name) if value is None else value for name, value in given.items()}
    return {name: value for name, value in passed.items() if value is not None}
