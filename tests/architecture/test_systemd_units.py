"""ops/deploy/systemd: units that systemd takes as they are, and that say what docker-compose.yml says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.compose import ROOT, environment_file, services
from support.documents import blocks

FOLDER = ROOT / "ops" / "deploy" / "systemd"
UNITS = {path.name: path for path in sorted(FOLDER.glob("*.service"))}
ROLES = {
    "motionq-worker@.service": "worker",
    "motionq-callback.service": "callback",
    "motionq-flower.service": "flower",
    "motionq-exporter.service": "exporter",
}
CONTAINERS = {s.name: s for s in services(environment_file(ROOT / "ops" / "deploy" / "sandbox.env"))}
# Inside a container a program listens on all interfaces; on a machine on its default, the loopback address.
PLACES = re.compile(r"--(host|address)=0\.0\.0\.0|--port=(5555|8788)")


def _settings(name: str) -> dict[str, list[str]]:
    """Name → its values, of all sections; a line that ends with a backslash goes on in the next."""
    text = UNITS[name].read_text(encoding="utf-8").replace("\\\n", " ")
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", text, re.M):
        found.setdefault(key, []).append(value)
    return found


def test_every_role_has_its_unit() -> None:
    """A unit for each program of motionq that docker-compose.yml runs in production."""
    assert set(UNITS) == set(ROLES)


def test_systemd_takes_them(tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say: names, values and programs are right."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    here = str(Path(sys.executable).parent)
    copies = [tmp_path / name for name in UNITS]
    for copy in copies:
        copy.write_text(
            UNITS[copy.name].read_text(encoding="utf-8").replace("/opt/motionq/bin", here), encoding="utf-8"
        )

    run = subprocess.run(
        [program, "verify", "--man=no", *copies], capture_output=True, text=True, timeout=60, check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_the_runbook_lets_workers_write_shared_folders(tmp_path: Path) -> None:
    """Its lines make a drop-in for the workers' unit, in which systemd finds a folder more to write in."""
    first = "mkdir -p /etc/systemd/system/motionq-worker@.service.d"
    [block] = [block.text for block in blocks("ops/runbook.md") if block.first == first]
    lines = "\n".join(line for line in block.splitlines() if not line.startswith("systemctl"))
    subprocess.run(["bash", "-ec", lines.replace("/etc/systemd/system", str(tmp_path))], check=True, timeout=10)

    [folder] = tmp_path.iterdir()
    assert folder.name == "motionq-worker@.service.d"
    assert (folder / "folders.conf").read_text(encoding="utf-8") == "[Service]\nReadWritePaths=/mnt/motionq\n"
    assert "/mnt/motionq" not in _settings("motionq-worker@.service")["ReadWritePaths"]  # it comes besides


@pytest.mark.parametrize("name", ROLES)
def test_it_runs_what_the_container_runs(name: str) -> None:
    """The same command with the same options; a worker has a name of its own besides."""
    [command] = _settings(name)["ExecStart"]
    words = command.removeprefix("/opt/motionq/bin/").split()
    container = [word for word in CONTAINERS[ROLES[name]].words if not PLACES.fullmatch(word)]

    assert words == [*container, *(["-n", "w%i@%%h"] if ROLES[name] == "worker" else [])]


@pytest.mark.parametrize("name", ROLES)
def test_it_is_fenced_in_as_the_container_is(name: str) -> None:
    """Time to end and memory are the container's; no root, no capabilities, no writing outside its own folders."""
    settings, raw = _settings(name), CONTAINERS[ROLES[name]].raw
    limits = raw["deploy"]["resources"]["limits"]

    assert settings["TimeoutStopSec"] == [raw["stop_grace_period"].removesuffix("s")]
    assert settings["MemoryMax"] == [limits["memory"].upper()]
    assert settings["TasksMax"] == [str(limits["pids"])]
    assert settings["User"] == ["motionq"]
    assert settings["ProtectSystem"] == ["strict"]
    assert settings["CapabilityBoundingSet"] == [""]
    assert settings["NoNewPrivileges"] == ["yes"]


@pytest.mark.parametrize("name", ROLES)
def test_it_comes_back_except_for_wrong_settings(name: str) -> None:
    """Whatever dies is started again, for ever; exit code 2 is for a person."""
    settings = _settings(name)

    assert (settings["Restart"], settings["RestartPreventExitStatus"]) == (["always"], ["2"])
    assert settings["StartLimitIntervalSec"] == ["0"]


def test_the_vendors_key_is_the_workers_alone() -> None:
    """All read one file of settings; the key of the vendor and that of the storage are taken out for the others."""
    dropped = {name: set("".join(_settings(name).get("UnsetEnvironment", [])).split()) for name in ROLES}

    assert dropped.pop("motionq-worker@.service") == set()
    assert set(map(frozenset, dropped.values())) == {
        frozenset({"KIE_API_KEY", "KIE_API_KEY_FILE", "AWS_SECRET_ACCESS_KEY"})
    }


def test_the_runbook_names_them() -> None:
    """Whoever deploys on several machines is told of the folder, and of each unit in it."""
    section = (
        (ROOT / "ops" / "runbook.md").read_text(encoding="utf-8").partition("\n## Deploy\n")[2].partition("\n## ")[0]
    )

    assert "ops/deploy/systemd" in section
    assert [name for name in ROLES if name.removesuffix(".service") not in section] == []
