"""Every service of docker-compose.yml runs with its own command, environment and health check, and the queue works.

The server runs with ops/deploy/redis: its users may do what motionq needs, and nothing else.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError
from redis.retry import Retry

from motionq import Job, MotionQueue, QueueUnavailable, Settings
from motionq.contract.connection import reachable
from support.compose import SANDBOX_ENV, environment_file
from support.compose_stack import ComposeStack
from support.docker import terminal
from support.documents import Shell, blocks
from support.stack import IMAGE, VIDEO
from support.waiting import eventually

ADMIN = "an-admin-password"
EXPORTER = "an-exporter-password"
VARIABLES = environment_file(SANDBOX_ENV) | {
    "SANDBOX_SPEED": "100",
    "REDIS_ADMIN_PASSWORD": ADMIN,
    "REDIS_EXPORTER_PASSWORD": EXPORTER,
    "MOTIONQ_TICK": "0.1s",
    "MOTIONQ_TRANSFERS": "2",
    "MOTIONQ_MAX_IN_FLIGHT": "30",
    "MOTIONQ_MAX_CREDITS_PER_DAY": "5000",
    "MOTIONQ_TRUSTED_HOSTS": "localhost",  # on the loopback interface files have its other name
}
LOGIN = ("motionq", "sandbox")
OTHERS = ("prometheus", "grafana")  # no programs of ours


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposeStack]:
    with ComposeStack(tmp_path_factory.mktemp("compose"), VARIABLES, leave_out=OTHERS) as running:
        yield running


def _server(stack: ComposeStack, user: str, password: str) -> Redis:
    return Redis(port=stack.ports[6379], username=user, password=password, decode_responses=True)


@pytest.fixture(scope="module")
def queue(stack: ComposeStack) -> Iterator[MotionQueue]:
    """A producer, with the address and the places of the workers."""
    environment = stack.environment("worker")
    settings = Settings(redis_url=environment["MOTIONQ_REDIS_URL"], staging_url=environment["MOTIONQ_STAGING_URL"])
    with MotionQueue(settings=settings) as opened:
        yield opened


@pytest.fixture(scope="module")
def admin(stack: ComposeStack) -> Iterator[Redis]:
    with _server(stack, "admin", ADMIN) as connected:
        yield connected


@pytest.fixture(scope="module")
def finished(stack: ComposeStack, queue: MotionQueue) -> Job:
    """A job that went through the healthy stack."""
    for name in stack.services:
        stack.wait_until_healthy(name)
    return queue.wait(queue.submit(image=IMAGE, video=VIDEO).id, timeout=90)


def test_a_job_goes_through_the_stack(stack: ComposeStack, finished: Job) -> None:
    """All health checks pass, and a job becomes a video in the workers' results."""
    assert finished.state == "succeeded"
    assert finished.result is not None
    assert Path(str(finished.result.file)).parent == stack.folder / "results"
    assert {event.worker.partition("@")[0] for event in finished.events if event.step == "upload"} <= {
        "worker",
        "worker-transfer",
    }


def test_the_sandbox_called_back(stack: ComposeStack, finished: Job) -> None:
    """The vendor's callback for that job came in, signed, at the address that the workers told it."""
    called = eventually(lambda: requests.get(f"{stack.url(8900)}/sandbox/tasks/{finished.task_id}", timeout=10).json())

    assert called["callBackUrl"].startswith(f"{stack.url(8787)}/callbacks/kie/{finished.id}/")


def _queues(flower: str) -> set[str]:
    """Those of the workers that it knows; it asks who is there at its start, and when it is told to."""
    requests.get(f"{flower}/api/workers", {"refresh": "true"}, auth=LOGIN, timeout=10)
    answer = requests.get(f"{flower}/api/queues/length", auth=LOGIN, timeout=10)
    return {queue["name"] for queue in answer.json()["active_queues"]}


def test_flower_asks_for_a_password_and_shows_the_workers(stack: ComposeStack, finished: Job) -> None:
    """An anonymous request gets 401; with the password of .env the workers, queues and rows are there."""
    flower = stack.url(5555)

    assert requests.get(f"{flower}/api/workers", timeout=10).status_code == 401
    assert requests.get(f"{flower}/", timeout=10).status_code == 401
    every = {f"motionq.{queue}" for queue in ("start", "upload", "submit", "check", "deliver")}
    eventually(lambda: _queues(flower) == every, timeout=30)
    rows = eventually(
        lambda: requests.get(f"{flower}/api/tasks", {"search": finished.id}, auth=LOGIN, timeout=10).json()
    )
    assert f"{finished.id}.upload.1" in rows


