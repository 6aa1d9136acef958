"""docker-compose.yml as Docker Compose itself reads it, where that is installed; no engine is asked.

The other tests read the file with tests/support/compose.py, which is held against the program here.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from support.compose import EXAMPLE, EXPORTED, ROOT, SANDBOX_ENV, environment_file, services
from support.compose_program import compose, config, stack
from support.documents import blocks, files_of

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


# -- the examples of the documents ------------------------------------------------------------------------------------
def _with(folder: Path, example: Path, *, override: str = "", env: str = "") -> dict[str, Any]:
    """The stack of an operator who has put these two texts beside docker-compose.yml; a name's last line counts."""
    for name in ("docker-compose.yml", "ops"):
        if not (folder / name).exists():
            (folder / name).symlink_to(ROOT / name)
    (folder / "compose.override.yml").write_text(override or "services: {}\n", encoding="utf-8")
    (folder / ".env").write_text(example.read_text(encoding="utf-8") + env, encoding="utf-8")
    return stack(folder / ".env", PROFILES, folder=folder)


@pytest.mark.parametrize("page", ["docs/deploy.md", "docs/flower.md", "docs/monitoring.md"])
def test_compose_takes_every_example(page: str, example: Path, tmp_path: Path) -> None:
    """Each `compose.override.yml` and each `.env` of the page; an override adds no service without an image."""
    plain = _with(tmp_path, example)["services"]
    overrides, envs = files_of(page, "compose.override.yml"), files_of(page, ".env")

    assert overrides
    for text in overrides:
        found = _with(tmp_path, example, override=text)["services"]
        assert [name for name, service in found.items() if "image" not in service] == []
        assert plain != found
    for text in envs:
        assert set(_with(tmp_path, example, env=text)["services"]) == set(plain)


def test_a_server_elsewhere_needs_none_of_ours(example: Path, tmp_path: Path) -> None:
    """With the example of docs/deploy.md no server is started or waited for, and whoever connects has the files."""
    [override] = [text for text in files_of("docs/deploy.md", "compose.override.yml") if "/run/tls" in text]
    [env] = [text for text in files_of("docs/deploy.md", ".env") if "rediss://" in text]
    found = _with(tmp_path, example, override=override, env=env)["services"]
    connects = {
        name: service for name, service in found.items() if "MOTIONQ_REDIS_URL" in service.get("environment", {})
    }

    assert "redis" not in found
    assert set(connects) == {"worker", "worker-submit", "worker-transfer", "callback", "flower", "exporter"}
    for name, service in connects.items():
        user = "exporter" if name == "exporter" else "motionq"
        assert service["environment"]["MOTIONQ_REDIS_URL"].startswith(f"rediss://{user}:PASSWORD@redis.example:6380/0?")
        assert "/run/tls" in [volume["target"] for volume in service["volumes"]]
        assert service["depends_on"]["redis"]["required"] is False


def test_a_key_from_a_file_reaches_the_workers(example: Path, tmp_path: Path) -> None:
    """With the example of docs/deploy.md they get the file's name, and no key in the environment."""
    [override] = [text for text in files_of("docs/deploy.md", "compose.override.yml") if "secrets:" in text]
    found = _with(tmp_path, example, override=override)["services"]

    for name in ("worker", "worker-submit", "worker-transfer"):
        environment = _environment(found[name])
        assert (environment["KIE_API_KEY"], environment["KIE_API_KEY_FILE"]) == ("", "/run/secrets/kie_api_key")
        assert [secret["source"] for secret in found[name]["secrets"]] == ["kie_api_key"]


def test_an_operators_changes_do_not_reach_the_sandbox(example: Path, tmp_path: Path) -> None:
    """`.env` and compose.override.yml are of the real stack: beside them the sandbox is what it is without them."""
    [override] = [text for text in files_of("docs/deploy.md", "compose.override.yml") if "/run/tls" in text]
    _with(tmp_path, example, override=override)

    beside = stack(tmp_path / "ops" / "deploy" / "sandbox.env", folder=tmp_path)
    assert str(beside).replace(str(tmp_path), str(ROOT)) == str(stack(SANDBOX_ENV))


def test_a_producers_stack_shares_our_network_and_folders(example: Path, tmp_path: Path) -> None:
    """The example for producers names the network and the volumes that this project makes."""
    [text] = files_of("docs/deploy.md", "the compose file of your service")
    (tmp_path / "docker-compose.yml").write_text(text, encoding="utf-8")
    theirs, ours = stack(Path("/dev/null"), folder=tmp_path), stack(example)

    assert theirs["networks"]["motionq"] == {"name": ours["networks"]["default"]["name"], "external": True, "ipam": {}}
    assert {name: volume["name"] for name, volume in theirs["volumes"].items()} == {
        name: ours["volumes"][name]["name"] for name in ("staging", "results")
    }


def test_every_documented_command_is_one_of_compose() -> None:
    """The verb of each `docker compose` line in the documents, and the options after it, are known to the program."""
    pages = ("README.md", "ops/runbook.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))
    text = "\n".join(block.text for page in pages for block in blocks(page)).replace("\\\n", " ")
    verbs = set(re.findall(r"docker compose (?:--[\w-]+(?:[= ][\w./-]+)? )*(\w+)", text))

    assert {"up", "exec", "down"} <= verbs
    for verb in verbs:
        known = set(re.findall(r"(?:^|\s)(--?[\w-]+)", config(verb, "--help")))
        used = re.findall(rf"docker compose (?:--[\w-]+(?:[= ][\w./-]+)? )*{verb}((?: +-[\w-]+(?:=\S+)?)*)", text)
        assert {word.partition("=")[0] for words in used for word in words.split()} - known == set()


@pytest.mark.parametrize("name", ASKED)
def test_what_must_be_set_is_asked_for(name: str, example: Path, tmp_path: Path) -> None:
    """.env.example as it is does not start a stack: each of its empty lines is asked for by name."""
    lines = example.read_text(encoding="utf-8").splitlines()
    without = tmp_path / ".env"
    without.write_text("".join(f"{line}\n" for line in lines if not line.startswith(f"{name}=")), encoding="utf-8")

    with pytest.raises(AssertionError, match=f"required variable {name} is missing a value: set it in .env"):
        stack(without)
