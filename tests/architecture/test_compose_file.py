"""docker-compose.yml: what every container is allowed, and that its names, files, queues and secrets fit together."""

from __future__ import annotations

import re
import subprocess
from itertools import chain
from typing import Any, cast

import pytest
from ruamel.yaml import YAML

from motionq.contract.keys import STEPS
from motionq.contract.settings import NAMES, Settings, names_of, unknown_names
from motionq_ops.exporter.serve import limits
from support.compose import (
    EXAMPLE,
    EXPORTED,
    FILE,
    NAME,
    ROOT,
    SANDBOX_ENV,
    Missing,
    environment_file,
    fill,
    parse,
    read,
    services,
)
from support.documents import files_of

SECRETS = {
    "KIE_API_KEY": "a-vendor-key",
    "KIE_WEBHOOK_HMAC_KEY": "a-webhook-key",
    "REDIS_PASSWORD": "a-redis-password",
    "REDIS_EXPORTER_PASSWORD": "an-exporter-password",
    "REDIS_ADMIN_PASSWORD": "an-admin-password",
    "FLOWER_BASIC_AUTH": "motionq:a-flower-password",
    "FLOWER_OAUTH2_SECRET": "an-oauth-secret",
    "FLOWER_COOKIE_SECRET": "a-cookie-secret",
    "AWS_SECRET_ACCESS_KEY": "a-storage-key",
    "AWS_SESSION_TOKEN": "a-storage-token",
}
ALL = {service.name: service for service in services(SECRETS)}
OURS = [name for name, service in ALL.items() if service.raw["image"].startswith("motionq:")]
IMAGE = r"[a-z/]+:v?\d+\.\d+\.\d+"  # a version of three parts
WORKERS = ("worker", "worker-submit", "worker-transfer")
# Ports on the host and the local stack's program: nothing that a container could use; and two second names, which are
# passed under the first.
NOT_PASSED = {"MOTIONQ_CALLBACK_PORT", "FLOWER_PORT", "MOTIONQ_SERVER_BINARY", "REDIS_URL", "PUBLIC_BASE_URL"}
STORAGE = {
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"),
}


