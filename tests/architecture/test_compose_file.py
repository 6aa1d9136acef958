"""docker-compose.yml: what every container is allowed, and that its names, files, queues and secrets fit together."""

from __future__ import annotations

import re
import subprocess
from itertools import chain

import pytest

from motionq.contract.keys import STEPS
from motionq.contract.settings import NAMES, Settings, unknown_names
from support.compose import FILE, NAME, ROOT, SANDBOX_ENV, Missing, environment_file, fill, parse, services

SECRETS = {
    "KIE_API_KEY": "a-vendor-key",
    "KIE_WEBHOOK_HMAC_KEY": "a-webhook-key",
    "REDIS_PASSWORD": "a-redis-password",
    "REDIS_EXPORTER_PASSWORD": "an-exporter-password",
    "REDIS_ADMIN_PASSWORD": "an-admin-password",
    "FLOWER_BASIC_AUTH": "motionq:a-flower-password",
}
ALL = {service.name: service for service in services(SECRETS)}
OURS = [name for name, service in ALL.items() if service.raw["image"].startswith("motionq:")]
WORKERS = ("worker", "worker-submit", "worker-transfer")
# Ports on the host, the local stack's program, and a second name: nothing that a container could use.
NOT_PASSED = {"MOTIONQ_CALLBACK_PORT", "FLOWER_PORT", "MOTIONQ_SERVER_BINARY", "REDIS_URL", "PUBLIC_BASE_URL"}


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
    assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+", ALL[name].raw["image"])


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


def test_every_setting_reaches_the_worker() -> None:
    """Each setting of docs/settings.md can be given to a worker in .env, and no other name of ours is passed."""
    given = set(parse()["services"]["worker"]["environment"])

    assert given == NAMES - NOT_PASSED - {"KIE_WEBHOOK_HMAC_KEY"}
    assert unknown_names(chain.from_iterable(service.environment for service in ALL.values())) == []


def test_every_name_is_explained() -> None:
    """Each name that the file asks for is in .env.example, with a line of explanation."""
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    asked = set(NAME.findall(FILE.read_text(encoding="utf-8"))) - {"COMPOSE_PROJECT_NAME"}

    assert [name for name in sorted(asked) if not re.search(rf"# .+\n(# )?{name}=", example)] == []


@pytest.mark.parametrize("name", ["KIE_API_KEY", "REDIS_PASSWORD", "FLOWER_BASIC_AUTH"])
def test_what_must_be_set_is_asked_for(name: str) -> None:
    """Without a required name nothing starts, and the message says where to set it."""
    without = {key: value for key, value in SECRETS.items() if key != name}

    with pytest.raises(Missing, match=f"{name}: set it in .env"):
        list(services(without))


def test_the_sandbox_needs_nothing_else() -> None:
    """ops/deploy/sandbox.env alone starts the whole stack: it reaches services of the file, in a project of its own."""
    variables = environment_file(SANDBOX_ENV)
    worker = next(service for service in services(variables) if service.name == "worker")

    assert variables["COMPOSE_PROFILES"] == "sandbox"
    assert parse()["name"] == "${COMPOSE_PROJECT_NAME:-motionq}"
    assert variables["COMPOSE_PROJECT_NAME"] != "motionq"
    assert worker.environment["KIE_BASE_URL"] == worker.environment["KIE_UPLOAD_BASE_URL"] == "http://sandbox:8900"
    assert worker.environment["MOTIONQ_PUBLIC_BASE_URL"] == "http://callback:8787"
    assert "--port=8900" in ALL["sandbox"].words
    assert "--port=8787" in ALL["callback"].words


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
        ("${A:-${B:?no}}", "1"),
        ("${A:+/}${A:-}${B:+/}", "/1"),
    ],
)
def test_names_are_filled_in_as_compose_does(text: str, filled: str) -> None:
    """The tests' own reading of `${…}` follows the compose specification for what the file uses."""
    assert fill(text, {"A": "1"}) == filled


def test_the_start_script_is_plain_sh() -> None:
    """The script that starts the server runs in any image: POSIX sh, checked without running it."""
    script = ROOT / "ops" / "deploy" / "redis" / "start.sh"
    run = subprocess.run(["/bin/sh", "-n", script], capture_output=True, text=True, timeout=10)

    assert (run.returncode, run.stderr) == (0, "")
