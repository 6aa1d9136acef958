"""Says whether requirements.lock agrees with pyproject.toml, without the network.

python ops/lock_check.py FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement

from lock_file import Pin, Project, canonical, read_pins, read_project


def disagreements(project: Project, pins: tuple[Pin, ...]) -> Iterator[str]:
    """One sentence for each point on which the lock and the project differ."""
    asked = [Requirement(line) for line in project.requirements(project.extras)]
    versions: dict[str, list[str]] = {}
    for pin in pins:
        versions.setdefault(pin.name, []).append(pin.version)
        if not pin.hashes:
            yield f"{pin.name}=={pin.version} has no hash"
    for requirement in asked:
        locked = versions.get(canonical(requirement.name))
        if locked is None:
            yield f"{requirement.name} is asked for, but not locked"
        for version in locked or ():
            if version not in requirement.specifier:
                yield f"{requirement.name} is locked at {version}, but {requirement.specifier} is asked for"
    origin = f"{project.name} (pyproject.toml)"
    direct = {canonical(requirement.name) for requirement in asked}
    for name in sorted({pin.name for pin in pins if origin in pin.parents} - direct):
        yield f"{name} is locked for the project, but no longer asked for"


def main(folder: Path) -> None:
    """Print the differences; exit 1 when there are some."""
    found = sorted(set(disagreements(read_project(folder), read_pins(folder))))
    for sentence in found:
        print(f"requirements.lock: {sentence}")
    if found:
        sys.exit("requirements.lock does not agree with pyproject.toml: run `ops/dev lock`")
    print("requirements.lock agrees with pyproject.toml")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