@pytest.mark.parametrize("name", ALL)
def test_every_container_is_fenced_in(name: str) -> None:
    """Each service runs as a numbered user, not root, on a read-only root, without capabilities, within limits."""
    raw = ALL[name].raw

    assert raw["read_only"] is True
    assert raw["cap_drop"] == ["ALL"]
    assert raw["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"[1-9]\d*(:\d+)?", raw["user"])
    assert set(raw["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert raw["logging"]["options"] == {"max-size": "10m", "max-file": "5"}
    assert raw["restart"] == "unless-stopped"
    assert raw["init"] is True
    assert "stop_grace_period" in raw
    assert "test" in raw["healthcheck"]


@pytest.mark.parametrize("name", ALL)
def test_every_container_can_write_temporary_files(name: str) -> None:
    """/tmp is there although the root is read-only: in memory, or on a volume of the container's own."""
    raw = ALL[name].raw
    mounts = [mount for mount in raw.get("volumes", []) if isinstance(mount, dict)]
    places = [place.partition(":")[0] for place in raw["tmpfs"]] + [mount["target"] for mount in mounts]

    assert places == ["/tmp"]


@pytest.mark.parametrize("name", ALL)
def test_every_image_is_pinned(name: str) -> None:
    """No image may change behind the operator's back: each has a version of three parts."""
    assert re.fullmatch(IMAGE, ALL[name].raw["image"])


@pytest.mark.parametrize("name", ALL)
def test_ports_are_on_the_loopback_interface(name: str) -> None:
    """Nothing is reachable from another machine, and the server of the queue not even from the host."""
    ports = ALL[name].raw.get("ports", [])

    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []
    assert bool(ports) == (name in {"callback", "flower", "exporter", "prometheus", "grafana"})


@pytest.mark.parametrize("name", ALL)
def test_no_secret_is_on_a_command_line(name: str) -> None:
    """Command lines can be read by every process of a machine: no secret stands in one, health checks included."""
    shown = " ".join([*ALL[name].words, *ALL[name].check])

    assert [word for word in SECRETS.values() if word.rpartition(":")[2] in shown] == []


def test_only_who_needs_a_secret_gets_it() -> None:
    """The vendor's key is the workers' alone, the webhook's key the receiver's, Flower's password Flower's."""
    holders = {
        secret: {name for name, service in ALL.items() if any(value in v for v in service.environment.values())}
        for secret, value in SECRETS.items()
    }
    assert holders["KIE_API_KEY"] == set(WORKERS)
    assert holders["KIE_WEBHOOK_HMAC_KEY"] == {"callback"}
    assert holders["FLOWER_BASIC_AUTH"] == {"flower"}
    assert holders["REDIS_PASSWORD"] == {*WORKERS, "redis", "callback", "flower"}
    assert holders["REDIS_EXPORTER_PASSWORD"] == {"redis", "exporter"}
    assert holders["REDIS_ADMIN_PASSWORD"] == {"redis"}
    assert holders["FLOWER_OAUTH2_SECRET"] == holders["FLOWER_COOKIE_SECRET"] == {"flower"}
    assert holders["AWS_SECRET_ACCESS_KEY"] == holders["AWS_SESSION_TOKEN"] == set(WORKERS)


def test_every_setting_reaches_the_worker() -> None:
    """Each setting of docs/settings.md can be given to a worker in .env, and no other name of ours is passed."""
    given = set(parse()["services"]["worker"]["environment"])

    assert given == (NAMES - NOT_PASSED - {"KIE_WEBHOOK_HMAC_KEY"}) | STORAGE
    assert unknown_names(chain.from_iterable(service.environment for service in ALL.values())) == []


class _Noted:
    """Settings that remember which of them were read."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def __getattr__(self, attribute: str) -> Any:
        field = Settings.model_fields[attribute]
        self.names.add(names_of(field.validation_alias)[0])
        return getattr(Settings(), attribute)


def test_the_exporter_has_the_workers_limits() -> None:
    """Each setting that becomes a figure reaches the exporter with the workers' value."""
    noted = _Noted()
    limits(cast(Settings, noted))
    given = {name: f"the workers' {name}" for name in noted.names}
    containers = {service.name: service.environment for service in services(SECRETS | given)}

    assert "MOTIONQ_MAX_CREDITS_PER_DAY" in noted.names
    assert {name: containers["exporter"].get(name) for name in noted.names} == given
    assert {name: containers["worker"].get(name) for name in noted.names} == given


def test_a_second_name_serves_too() -> None:
    """`.env` says the same to Compose as to `motionq up`: PUBLIC_BASE_URL and REDIS_URL count if the first does not."""
    seconds = {"PUBLIC_BASE_URL": "https://second.example", "REDIS_URL": "redis://second.example/0"}
    firsts = {"MOTIONQ_PUBLIC_BASE_URL": "https://first.example", "MOTIONQ_REDIS_URL": "redis://first.example/0"}

    for given, host in ((seconds, "second.example"), (seconds | firsts, "first.example")):
        worker = {service.name: service.environment for service in services(SECRETS | given)}["worker"]
        assert worker["MOTIONQ_PUBLIC_BASE_URL"] == f"https://{host}"
        assert worker["MOTIONQ_REDIS_URL"] == f"redis://{host}/0"


def test_every_name_is_explained() -> None:
    """Each name that the file asks for or passes on is in .env.example, with a line of explanation."""
    example = EXAMPLE.read_text(encoding="utf-8")
    given = [item for raw in parse()["services"].values() for item in raw.get("environment", {}).items()]
    passed = {name for name, value in given if value is None}
    asked = set(NAME.findall(FILE.read_text(encoding="utf-8"))) - {"COMPOSE_PROJECT_NAME"}
    explained = {*re.findall(r"# .+\n(?:# )?([A-Z][A-Z0-9_]*)=", example), *re.findall(r"\(else (\w+)\)", example)}

    assert "FLOWER_AUTH" in passed
    assert (asked | passed) - explained == set()


@pytest.mark.parametrize("name", ["KIE_API_KEY", "REDIS_PASSWORD", "REDIS_EXPORTER_PASSWORD", "FLOWER_BASIC_AUTH"])
def test_what_must_be_set_is_asked_for(name: str) -> None:
    """Without a required name nothing starts, and the message says where to set it."""
    without = {key: value for key, value in SECRETS.items() if key != name}

    with pytest.raises(Missing, match=f"{name}: set it in .env"):
        list(services(without))


def test_the_sandbox_needs_nothing_else() -> None:
    """ops/deploy/sandbox.env alone starts the whole stack: it reaches services of the file, in a project of its own."""
    variables = environment_file(SANDBOX_ENV)
    environments = {service.name: service.environment for service in services(variables)}

    assert variables["COMPOSE_PROFILES"] == "sandbox"
    assert parse()["name"] == "${COMPOSE_PROJECT_NAME:-motionq}"
    assert variables["COMPOSE_PROJECT_NAME"] != "motionq"
    for name in WORKERS:
        assert environments[name]["KIE_BASE_URL"] == environments[name]["KIE_UPLOAD_BASE_URL"] == "http://sandbox:8900"
        assert environments[name]["MOTIONQ_PUBLIC_BASE_URL"] == "http://callback:8787"
        assert environments[name]["KIE_API_KEY"] == "sandbox-key"
    assert "--port=8900" in ALL["sandbox"].words
    assert "--port=8787" in ALL["callback"].words
    assert f"--hmac-key={environments['callback']['KIE_WEBHOOK_HMAC_KEY']}" in ALL["sandbox"].words


def test_nothing_exported_leads_the_sandbox_elsewhere() -> None:
    """Whatever the shell holds of the real stack, no container of the sandbox sees it: server, key, vendor, storage."""
    variables = environment_file(SANDBOX_ENV)
    plain = {service.name: service.environment for service in services(variables)}
    exported = {service.name: service.environment for service in services(variables | EXPORTED)}

    assert exported == plain
    assert {value for values in plain.values() for name, value in values.items() if name == "MOTIONQ_REDIS_URL"} == {
        "redis://motionq:sandbox@redis:6379/0",
        "redis://exporter:sandbox-exporter@redis:6379/0",
    }


def test_the_sandbox_stands_beside_the_real_stack() -> None:
    """Its ports on the host and its volumes are its own, whatever its project is called."""
    sandbox = read(environment_file(SANDBOX_ENV))
    ports, real = (
        {name: raw["ports"] for name, raw in file["services"].items() if "ports" in raw}
        for file in (sandbox, read(SECRETS))
    )

    assert ports.keys() == real.keys()
    assert [name for name in ports if ports[name] == real[name]] == []
    assert {name: volume["name"] for name, volume in sandbox["volumes"].items()} == {
        name: f"motionq-sandbox_{name}" for name in parse()["volumes"]
    }


def test_a_receiver_that_can_store_nothing_is_not_healthy() -> None:
    """Its check asks for what needs the queue's server, not merely whether the process lives."""
    assert ALL["callback"].check == ["python", "-m", "motionq_worker.healthy", "http://127.0.0.1:8787/readyz"]


def test_the_number_of_workers_is_a_setting() -> None:
    """Every `docker compose up` starts as many as .env says: none takes back what another one has scaled."""
    counts = {"WORKERS": "3", "SUBMIT_WORKERS": "2", "TRANSFER_WORKERS": "4"}

    assert [ALL[name].raw["deploy"]["replicas"] for name in WORKERS] == ["1", "1", "1"]
    found = {service.name: service.raw["deploy"].get("replicas") for service in services(SECRETS | counts)}
    assert [found[name] for name in WORKERS] == ["3", "2", "4"]


def test_a_machine_with_one_processor_will_do() -> None:
    """Docker refuses to start a container that may use more processors than there are: none asks for two by default."""
    assert {service.raw["deploy"]["resources"]["limits"]["cpus"] for service in ALL.values()} == {"1"}


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+)(k|m|g)b?", text)
    assert match
    return int(match[1]) * 1024 ** (1 + "kmg".index(match[2]))


def test_the_server_has_room_to_write_its_file() -> None:
    """Its container may use twice `maxmemory` at least, in the file as in .env.example: a copy rewrites the file."""
    redis = ALL["redis"]
    maxmemory = redis.words[redis.words.index("--maxmemory") + 1]
    example = dict(re.findall(r"^# (REDIS_M\w+)=(\w+)$", EXAMPLE.read_text(encoding="utf-8"), re.M))

    limit = redis.raw["deploy"]["resources"]["limits"]["memory"]
    assert _bytes(limit) >= 2 * _bytes(maxmemory)
    assert example == {"REDIS_MAXMEMORY": maxmemory, "REDIS_MEMORY_LIMIT": limit}


def test_the_split_workers_serve_every_queue_once() -> None:
    """With the profile `split` each queue is consumed by exactly one kind of worker."""
    split = [
        word.removeprefix("--queues=")
        for name in WORKERS[1:]
        for word in ALL[name].words
        if word.startswith("--queues=")
    ]

    assert sorted(queue for words in split for queue in words.split(",")) == sorted(
        f"motionq.{q}" for q in ("start", *STEPS)
    )
    assert all(ALL[name].raw["profiles"] == ["split"] for name in WORKERS[1:])


@pytest.mark.parametrize("name", ALL)
def test_every_mounted_file_exists(name: str) -> None:
    """Docker would make an empty folder for a file that is not there."""
    mounts = [mount for mount in ALL[name].raw.get("volumes", []) if isinstance(mount, str)]
    files = [mount.split(":")[0] for mount in mounts if mount.startswith("./")]

    assert [file for file in files if not (ROOT / file).exists()] == []
    assert all(mount.endswith(":ro") for mount in mounts if mount.startswith("./"))


def test_prometheus_finds_the_exporter_and_grafana_finds_prometheus() -> None:
    """The ports in the monitoring files are those of the services."""
    monitoring = ROOT / "ops" / "deploy" / "monitoring"
    port = next(word.removeprefix("--port=") for word in ALL["exporter"].words if word.startswith("--port="))

    assert f'["exporter:{port}"]' in (monitoring / "prometheus.yml").read_text(encoding="utf-8")
    source = (monitoring / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text(encoding="utf-8")
    assert "url: http://prometheus:9090" in source


@pytest.mark.parametrize("page", ["docs/deploy.md", "docs/flower.md", "docs/monitoring.md"])
def test_the_documents_change_services_that_exist(page: str) -> None:
    """Each `compose.override.yml` of the page names services of the file; what it adds has a pinned image."""
    changes = [YAML(typ="safe").load(text)["services"] for text in files_of(page, "compose.override.yml")]
    added = {name: raw for change in changes for name, raw in change.items() if name not in ALL}

    assert changes
    assert [name for name, raw in added.items() if not re.fullmatch(IMAGE, raw["image"])] == []


def test_every_volume_is_declared_and_used() -> None:
    """What must outlive a container lies on a named volume."""
    used = {
        mount.split(":")[0]
        for service in ALL.values()
        for mount in service.raw.get("volumes", [])
        if isinstance(mount, str) and not mount.startswith("./")
    }
    assert used == set(parse()["volumes"])


def _seconds(text: str) -> int:
    return int(text.removesuffix("s"))


def test_a_worker_has_time_to_end() -> None:
    """A container is not killed before the longest call of a step is over: connecting, sending and reading."""
    longest = Settings().connect_timeout + Settings().read_timeout

    assert all(_seconds(ALL[name].raw["stop_grace_period"]) >= 3 * longest for name in WORKERS)


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("a", "a"),
        ("${A}", "1"),
        ("${B}", ""),
        ("${B:-x}y", "xy"),
        ("${A:-x}y", "1y"),
        ("${B:-u:${A:?no}@${C:-c}}/0", "u:1@c/0"),
        ("${A:-${B:-${C:-c}}}", "1"),
        ("${A:+/}${A:-}${B:+/}", "/1"),
        ("${A:+${B:-x}}${B:+${A:-y}}", "x"),
    ],
)
def test_names_are_filled_in_as_compose_does(text: str, filled: str) -> None:
    """The tests' own reading of `${…}` follows the compose specification for what the file uses."""
    assert fill(text, {"A": "1"}) == filled


@pytest.mark.parametrize(
    "text", ["${B:?no}", "${B:-${C:?no}}", "${A:-${C:?no}}", "${B:+${C:?no}}", "${A:-u:${C:?no}@c}"]
)
def test_what_is_asked_for_must_be_set_wherever_it_stands(text: str) -> None:
    """As Compose does: a name with `:?` is wanted even where another one takes its place."""
    with pytest.raises(Missing, match=r"^[BC]: no$"):
        fill(text, {"A": "1"})


def test_the_start_script_is_plain_sh() -> None:
    """The script that starts the server runs in any image: POSIX sh, checked without running it."""
    script = ROOT / "ops" / "deploy" / "redis" / "start.sh"
    run = subprocess.run(["/bin/sh", "-n", script], capture_output=True, text=True, timeout=10)

    assert (run.returncode, run.stderr) == (0, "")
