"""Reads requirements.lock, and prints the part of it that some extras need (standard library alone: it runs first).

    python ops/lock_file.py FOLDER [EXTRA or PACKAGE]…

FOLDER holds pyproject.toml and requirements.lock. The base dependencies are always part of the answer.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PIN = re.compile(r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^ ;\\]+)")
VIA = re.compile(r"^    #(?: via)? +(?P<parent>\S.*)$")
NAME = re.compile(r"^[A-Za-z0-9._-]+")
EXTRAS = re.compile(r"\[(?P<extras>[^]]*)\]")


@dataclass(frozen=True, kw_only=True)
class Pin:
    """One entry of the lock: a version for one environment (a package may have several, told apart by markers)."""

    name: str
    version: str
    lines: tuple[str, ...]  # as they stand in the file

    @property
    def hashes(self) -> tuple[str, ...]:
        """The digests one of which a downloaded file must have."""
        return tuple(line.split("--hash=")[1].rstrip(" \\") for line in self.lines if "--hash=" in line)

    @property
    def parents(self) -> frozenset[str]:
        """Who asks for it: names of packages; for a direct requirement also ``NAME (pyproject.toml)``."""
        return frozenset(match["parent"].strip() for line in self.lines if (match := VIA.match(line)))


@dataclass(frozen=True, kw_only=True)
class Project:
    """What pyproject.toml asks for, as written there."""

    name: str
    base: tuple[str, ...]
    extras: dict[str, tuple[str, ...]]

    def requirements(self, extras: Iterable[str]) -> Iterator[str]:
        """The direct requirements of the base and of ``extras``, references to our own extras followed.

        Raises KeyError for an extra that does not exist.
        """
        yield from self.base
        for extra in extras:
            for requirement in self.extras[extra]:
                if canonical(requirement) != self.name:
                    yield requirement
                elif inner := EXTRAS.search(requirement):
                    yield from self.requirements(part.strip() for part in inner["extras"].split(","))


def canonical(requirement: str) -> str:
    """The comparable name at the head of a requirement: ``Types_Requests>=2`` → ``types-requests``."""
    match = NAME.match(requirement)
    return re.sub(r"[-_.]+", "-", match[0]).lower() if match else ""


def read_project(folder: Path) -> Project:
    """Read FOLDER/pyproject.toml. Raises OSError, tomllib.TOMLDecodeError, KeyError."""
    table = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {name: tuple(lines) for name, lines in table.get("optional-dependencies", {}).items()}
    return Project(name=canonical(table["name"]), base=tuple(table["dependencies"]), extras=extras)


def read_pins(folder: Path) -> tuple[Pin, ...]:
    """Read FOLDER/requirements.lock. Raises OSError."""
    blocks: list[list[str]] = []
    for line in (folder / "requirements.lock").read_text(encoding="utf-8").splitlines():
        if PIN.match(line):
            blocks.append([])
        if blocks:
            blocks[-1].append(line)
    return tuple(_pin(block) for block in blocks)


def _pin(block: list[str]) -> Pin:
    head = PIN.match(block[0])
    assert head is not None  # the block was begun by this very match
    return Pin(name=canonical(head["name"]), version=head["version"], lines=tuple(block))


def subset(pins: Iterable[Pin], roots: Iterable[str]) -> tuple[Pin, ...]:
    """The pins of ``roots`` (canonical names) and of all that they need, in the order of the file."""
    pins = tuple(pins)
    wanted = set(roots)
    grown = True
    while grown:
        more = {pin.name for pin in pins if pin.parents & wanted} - wanted
        wanted |= more
        grown = bool(more)
    return tuple(pin for pin in pins if pin.name in wanted)


def main(arguments: list[str]) -> None:
    """Print the entries that the named extras and packages need."""
    folder = Path(arguments[0])
    project = read_project(folder)
    extras = [name for name in arguments[1:] if name in project.extras]
    roots = {canonical(line) for line in project.requirements(extras)} | (set(arguments[1:]) - set(extras))
    pins = read_pins(folder)
    if unknown := roots - {pin.name for pin in pins}:
        sys.exit(f"not in requirements.lock: {', '.join(sorted(unknown))}")
    for pin in subset(pins, roots):
        print("\n".join(pin.lines))


if __name__ == "__main__":
    main(sys.argv[1:])
