"""Every setting of motionq, in one place: docs/settings.md and .env.example say the same (a test compares them).

The library reads the environment only; the command line and the worker read `./.env` as well.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from motionq.contract.errors import InvalidSettings
from motionq.contract.local_stack import local_server, local_stack
from motionq.contract.tls import tls_options

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_PREFIX = "MOTIONQ_"
_REMOTE = re.compile(r"(?!file:|local:)[A-Za-z0-9+.-]+:(//|:)")  # an fsspec address that is no local path
_SIZES = {"": 1, "B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KIB": 1024, "MIB": 1024**2, "GIB": 1024**3}


def seconds(value: object) -> object:
    """`20s`, `45m`, `30d` or a bare number of seconds, as seconds."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?\s*", str(value))
    if not match:
        raise ValueError(f"{value!r} is not a duration: write 20s, 45m, 24h or 30d")
    return float(match[1]) * _UNITS[match[2] or "s"]


def size(value: object) -> object:
    """`10MB` or a bare number of bytes, as bytes."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", str(value))
    if not match or match[2].upper() not in _SIZES:
        raise ValueError(f"{value!r} is not a size: write 500KB, 10MB or 2GB")
    return int(float(match[1]) * _SIZES[match[2].upper()])


def rate(value: object) -> object:
    """`20/10s` (or `20/10`) as (how many, seconds)."""
    if isinstance(value, tuple):
        return value
    match = re.fullmatch(r"\s*(\d+)\s*/\s*(.+)", str(value))
    window = float(str(seconds(match[2]))) if match else 0.0
    if not match or int(match[1]) < 1 or window <= 0:
        raise ValueError(f"{value!r} is not a rate: write 20/10s")
    return int(match[1]), window


def names(value: object) -> object:
    """A comma-separated list."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _positive(value: float) -> float:
    if value <= 0:
        raise ValueError("must be more than 0")
    return value


def _an_hour(value: float) -> float:
    if value < 3600:
        raise ValueError("must be 1h or more: a file is staged before its job is on record")
    return value


def _whole(value: Path) -> Path:
    """`~` is somebody's home, and what is relative begins in the folder where the program runs, as `./.env` does."""
    try:
        return value.expanduser().absolute()
    except RuntimeError:
        raise ValueError(f"{str(value)!r} names a home folder that does not exist") from None


def _storage(value: str) -> str:
    """A relative path would be another folder for each program: workers would not find what producers staged."""
    path = re.sub(r"^(file|local):(//)?", "", value)
    if _REMOTE.match(value) or path.startswith("~") or Path(path).is_absolute():
        return value
    raise ValueError(f"{value!r} is a relative path: write the whole path, or an address such as s3://bucket/folder")


def _results(value: str) -> str:
    return "none" if value.lower() == "none" else _storage(value)


Seconds = Annotated[float, BeforeValidator(seconds), AfterValidator(_positive)]
Rate = Annotated[tuple[int, float], NoDecode, BeforeValidator(rate)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(names)]
Folder = Annotated[Path, AfterValidator(_whole)]
Staging = Annotated[str, AfterValidator(_storage)]
Results = Annotated[str, AfterValidator(_results)]