def test_the_metrics_are_there(stack: ComposeStack, finished: Job) -> None:
    """The exporter computes its figures as the user that may only look, and knows the workers' settings."""
    figures = requests.get(f"{stack.url(8788)}/metrics", timeout=10).text.splitlines()

    assert "motionq_up 1.0" in figures
    assert 'motionq_jobs{state="succeeded"} 1.0' in figures
    assert 'motionq_tenant_jobs_ended{state="succeeded",tenant="default",window="1h"} 1.0' in figures
    assert "motionq_callbacks_configured 1.0" in figures
    assert "motionq_gate_in_flight_limit 30.0" in figures
    assert "motionq_credits_day_limit 5000.0" in figures


def test_people_may_do_everything(stack: ComposeStack, queue: MotionQueue, finished: Job, admin: Redis) -> None:
    """Pause, enqueue, cancel, replay, list, resume and the doctor are permitted: the server has refused nothing."""
    queue.pause("for a moment")
    job = queue.submit(image=IMAGE, video=VIDEO, idempotency_key="once", labels={"a": "b"}, tenant="other")
    assert (
        queue.submit(image=IMAGE, video=VIDEO, idempotency_key="once", labels={"a": "b"}, tenant="other").id == job.id
    )
    eventually(lambda: queue.get(job.id).state == "ready")
    assert queue.cancel(job.id).state == "cancelled"
    assert queue.replay(job.id).state in ("queued", "uploading", "ready")  # its files are at the vendor
    assert [one.id for one in queue.list(tenant="other")] == [job.id]
    assert queue.gate().open is False
    queue.resume()
    assert queue.wait(job.id, timeout=60).state == "succeeded"

    doctor = stack.run("worker", "motionq", "doctor", "--json")
    assert '"finding' in doctor.stdout or '"findings' in doctor.stdout, doctor.stderr
    refused = [(entry["username"], entry["context"], entry["object"]) for entry in admin.acl_log()]
    assert refused == []


