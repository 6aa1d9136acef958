"""Docker Compose itself, where it is installed: what it makes of files and names. No engine is asked."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from support.compose import ROOT


@cache
def compose() -> tuple[str, ...] | None:
    """Its command line; None where it is not installed."""
    if program := shutil.which("docker-compose"):
        return (program,)
    docker = shutil.which("docker")
    asked = docker and subprocess.run([docker, "compose", "version"], capture_output=True, timeout=30, check=False)
    return (docker, "compose") if docker and asked and asked.returncode == 0 else None


def config(*words: str, shell: Mapping[str, str] | None = None, folder: Path = ROOT) -> str:
    """What `docker compose … config …` says, in a shell with nothing exported but `shell`.

    Raises AssertionError with its words when it refuses, and when it warns.
    """
    program = compose()
    assert program
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder)} | dict(shell or {})
    run = subprocess.run(
        [*program, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert (run.returncode, run.stderr) == (0, ""), run.stderr
    return run.stdout


def stack(
    env_file: Path, profiles: Sequence[str] = (), shell: Mapping[str, str] | None = None, folder: Path = ROOT
) -> dict[str, Any]:
    """The whole stack as Compose would start it."""
    chosen = [word for profile in profiles for word in ("--profile", profile)]
    said = config("--env-file", str(env_file), *chosen, "config", "--format", "json", shell=shell, folder=folder)
    found: dict[str, Any] = json.loads(said.replace("$$", "$"))  # what it prints is meant to be read by it again
    return found
