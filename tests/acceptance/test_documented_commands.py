"""The commands of README.md and ops/runbook.md, run in their order, in one terminal, against one real stack.

The stack is what the runbook says: a Redis server of its own, `motionq up`, settings in `.env`. Only the vendor is the
sandbox. Every fenced block is either run or named in `SKIPS`.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from motionq import Job, MotionQueue, Settings
from motionq.contract.states import State
from motionq_ops.redis_server import RedisServer, free_port
from support.documents import ROOT, Block, Shell, blocks
from support.local_stack import environment
from support.shared import borrow_sandbox, give_back
from support.stack import DANCE, IMAGE
from support.waiting import eventually

PAGES = ("README.md", "ops/runbook.md")
UP = "motionq up --workers 1"
NO_ENGINE = "Docker has no engine where tests run; "
COMPOSE = NO_ENGINE + "test_compose_stack.py runs each service's command as a process"
ROLLING = NO_ENGINE + "test_rolling_restart.py starts workers beside others, and stops those"
FAKE_DOCKER = NO_ENGINE + "test_rolling_upgrade.py runs this block with containers that are names"
HELPERS = "test_runbook_blocks.py runs it with a docker and a systemctl that only write down what they are told"
COMPOSE_TERMINAL = NO_ENGINE + "test_compose_stack.py runs this block with processes in the containers' place"
SKIPS = {  # the first line of a block → why it is not run here
    "cd motionq": "the demo and the tests are what .ci/run runs",
    "flowchart LR": "a picture",
    'motionq() { docker compose run --rm --no-deps -T -v "$PWD:/here:ro" worker motionq "$@"; }': COMPOSE_TERMINAL,
    "cp .env.example .env": "it would replace the settings of this stack; a test of its own runs it",
    "docker compose up -d --build --wait": COMPOSE,
    "useradd --system --home-dir /var/lib/motionq motionq": "it changes the machine; the units: test_systemd_units.py",
    "motionq submit --image /here/hero.png --video /here/dance.mp4 --key first-job --wait": COMPOSE_TERMINAL,
    "echo WORKERS=3 >>.env": ROLLING,
    "docker compose build": NO_ENGINE + "nothing builds the image",
    "replace() {": FAKE_DOCKER,
    '[ -n "$old" ] && docker compose ps -a -q "$service" | grep -vxF "$old" >new.txt &&': FAKE_DOCKER,
    "mkdir -p /etc/systemd/system/motionq-worker@.service.d": "it changes the machine: test_systemd_units.py",
    'release 0.2.0 && for service in workers callback flower exporter; do restart "$service" || break; done': HELPERS,
    "docker compose up -d --no-deps --force-recreate --wait redis": NO_ENGINE + "test_power_loss.py restarts servers",
    'docker update --memory 10g --memory-swap 10g "$(docker compose ps -q redis)"': NO_ENGINE + "nothing has a limit",
    'cp -a "$backup" "$backup.check" && chmod -R a+rwX "$backup.check"': COMPOSE_TERMINAL,
    "PATH=/opt/motionq/bin:$PATH": HELPERS,
    "restart workers": HELPERS,
}


class Up:
    """`motionq up` in a terminal of its own, as the runbook writes it."""

    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        self._home, self._environment = home, environment
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """It has said that it is ready when this returns."""
        with (self._home.parent / "up.log").open("ab") as log:
            self._process = subprocess.Popen(
                UP.split(),
                cwd=self._home,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert self._process.stdout
        assert self._process.stdout.readline() == "motionq: ready\n", (self._home.parent / "up.log").read_text()

    def stop(self) -> None:
        """It has ended, as by Ctrl+C, when this returns. May be repeated."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGINT)
        assert self._process.wait(30) == 0
        if self._process.stdout:
            self._process.stdout.close()
        self._process = None