# -- the runbook's commands for Compose, with processes in the containers' place ---------------------------------------
@pytest.fixture(scope="module")
def reader(stack: ComposeStack, finished: Job, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A terminal in a folder with two files, with the runbook's helpers for Compose."""
    home = tmp_path_factory.mktemp("reader") / "home"
    home.mkdir()
    shutil.copy(IMAGE, home / "hero.png")
    shutil.copy(VIDEO, home / "dance.mp4")
    with terminal(stack, home) as shell:
        shell.run(_block('motionq() { docker compose run --rm --no-deps -T -v "$PWD:/here:ro" worker motionq "$@"; }'))
        yield shell


def _block(first: str) -> str:
    return next(block.text for block in blocks("ops/runbook.md") if block.first == first)


BACKUP = "backup=$PWD/backups/$(date -u +%Y-%m-%dT%H.%M.%S)"
CHECK = 'cp -a "$backup" "$backup.check" && chmod -R a+rwX "$backup.check"'


def test_a_reader_waits_until_nothing_is_being_bought(queue: MotionQueue, reader: Shell) -> None:
    """The line before a restart ends when nothing is armed, and never because `motionq` could not look."""
    wait = _block('motionq gate pause "restarting the server"')
    reader.run(wait)
    assert queue.gate().reason == "operator"

    failing = (
        f"motionq() {{ [ -e looked ] || {{ touch looked; return 5; }}; echo again >>looked; }}\n{wait.splitlines()[1]}"
    )
    assert reader.run(f"({failing})\ncat looked").split() == ["again"]
    reader.run(_block("motionq gate resume"))
    assert queue.gate().open


def test_a_reader_asks_the_workers(reader: Shell, finished: Job) -> None:
    """`celery` of the terminal reaches every worker, with the settings and the rights of one."""
    said = reader.run("celery -A motionq_worker.app inspect active_queues")

    assert {f"motionq.{queue}" in said for queue in ("start", "upload", "submit", "check", "deliver")} == {True}


def test_a_reader_gives_files_and_gets_a_video(reader: Shell, queue: MotionQueue, finished: Job) -> None:
    """Files of the host reach `motionq submit`, and a video that it has named can be had on the host."""
    first = "motionq submit --image /here/hero.png --video /here/dance.mp4 --key first-job --wait"
    submit, fetch = _block(first).splitlines()
    job = reader.run(submit.removesuffix(" --wait")).split()[0]
    assert finished.result
    reader.run(f"{fetch.replace('FILE', str(finished.result.file))}\ncmp {finished.result.file} first-job.mp4")

    assert queue.get(job).spec.image == finished.spec.image.model_copy(update={"name": "hero.png"})


def test_a_reader_backs_up_and_reads_the_copy(reader: Shell, queue: MotionQueue, admin: Redis) -> None:
    """The copy alone is read, by a server of its own; of a damaged one the server's words are shown at once."""
    reader.run(_block(BACKUP))
    assert admin.config_get("auto-aof-rewrite-percentage") == {"auto-aof-rewrite-percentage": "100"}
    queue.pause("so that the next one waits")
    later = queue.submit(image=IMAGE, video=VIDEO, prompt="after the backup")
    said = reader.run(_block(CHECK))

    assert "it can be read: " in said
    assert queue.list(limit=2)[1].id in said
    assert later.id not in said

    reader.run('for file in "$backup"/appendonlydir/*.rdb; do echo damaged >"$file"; done')
    said = reader.run(_block(CHECK))
    assert "IT CAN'T BE READ:" in said
    assert "Bad file format reading the append only file" in said or "Wrong signature" in said
    assert "it can be read: " not in said
    queue.cancel(later.id)
    queue.resume()


def test_a_reader_puts_a_backup_in_place(reader: Shell, stack: ComposeStack, tmp_path: Path) -> None:
    """`files` works in the server's folder, and takes the archive in that the runbook hands it."""
    [line] = [
        line for line in _block('backup=$(ls -d "$PWD"/backups/*T??.??.?? | tail -n 1)').splitlines() if "tar" in line
    ]
    (tmp_path / "appendonlydir").mkdir()
    (tmp_path / "appendonlydir" / "of-the-backup").touch()
    reader.run(f"backup={tmp_path}\n{line}")

    restored = stack.folder / "redis" / "appendonlydir" / "of-the-backup"
    assert restored.is_file()
    restored.unlink()


def test_the_users_may_do_nothing_else(stack: ComposeStack, finished: Job, admin: Redis) -> None:
    """No user can flush, reconfigure or read foreign keys; the exporter can't write; nobody comes in without a name."""
    motionq = _server(stack, "motionq", VARIABLES["REDIS_PASSWORD"])
    exporter = _server(stack, "exporter", EXPORTER)
    for forbidden in (
        lambda: motionq.flushall(),
        lambda: motionq.config_set("appendonly", "no"),
        lambda: motionq.keys("*"),
        lambda: motionq.get("somebody-elses"),
        lambda: motionq.eval("return redis.call('SET', KEYS[1], 1)", 1, "motionq:x"),
        lambda: motionq.publish("somebody-elses", "x"),
        lambda: exporter.set("motionq:x", "1"),
        lambda: exporter.get("somebody-elses"),
        lambda: exporter.hgetall(f"motionq:job:{finished.id}"),
        lambda: exporter.publish("motionq:x", "x"),
        lambda: exporter.acl_list(),
    ):
        with pytest.raises(NoPermissionError):
            forbidden()
    with Redis(port=stack.ports[6379], retry=Retry(NoBackoff(), 0)) as anonymous, pytest.raises(AuthenticationError):
        anonymous.ping()
    admin.acl_log_reset()
    motionq.close()
    exporter.close()


def test_what_is_not_permitted_is_told_in_a_sentence(stack: ComposeStack, queue: MotionQueue) -> None:
    """A command that the list of users forbids names that list, and no password."""
    address = queue.store.redis
    with pytest.raises(QueueUnavailable) as caught, reachable():
        address.flushdb()

    assert "see ops/deploy/redis/users.acl" in str(caught.value)
    assert VARIABLES["REDIS_PASSWORD"] not in str(caught.value)


def test_no_password_is_on_a_command_line_or_in_a_log(stack: ComposeStack, finished: Job) -> None:
    """The server's passwords are in no list of processes and in no log of a service."""
    shown = subprocess.run(["ps", "-A", "-ww", "-o", "command="], capture_output=True, check=True).stdout
    logs = "".join(stack.said(name) for name in stack.services)

    for secret in (ADMIN, EXPORTER, f":{VARIABLES['REDIS_PASSWORD']}@"):
        assert secret.encode() not in shown
        assert secret not in logs


def test_a_worker_that_hangs_is_not_healthy(stack: ComposeStack, finished: Job) -> None:
    """A worker whose last tick is old fails its check, though its process lives; one that is gone does as well."""
    [folder] = (stack.folder / "tmp-worker").glob("motionq-worker-*")
    assert stack.check("worker").returncode == 0
    os.kill(int(folder.name.rpartition("-")[2]), signal.SIGSTOP)
    os.utime(folder / "tick", (1, 1))
    hanging = stack.check("worker")
    os.kill(int(folder.name.rpartition("-")[2]), signal.SIGCONT)
    eventually(lambda: stack.check("worker").returncode == 0)

    assert hanging.returncode == 1
    assert "the last tick of the worker" in hanging.stderr
    assert stack.stop("worker") == 0
    assert (stack.check("worker").returncode, stack.check("worker").stderr) == (1, "motionq: no worker runs here\n")