def data_dir() -> Path:
    """Where the local stack keeps its files: `$XDG_STATE_HOME/motionq`, else `~/.local/state/motionq`."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "motionq"


class _SecretFiles(PydanticBaseSettingsSource):
    """`NAME_FILE` names a file that holds the secret `NAME` (as Docker and systemd hand secrets over)."""

    def __init__(self, settings_cls: type[BaseSettings], names: Mapping[str, str | None]) -> None:
        super().__init__(settings_cls)
        self._names = names

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        for name in names_of(field.validation_alias):
            path = self._names.get(f"{name}_FILE")
            if path and field.annotation in (SecretStr, SecretStr | None):
                return _read_secret(name, path), name, False
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for field_name, field in self.settings_cls.model_fields.items():
            first = names_of(field.validation_alias)[0]  # under which the other sources put theirs, too
            if {field_name, first} & self.current_state.keys():
                continue  # it is set: the file need not be there
            value, _, _ = self.get_field_value(field, field_name)
            if value is not None:
                found[first] = value
        return found


def _read_secret(name: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise InvalidSettings(f"{name}_FILE: can't read the file it names: {error.strerror}") from None


def _check_port(url: str) -> None:
    """Nothing of the address is shown: it may hold a password."""
    try:
        _ = urlsplit(url).port
    except ValueError:
        raise ValueError("its port is not a number") from None


def names_of(alias: object) -> tuple[str, ...]:
    """The environment names of a field, the preferred one first."""
    if isinstance(alias, AliasChoices):
        return tuple(str(choice) for choice in alias.choices)
    return (str(alias),)


class Settings(BaseSettings):
    """The settings that producers, workers and the command line share. Durations are seconds, sizes bytes."""

    model_config = SettingsConfigDict(
        extra="ignore", env_ignore_empty=True, case_sensitive=True, frozen=True, populate_by_name=True
    )

    kie_api_key: SecretStr | None = Field(None, validation_alias="KIE_API_KEY")
    kie_base_url: str = Field("https://api.kie.ai", validation_alias="KIE_BASE_URL")
    kie_upload_base_url: str = Field("https://kieai.redpandaai.co", validation_alias="KIE_UPLOAD_BASE_URL")
    kie_webhook_hmac_key: SecretStr | None = Field(None, validation_alias="KIE_WEBHOOK_HMAC_KEY")
    public_base_url: str | None = Field(
        None, validation_alias=AliasChoices("MOTIONQ_PUBLIC_BASE_URL", "PUBLIC_BASE_URL")
    )
    redis_url: SecretStr | None = Field(None, validation_alias=AliasChoices("MOTIONQ_REDIS_URL", "REDIS_URL"))
    namespace: str = Field("motionq", validation_alias="MOTIONQ_NAMESPACE", pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    data_dir: Folder = Field(default_factory=data_dir, validation_alias="MOTIONQ_DATA_DIR")
    staging_url: Staging | None = Field(None, validation_alias="MOTIONQ_STAGING_URL")
    results_url: Results | None = Field(None, validation_alias="MOTIONQ_RESULTS_URL")
    submit_rate: Rate = Field((20, 10.0), validation_alias="MOTIONQ_SUBMIT_RATE")
    max_in_flight: int = Field(100, validation_alias="MOTIONQ_MAX_IN_FLIGHT", ge=1)
    read_rate: Rate = Field((50, 1.0), validation_alias="MOTIONQ_READ_RATE")
    read_cost: Seconds = Field(2.5, validation_alias="MOTIONQ_READ_COST")
    concurrency: int = Field(32, validation_alias="MOTIONQ_CONCURRENCY", ge=1)
    transfers: int = Field(16, validation_alias="MOTIONQ_TRANSFERS", ge=1)
    connect_timeout: Seconds = Field(5.0, validation_alias="MOTIONQ_CONNECT_TIMEOUT")
    read_timeout: Seconds = Field(30.0, validation_alias="MOTIONQ_READ_TIMEOUT")
    step_lease: Seconds = Field(20.0, validation_alias="MOTIONQ_STEP_LEASE")
    check_lease: Seconds = Field(15.0, validation_alias="MOTIONQ_CHECK_LEASE")
    tick: Seconds = Field(0.5, validation_alias="MOTIONQ_TICK")
    stop_grace: Seconds = Field(60.0, validation_alias="MOTIONQ_STOP_GRACE")
    unknown_window: Seconds = Field(2700.0, validation_alias="MOTIONQ_UNKNOWN_WINDOW")
    run_limit: Seconds = Field(86400.0, validation_alias="MOTIONQ_RUN_LIMIT")
    generation_attempts: int = Field(2, validation_alias="MOTIONQ_GENERATION_ATTEMPTS", ge=1)
    step_attempts: int = Field(8, validation_alias="MOTIONQ_STEP_ATTEMPTS", ge=1)
    upload_ttl: Seconds = Field(72000.0, validation_alias="MOTIONQ_UPLOAD_TTL")
    job_ttl: Seconds = Field(2592000.0, validation_alias="MOTIONQ_JOB_TTL")
    staging_ttl: Annotated[Seconds, AfterValidator(_an_hour)] = Field(604800.0, validation_alias="MOTIONQ_STAGING_TTL")
    max_credits_per_day: float | None = Field(None, validation_alias="MOTIONQ_MAX_CREDITS_PER_DAY", ge=0)
    trusted_hosts: Names = Field((), validation_alias="MOTIONQ_TRUSTED_HOSTS")
    callback_port: int = Field(8787, validation_alias="MOTIONQ_CALLBACK_PORT", ge=0, le=65535)
    flower_port: int = Field(5555, validation_alias="FLOWER_PORT", ge=0, le=65535)
    server_binary: str | None = Field(None, validation_alias="MOTIONQ_SERVER_BINARY")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", validation_alias="MOTIONQ_LOG_LEVEL")
    log_format: Literal["console", "json"] | None = Field(None, validation_alias="MOTIONQ_LOG_FORMAT")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, the environment with its `NAME_FILE`, then `.env` with its own."""
        lines = dotenv_settings.env_vars if isinstance(dotenv_settings, DotEnvSettingsSource) else {}
        named_there = _SecretFiles(settings_cls, lines)
        return init_settings, env_settings, _SecretFiles(settings_cls, os.environ), dotenv_settings, named_there

    @field_validator("kie_base_url", "kie_upload_base_url", "public_base_url")
    @classmethod
    def _web_address(cls, value: str | None) -> str | None:
        if value is not None and not re.match(r"https?://[^/\s]+", value):
            raise ValueError(f"{value!r} is not a web address: write https://host")
        return value.rstrip("/") if value else value

    @field_validator("redis_url")
    @classmethod
    def _redis_address(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.match(r"(rediss?|unix)://", value.get_secret_value()):
            raise ValueError("must begin with redis://, rediss:// or unix://")
        if value is not None:
            _check_port(value.get_secret_value())
            tls_options(value.get_secret_value())
        return value

    @property
    def transfers_at_once(self) -> int:
        """Of one worker: a quarter of its threads is kept for purchases and looks, whatever MOTIONQ_TRANSFERS says."""
        return max(1, min(self.transfers, self.concurrency - max(1, self.concurrency // 4)))

    @property
    def staging(self) -> str:
        """Where staged files live, as an fsspec URL."""
        return self.staging_url or f"file://{self.data_dir / 'staging'}"

    @property
    def results(self) -> str:
        """Where finished videos are put, as an fsspec URL; `none` keeps only the vendor's URLs."""
        return self.results_url or f"file://{self.data_dir / 'results'}"

    def server(self) -> str:
        """The queue's server: the setting, else the local stack that runs on this machine.

        Raises QueueUnavailable when there is neither.
        """
        return self.redis_url.get_secret_value() if self.redis_url else local_server(self.data_dir)


NAMES = {name for field in Settings.model_fields.values() for name in names_of(field.validation_alias)}
SECRETS = tuple(
    name
    for field in Settings.model_fields.values()
    if field.annotation in (SecretStr, SecretStr | None)
    for name in names_of(field.validation_alias)
)
_KNOWN = NAMES | {f"{name}_FILE" for name in SECRETS}


def unknown_names(environment: Iterable[str]) -> list[str]:
    """One sentence for each `MOTIONQ_…` name that is no setting."""
    return [
        f"{name} is no setting of motionq" + _did_you_mean(name)
        for name in sorted(environment)
        if name.startswith(_PREFIX) and name not in _KNOWN
    ]


def _did_you_mean(name: str) -> str:
    """Compared without the beginning that all have in common, which would make everything look alike."""
    endings = {known.removeprefix(_PREFIX): known for known in sorted(_KNOWN, reverse=True)}
    close = difflib.get_close_matches(name.removeprefix(_PREFIX), endings, n=1)
    return f": did you mean {endings[close[0]]}?" if close else ""


def load(*, dotenv: bool = False, required: tuple[str, ...] = (), **given: Any) -> Settings:
    """Settings from the environment (and `./.env`). Raises InvalidSettings, which names everything that is wrong.

    `dotenv` is for programs of motionq itself; they also refuse names that are no settings, since a mistyped limit
    would silently not hold.
    """
    env_file = ".env" if dotenv and Path(".env").is_file() else None
    wrong = unknown_names({*os.environ, *_dotenv_names(env_file)}) if dotenv else []
    try:
        settings = Settings(_env_file=env_file, **given)
    except ValidationError as error:
        raise InvalidSettings("; ".join([*wrong, *map(_sentence, error.errors())])) from None
    wrong += [f"{name} is not set" for name in required if not getattr(settings, _field_of(name))]
    wrong += _foreign_broker(settings)
    if wrong:
        raise InvalidSettings("; ".join(wrong))
    return _of_the_local_stack(settings)


def _of_the_local_stack(settings: Settings) -> Settings:
    """Who takes the local stack's server takes its namespace and storage too: there its workers look."""
    if settings.redis_url is not None:
        return settings
    told = local_stack(settings.data_dir)
    names = [name for name in ("namespace", "staging_url", "results_url") if name not in settings.model_fields_set]
    return settings.model_copy(update={name: told[name] for name in names if told.get(name)})


def _dotenv_names(env_file: str | None) -> list[str]:
    if not env_file:
        return []
    return list(dotenv_values(env_file))


def _field_of(name: str) -> str:
    return next(f for f, field in Settings.model_fields.items() if name in names_of(field.validation_alias))


def _sentence(error: Any) -> str:
    name = _given_name(str(error["loc"][0])) if error["loc"] else "settings"
    if error["type"] == "value_error":  # our own words
        return f"{name}: {error['msg'].removeprefix('Value error, ')}"
    given = "" if name in SECRETS else f", not {str(error['input'])[:100]!r}"
    return f"{name}: must be {_allowed(error['type'], error.get('ctx', {}))}{given}"


def _allowed(kind: str, context: Mapping[str, Any]) -> str:
    """What a value must be, for a fault that pydantic found (its kinds: docs.pydantic.dev/latest/errors)."""
    if kind == "literal_error":
        return str(context["expected"]).replace("'", "")
    if kind == "string_pattern_mismatch":  # the namespace alone has a pattern
        return "1 to 64 letters, digits or . _ -"
    if kind == "greater_than_equal":
        return f"{context['ge']:g} or more"
    if kind == "less_than_equal":
        return f"{context['le']:g} or less"
    return next((words for start, words in _KINDS.items() if kind.startswith(start)), "something else")


_KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "path": "a path", "string": "text"}


def _given_name(name: str) -> str:
    """The name under which the value came: of several names of a setting the one in the environment."""
    aliases = next((a for a in map(names_of, _aliases()) if name in a), (name,))
    return next((alias for alias in aliases if os.environ.get(alias)), name)


def _aliases() -> list[object]:
    return [field.validation_alias for field in Settings.model_fields.values()]


def _foreign_broker(settings: Settings) -> list[str]:
    """Celery silently prefers CELERY_BROKER_URL to its configuration, and would work on another server."""
    broker = os.environ.get("CELERY_BROKER_URL")
    ours = settings.redis_url.get_secret_value() if settings.redis_url else None
    if not broker or broker == ours:
        return []
    return ["CELERY_BROKER_URL names another server than REDIS_URL, and Celery would use it: unset it"]
