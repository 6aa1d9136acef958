"""docker-compose.yml as Docker Compose itself reads it, where that is installed; no engine is asked.

The other tests read the file with tests/support/compose.py, which is held against the program here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.compose import EXAMPLE, EXPORTED, SANDBOX_ENV, environment_file, services
from support.compose_program import compose, config, stack

pytestmark = pytest.mark.skipif(compose() is None, reason="Docker Compose is not installed")

ASKED = {
    "KIE_API_KEY": "a-vendor-key",
    "REDIS_PASSWORD": "a-redis-password",
    "REDIS_EXPORTER_PASSWORD": "an-exporter-password",
    "FLOWER_BASIC_AUTH": "'motionq:pa$word1'",
}
PROFILES = ("split", "sandbox", "monitoring")


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """.env.example as an operator fills it in."""
    text = EXAMPLE.read_text(encoding="utf-8")
    for name, value in ASKED.items():
        assert f"\n{name}=\n" in text
        text = text.replace(f"\n{name}=\n", f"\n{name}={value}\n")
    path = tmp_path_factory.mktemp("env") / ".env"
    path.write_text(text, encoding="utf-8")
    return path


def _environment(service: dict[str, Any]) -> dict[str, str]:
    return {name: value for name, value in service.get("environment", {}).items() if value is not None}


@pytest.mark.parametrize("file", ["example", "sandbox"])
def test_compose_reads_the_file_as_our_tests_do(file: str, example: Path) -> None:
    """Commands, checks, environments, users and numbers of all services, for .env.example and for the sandbox."""
    path = example if file == "example" else SANDBOX_ENV
    real = stack(path, PROFILES)["services"]
    ours = {service.name: service for service in services(environment_file(path))}

    assert real.keys() == ours.keys()
    for name, service in ours.items():
        words = [*(real[name].get("entrypoint") or ()), *(real[name].get("command") or ())]
        assert (name, words) == (name, service.words)
        assert _environment(real[name]) == service.environment
        assert real[name]["healthcheck"]["test"] == service.raw["healthcheck"]["test"]
        assert real[name].get("user") == service.raw["user"]
        assert str(real[name]["deploy"].get("replicas", "")) == service.raw["deploy"].get("replicas", "")


def test_a_dollar_in_single_quotes_is_a_dollar(example: Path) -> None:
    """A password with a $ reaches Flower as it was written."""
    assert stack(example)["services"]["flower"]["environment"]["FLOWER_BASIC_AUTH"] == "motionq:pa$word1"


def test_each_profile_adds_its_services(example: Path) -> None:
    """Without a profile the stack is what it needs; with one, what docs/deploy.md says comes on top."""
    plain = {"redis", "worker", "callback", "flower", "exporter"}
    more = {
        "split": {"worker-submit", "worker-transfer"},
        "sandbox": {"sandbox"},
        "monitoring": {"prometheus", "grafana"},
    }

    assert set(stack(example)["services"]) == plain
    for profile in PROFILES:
        assert set(stack(example, [profile])["services"]) == plain | more[profile]
        named = config("--env-file", str(example), "config", "--services", shell={"COMPOSE_PROFILES": profile})
        assert set(named.split()) == plain | more[profile]


def test_nothing_exported_leads_the_sandbox_elsewhere() -> None:
    """With the real stack's names in the shell the sandbox's containers and volumes are the same as without them."""
    plain, with_them = stack(SANDBOX_ENV), stack(SANDBOX_ENV, shell=EXPORTED | {"COMPOSE_PROJECT_NAME": "motionq"})

    assert set(plain["services"]) == {"redis", "worker", "callback", "flower", "exporter", "sandbox"}
    assert with_them["services"] == plain["services"]
    assert with_them["volumes"] == plain["volumes"]
    assert {volume["name"].partition("_")[0] for volume in plain["volumes"].values()} == {"motionq-sandbox"}


@pytest.mark.parametrize("name", ASKED)
def test_what_must_be_set_is_asked_for(name: str, example: Path, tmp_path: Path) -> None:
    """.env.example as it is does not start a stack: each of its empty lines is asked for by name."""
    lines = example.read_text(encoding="utf-8").splitlines()
    without = tmp_path / ".env"
    without.write_text("".join(f"{line}\n" for line in lines if not line.startswith(f"{name}=")), encoding="utf-8")

    with pytest.raises(AssertionError, match=f"required variable {name} is missing a value: set it in .env"):
        stack(without)