class World:
    """A reader's machine: a home with two files and `.env`, a server, the vendor, and what is known of the jobs."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.server = RedisServer(
            home.parent / "redis",
            port=free_port(),
            unix_socket=False,
            appendfsync="always",
            binary=Path(str(shutil.which("redis-server"))),
        )
        self.vendor = borrow_sandbox()
        self.environment = environment(home) | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        self.up = Up(home, self.environment)
        self.words: dict[str, str] = {}  # placeholders of the pages → what stands for them now
        self.jobs: dict[str, Job] = {}

    def start(self) -> None:
        """Everything runs when this returns."""
        self.home.mkdir()
        shutil.copy(IMAGE, self.home / "hero.png")
        shutil.copy(DANCE, self.home / "dance.mp4")
        settings = {
            "KIE_API_KEY": self.vendor.api_key,
            "KIE_BASE_URL": self.vendor.url,
            "KIE_UPLOAD_BASE_URL": self.vendor.url,
            "MOTIONQ_TRUSTED_HOSTS": self.vendor.files_host,
            "MOTIONQ_REDIS_URL": self.server.url,
            "MOTIONQ_TICK": "0.1s",
            "FLOWER_PORT": "0",
        }
        (self.home / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        self.vendor.settings(speed=100.0, duration=120.0, render="copy")
        self.server.start()
        data = self.home / ".local" / "state" / "motionq"
        self.queue = MotionQueue(
            settings=Settings(redis_url=self.server.url, data_dir=data, staging_url=f"file://{data}/staging")
        )
        self.up.start()

    def stop(self) -> None:
        """Nothing runs when this returns."""
        self.up.stop()
        self.queue.close()
        give_back(self.vendor)
        self.server.stop()

    def submit(self, name: str) -> Job:
        """One more job, known by a name."""
        self.jobs[name] = self.queue.submit(image=IMAGE, video=DANCE, prompt=name)
        return self.jobs[name]

    def now(self, name: str) -> Job:
        """The job as it is now."""
        return self.queue.get(self.jobs[name].id)

    def in_state(self, name: str, state: State) -> None:
        """Waits until the job is there."""
        eventually(lambda: self.now(name).state is state, timeout=30)

    def tasks(self, name: str) -> list[str]:
        """The vendor's tasks that were made for the job."""
        return [str(line["taskId"]) for line in self.vendor.ledger("createTask") if line["prompt"] == name]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The stack, started by the runbook's own command."""
    if shutil.which("redis-server") is None or shutil.which("redis-cli") is None:
        assert not os.environ.get("CI"), "redis-server is missing: CI installs it"
        pytest.skip("redis-server and redis-cli are not installed")
    running = World(tmp_path_factory.mktemp("reader") / "home")
    try:
        running.start()
        yield running
    finally:
        running.stop()


# -- what has happened before a block is read -------------------------------------------------------------------------
def a_job_to_look_at(world: World) -> None:
    world.words["JOB"] = world.submit("looked at").id


def two_jobs_of_which_nobody_knows(world: World) -> None:
    """createTask's answer is lost, and no callback is configured: they fail as submit_unknown."""
    world.vendor.add_fault("drop_after", "createTask", times=2)
    for name in ("found", "given up"):
        world.submit(name)
        world.in_state(name, State.FAILED)
    world.words["JOB"] = world.jobs["found"].id


def its_task_is_found(world: World) -> None:
    world.words |= {"JOB": world.jobs["found"].id, "TASK_ID": world.tasks("found")[0]}


def the_other_one(world: World) -> None:
    world.words["JOB"] = world.jobs["given up"].id


def a_job_in_its_line(world: World) -> None:
    """The backup knows it as ready, and it is bought after the backup."""
    world.queue.pause("until the backup is made")
    world.submit("bought after the backup")
    world.in_state("bought after the backup", State.READY)


def a_place_for_the_server_that_reads_it(world: World) -> None:
    world.words["6399"] = str(free_port())


def a_disaster(world: World) -> None:
    """A job is bought, everything is stopped; the reader has a new terminal and knows the server's folder."""
    world.queue.resume()
    world.in_state("bought after the backup", State.SUCCEEDED)
    world.up.stop()
    world.server.stop()
    world.words["DIR"] = str(world.server.data_dir)


def the_server_alone(world: World) -> None:
    world.server.start()


def all_the_rest(world: World) -> None:
    world.up.start()


def the_job_that_would_be_bought_again(world: World) -> None:
    world.words["JOB"] = world.jobs["bought after the backup"].id
    assert world.now("bought after the backup").state is State.READY


BEFORE: dict[str, Callable[[World], None]] = {
    "motionq status JOB": a_job_to_look_at,
    "motionq list --state failed --since 24h": two_jobs_of_which_nobody_knows,
    "motionq attach JOB TASK_ID": its_task_is_found,
    "motionq replay JOB --may-pay-twice": the_other_one,
    "backup=$PWD/backups/$(date -u +%Y-%m-%dT%H.%M.%S)": a_job_in_its_line,
    'cp -a "$backup" "$backup.check"': a_place_for_the_server_that_reads_it,
    'files() { (cd DIR && "$@"); }': a_disaster,
    'motionq gate pause "restored from the backup of $(basename "$backup")"': the_server_alone,
    'since=$(basename "$backup" | tr . :)': all_the_rest,
    "motionq cancel JOB": the_job_that_would_be_bought_again,
}


# -- what must be so when it has run ----------------------------------------------------------------------------------
def the_video_is_there(world: World, said: str) -> None:
    assert Path(said.split()[-1]).is_file()


