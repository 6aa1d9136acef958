"""What the children of the local stack are told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from motionq_ops.plan import (
    SANDBOX_HMAC_KEY,
    Plan,
    flower_command,
    receiver_command,
    sandbox_command,
    without_settings,
    worker_command,
)

FOREIGN = {
    "PATH": "/bin",
    "KIE_API_KEY": "real",
    "KIE_API_KEY_FILE": "/run/key",
    "KIE_BASE_URL": "https://api.example.com",
    "REDIS_URL": "redis://elsewhere",
    "REDIS_URL_FILE": "/run/redis",
    "CELERY_BROKER_URL": "redis://elsewhere",
    "MOTIONQ_SUBMIT_RATE": "1/1s",
    "MOTIONQ_STAGING_URL": "s3://ours",
    "NO_PROXY": "example.com",
}
DATA = Path("/data")
SANDBOX = Plan(data_dir=DATA, sandbox_speed=20.0, flower_port=5555, environment=FOREIGN)
REAL = Plan(data_dir=DATA, flower_port=5555, environment=FOREIGN)


def test_a_worker_of_the_sandbox_never_sees_the_real_key() -> None:
    """It talks to the sandbox and our server; limits and storage that were set still hold."""
    told = worker_command(SANDBOX, "w1", "unix:///s", "http://127.0.0.1:1").environment
    assert told == {
        "PATH": "/bin",
        "KIE_API_KEY": "sandbox-key",
        "KIE_BASE_URL": "http://127.0.0.1:1",
        "KIE_UPLOAD_BASE_URL": "http://127.0.0.1:1",
        "MOTIONQ_REDIS_URL": "unix:///s",
        "MOTIONQ_NAMESPACE": "motionq",
        "MOTIONQ_DATA_DIR": "/data",
        "MOTIONQ_SUBMIT_RATE": "1/1s",
        "MOTIONQ_STAGING_URL": "s3://ours",
        "MOTIONQ_TRUSTED_HOSTS": "localhost:1",
        "NO_PROXY": "example.com,127.0.0.1,localhost",
        "no_proxy": "example.com,127.0.0.1,localhost",
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": "/data/tmp",
    }


def test_the_sandbox_results_are_trusted_beside_what_was_set() -> None:
    """Results lie under another name than the API, as the vendor's do: that one is trusted, and no other is lost."""
    trusting = replace(SANDBOX, trusted_hosts=("files.local", "10.0.0.7"))
    told = worker_command(trusting, "w1", "unix:///s", "http://127.0.0.1:8900").environment
    assert told["MOTIONQ_TRUSTED_HOSTS"] == "files.local,10.0.0.7,localhost:8900"
    own = FOREIGN | {"MOTIONQ_TRUSTED_HOSTS": "files.local"}
    real = worker_command(replace(REAL, environment=own), "w1", "unix:///s", None).environment
    assert real["MOTIONQ_TRUSTED_HOSTS"] == "files.local"


def test_a_real_worker_gets_the_vendors_settings_and_our_server() -> None:
    """CELERY_BROKER_URL and a second server's name stay out: Celery would silently use them."""
    told = worker_command(REAL, "w1", "unix:///s", None).environment
    kie = {name: value for name, value in FOREIGN.items() if name.startswith("KIE_")}
    assert {name: told[name] for name in kie} == kie
    assert told["MOTIONQ_REDIS_URL"] == "unix:///s"
    assert told.keys().isdisjoint({"CELERY_BROKER_URL", "REDIS_URL", "REDIS_URL_FILE"})


def test_the_key_goes_to_workers_only() -> None:
    """Neither Flower nor the receiver nor the sandbox is given the vendor's key."""
    called = Plan(data_dir=DATA, callback_port=1, environment=FOREIGN)
    others = (
        flower_command(REAL, "unix:///s"),
        sandbox_command(SANDBOX, port=0),
        receiver_command(called, "unix:///s"),
    )
    assert [name for command in others for name in command.environment if name.startswith("KIE_")] == []


CALLED = Plan(
    data_dir=DATA,
    sandbox_speed=1.0,
    callback_port=8787,
    local_callbacks=True,
    environment={"KIE_WEBHOOK_HMAC_KEY_FILE": "/run/hmac", "KIE_WEBHOOK_HMAC_KEY": "real"},
)


def test_the_sandbox_signs_and_the_receiver_asks_for_it() -> None:
    """The local stack walks the signed way, with a key of its own in place of the one that was set."""
    told = receiver_command(CALLED, "unix:///s").environment
    assert {name: value for name, value in told.items() if "HMAC" in name} == {"KIE_WEBHOOK_HMAC_KEY": SANDBOX_HMAC_KEY}
    assert f"--hmac-key={SANDBOX_HMAC_KEY}" in sandbox_command(CALLED, port=0).argv


def test_workers_of_the_local_stack_name_the_receiver_to_the_vendor() -> None:
    """Only where the loopback address is meant: a public address that was set stays."""
    assert worker_command(CALLED, "w1", "r", "s").environment["MOTIONQ_PUBLIC_BASE_URL"] == "http://127.0.0.1:8787"
    public = Plan(data_dir=DATA, callback_port=8787, environment={"MOTIONQ_PUBLIC_BASE_URL": "https://host"})
    assert worker_command(public, "w1", "r", None).environment["MOTIONQ_PUBLIC_BASE_URL"] == "https://host"


def test_the_receiver_listens_on_loopback_and_writes_no_access_log() -> None:
    """What an app can't do itself is asked of its server; no folder of others comes before our modules."""
    argv = receiver_command(CALLED, "unix:///s").argv
    assert {"--host=127.0.0.1", "--port=8787", "--no-access-log", "--limit-concurrency=1000"} <= set(argv)
    assert "--app-dir=/data/tmp" in argv


def test_records_for_the_sandbox_lie_apart() -> None:
    """A job made to try things out is never bought by a later start with a key."""
    assert (SANDBOX.server_folder, REAL.server_folder) == (Path("/data/redis-sandbox"), Path("/data/redis"))


def test_flower_listens_on_loopback_and_reads_only() -> None:
    """Its pages have no login unless one is set: they are for this machine alone, change nothing, and have no API."""
    command = flower_command(REAL, "unix:///s")
    assert command.argv[-3:] == ("flower", "--address=127.0.0.1", "--port=5555")
    assert "FLOWER_UNAUTHENTICATED_API" not in command.environment
    assert command.environment["FLOWER_READ_ONLY"] == "true"


def test_what_the_operator_set_for_flower_wins() -> None:
    """A login, or an open API, set in the environment holds for the stack's Flower too."""
    own = {"FLOWER_BASIC_AUTH": "me:secret", "FLOWER_UNAUTHENTICATED_API": "true", "FLOWER_MAX_TASKS": "10"}
    told = flower_command(Plan(data_dir=DATA, flower_port=1, environment=own), "unix:///s").environment
    assert {name: told[name] for name in own} == own


def test_the_demo_forgets_every_setting() -> None:
    """Nothing that configures motionq, Celery or Flower is left in its environment."""
    more = {"PUBLIC_BASE_URL": "https://us", "FLOWER_PORT": "1", "MOTIONQ_NO_SUCH": "x"}
    assert without_settings(FOREIGN | more) == {"PATH": "/bin", "NO_PROXY": "example.com"}
