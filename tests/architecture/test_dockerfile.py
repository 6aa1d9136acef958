"""The image: linted, locked, and without root."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from support.compose import ROOT, parse

DOCKERFILE = ROOT / "ops" / "deploy" / "docker" / "Dockerfile"
LINES = DOCKERFILE.read_text(encoding="utf-8").splitlines()


def test_the_dockerfile_passes_the_linter() -> None:
    """hadolint finds nothing, not even a matter of style."""
    program = Path(sys.executable).with_name("hadolint")
    run = subprocess.run([program, DOCKERFILE], capture_output=True, text=True, timeout=60)

    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_packages_come_from_the_lock_with_their_hashes() -> None:
    """Every package that is downloaded is compared with requirements.lock; the only other one is our own wheel."""
    installs = [line for line in LINES if "pip install" in line]

    assert len(installs) == 3
    assert [line for line in installs if "--require-hashes" not in line and "--no-deps /tmp/dist/" not in line] == []


def test_the_extras_are_a_setting() -> None:
    """IMAGE_EXTRAS of .env decides what is installed; "worker s3" brings what storage at s3://… needs."""
    assert parse()["services"]["worker"]["build"]["args"] == {"EXTRAS": "${IMAGE_EXTRAS:-worker}"}
    assert "ARG EXTRAS=worker" in LINES
    [command] = [line for line in LINES if "lock_file.py . $EXTRAS" in line]
    words = command.removeprefix("RUN python lock_file.py . ").partition(">")[0]

    asked = {extras: _locked(words.replace("$EXTRAS", extras)) for extras in ("worker", "worker s3")}
    assert {"s3fs", "aiobotocore"} & asked["worker"] == set()
    assert asked["worker s3"] > asked["worker"] | {"s3fs", "aiobotocore", "celery"}


def _locked(extras: str) -> set[str]:
    command = [sys.executable, ROOT / "ops" / "lock_file.py", ROOT, *extras.split()]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return set(re.findall(r"^([a-z0-9-]+)==", run.stdout, re.M))


def test_the_image_runs_as_the_user_of_the_compose_file() -> None:
    """The last stage ends as a numbered user other than root, the one that docker-compose.yml names."""
    user = [line.split()[1] for line in LINES if line.startswith("USER ")]

    assert user == [parse()["services"]["worker"]["user"]] == ["10001:10001"]


def test_what_is_copied_reaches_the_builder() -> None:
    """Each file that the Dockerfile copies exists, and .dockerignore lets it through."""
    copied = [word for line in LINES if re.match(r"COPY (?!--from)", line) for word in line.split()[1:-1]]
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()

    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert [name for name in copied if f"!{name.partition('/')[0]}" not in allowed] == []