def the_copy_has_a_size(world: World, said: str) -> None:
    [backup] = (world.home / "backups").iterdir()
    assert re.search(rf"^\S+[KM]\s+{re.escape(str(backup))}$", said, re.M)
    assert (backup / "appendonlydir").is_dir()


def it_has_the_job(world: World, said: str) -> None:
    assert world.jobs["bought after the backup"].id in said
    assert re.search(r"^it can be read: \d+ keys, and the server has \d+$", said, re.M)
    assert not list((world.home / "backups").glob("*.check"))


def the_purchase_is_named(world: World, said: str) -> None:
    name = "bought after the backup"
    assert re.search(r"^tasks bought since \S+: 1; these logs begin: 20\S+Z$", said, re.M)
    (line,) = [line for line in said.splitlines() if line.startswith("not on record: ")]
    (task,) = world.tasks(name)
    assert line.startswith(f"not on record: job {world.jobs[name].id} task {task} of ")


def it_is_not_bought_again(world: World, said: str) -> None:
    name = "bought after the backup"
    assert world.now(name).state is State.CANCELLED
    assert len(world.tasks(name)) == 1


def it_delivers_what_was_bought(world: World, said: str) -> None:
    assert world.now("found").state is State.SUCCEEDED
    assert len(world.tasks("found")) == 1


def it_was_bought_again(world: World, said: str) -> None:
    assert world.now("given up").state is State.SUCCEEDED
    assert len(world.tasks("given up")) == 2


def the_gate_is_closed(world: World, said: str) -> None:
    assert world.queue.gate().reason == "operator"


def the_gate_is_open(world: World, said: str) -> None:
    assert world.queue.gate().open


AFTER: dict[str, Callable[[World, str], None]] = {
    "backup=$PWD/backups/$(date -u +%Y-%m-%dT%H.%M.%S)": the_copy_has_a_size,
    "from motionq import MotionQueue": the_video_is_there,
    'cp -a "$backup" "$backup.check"': it_has_the_job,
    "motionq doctor": the_video_is_there,
    'motionq gate pause "restarting the server"': the_gate_is_closed,
    "motionq gate resume": the_gate_is_open,
    'motionq gate pause "restored from the backup of $(basename "$backup")"': the_gate_is_closed,
    'since=$(basename "$backup" | tr . :)': the_purchase_is_named,
    "motionq doctor --fix": the_gate_is_open,
    "motionq cancel JOB": it_is_not_bought_again,
    "motionq attach JOB TASK_ID": it_delivers_what_was_bought,
    "motionq replay JOB --may-pay-twice": it_was_bought_again,
}


# -- the tests --------------------------------------------------------------------------------------------------------
def _documented() -> list[Block]:
    return [block for page in PAGES for block in blocks(page)]


def test_every_entry_of_the_tables_names_a_block() -> None:
    """A block that has gone, or begins in another way, takes its skip and its conditions along."""
    there = {block.first for block in _documented()}
    assert {*SKIPS, *BEFORE, *AFTER, UP} - there == set()
    assert {*BEFORE, *AFTER} & set(SKIPS) == set()
    tests = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert {name for why in SKIPS.values() for name in re.findall(r"test_\w+\.py", why)} - tests == set()


def test_every_block_is_for_somebody() -> None:
    """A block says in which language it is; what is neither shell nor Python is named among the skips."""
    assert [str(b) for b in _documented() if b.language not in ("sh", "python") and b.first not in SKIPS] == []


@pytest.mark.timeout(300)  # some thirty commands, each a process: a busy machine needs a while
def test_the_commands_of_the_pages_work(world: World) -> None:
    """Each block of README and runbook does in its turn what the page says; a restored server buys nothing again."""
    with Shell(world.home, world.environment) as shell:
        for block in _documented():
            if block.first in SKIPS or block.first == UP:  # it runs already
                continue
            BEFORE.get(block.first, _nothing)(world)
            said = shell.run(_script(block, world))
            AFTER.get(block.first, _nothing_to_see)(world, said)


def _script(block: Block, world: World) -> str:
    text = "".join(f"{_warning(line)}\n" for line in block.text.splitlines())
    for word, stands_for in world.words.items():
        text = re.sub(rf"\b{word}\b", stands_for, text)
    if block.language == "python":
        (world.home / "block.py").write_text(text, encoding="utf-8")
        return "python block.py"
    return text


def _warning(line: str) -> str:
    """`doctor` ends with 6 on warnings alone, as its page says: the sandbox's address has no TLS."""
    return f"{line} || [ $? -eq 6 ]" if line.startswith("motionq doctor") else line


def _nothing(world: World) -> None:
    return None


def _nothing_to_see(world: World, said: str) -> None:
    return None
