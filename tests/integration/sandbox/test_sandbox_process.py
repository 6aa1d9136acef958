"""The sandbox as a program: its command line, its start and its end, its control addresses."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest
import requests

from motionq_ops.sandbox.__main__ import main
from motionq_ops.sandbox.faults import FAULTS
from motionq_ops.sandbox.process import SandboxFailed, SandboxProcess

PROGRAM = [sys.executable, "-m", "motionq_ops.sandbox"]


def answers(url: str) -> bool:
    try:
        return requests.get(url + "/sandbox/settings", timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_start_and_end(tmp_path, wait, number):
    """It prints one line with its address, writes the ready file, and ends at once with status 0, folder removed."""
    ready = tmp_path / "ready.json"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [*PROGRAM, "--port", "0", "--speed", "7", "--ready-file", str(ready)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, text=True) as process:
        where = json.loads(wait(lambda: ready.exists() and ready.read_text()))
        assert where == {
            "url": f"http://127.0.0.1:{where['port']}",
            "files_url": f"http://localhost:{where['port']}",
            "port": where["port"],
            "pid": process.pid,
        }
        assert answers(where["url"])
        asked = time.monotonic()
        process.send_signal(number)
        _, stderr = process.communicate(timeout=5)
        assert time.monotonic() - asked < 3
    assert (process.returncode, stderr) == (0, f"motionq sandbox: {where['url']} (speed 7, nothing is bought)\n")
    assert list(tmp_path.iterdir()) == [ready]


def test_it_ends_while_a_request_hangs(wait):
    """A hanging request does not hold the end up."""
    sandbox = SandboxProcess().start()
    sandbox.add_fault("hang", "credit", times=None)
    with socket.create_connection(("127.0.0.1", sandbox.port)) as line:
        line.sendall(b"GET /api/v1/chat/credit HTTP/1.1\r\nHost: x\r\n\r\n")
        wait(lambda: sandbox.summary()["calls"])
        asked = time.monotonic()
        sandbox.stop()
        assert time.monotonic() - asked < 3
    assert not answers(sandbox.url)


def test_it_ends_with_the_process_that_started_it(wait):
    """A SandboxProcess does not outlive its owner, even when that one is killed."""
    owner = (
        "from motionq_ops.sandbox.process import SandboxProcess\n"
        "print(SandboxProcess().start().url, flush=True)\n"
        "input()"
    )
    with subprocess.Popen([sys.executable, "-c", owner], stdin=-1, stdout=-1, text=True) as process:
        url = process.stdout.readline().strip()
        assert answers(url)
        process.kill()
    wait(lambda: not answers(url), 5)


def test_help_teaches():
    """--help shows examples and every fault by name."""
    text = subprocess.run([*PROGRAM, "--help"], capture_output=True, text=True, check=True).stdout
    assert "KIE_BASE_URL" in text
    assert "/sandbox/ledger" in text
    assert [name for name in FAULTS if not re.search(rf"^  {name} ", text, re.MULTILINE)] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "colour=red"], "unknown setting 'colour'; known: billing, "),
        (["--set", "render=fast"], "render is one of real, copy, none, not 'fast'"),
        (["--rate-limit", "20"], "rate_limit is CALLS/SECONDS or off, not '20'"),
        (["--speed", "0"], "speed is a number above zero, not 0.0"),
        (["--script", "/nowhere.json"], "--script /nowhere.json: No such file or directory"),
        (["--port", "99999"], "argument --port: a port is a number from 0 to 65535, not '99999'"),
        (["--speed", "nan"], "argument --speed: must be a number, not 'nan'"),
        (["--credits", "inf"], "argument --credits: must be a number, not 'inf'"),
        (["--set", "median_seconds=NaN"], "median_seconds is a number of at least zero, not 'NaN'"),
        (["--api-key", ""], "argument --api-key: must not be empty"),
        (["--hmac-key", " "], "argument --hmac-key: must not be empty"),
    ],
)
def test_wrong_usage(capsys, arguments, words):
    """Wrong usage is one clear line and status 2."""
    with pytest.raises(SystemExit) as ended:
        main(["--port", "0", *arguments])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"motionq sandbox: {words}")
    assert line.endswith(" (see `motionq sandbox --help`)")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ('{"faults": 5}', "--script F: faults are a list of rules, settings an object"),
        ('{"settings": [1]}', "--script F: faults are a list of rules, settings an object"),
        ("5", '--script F: a script is {"faults": '),
        ('{"fault": []}', '--script F: a script is {"faults": '),
        ("nonsense", "--script F: Expecting value"),
        ('{"settings": {"sigma": 1e999}}', "--script F: 1e999 is no number"),
        ("[5]", 'a rule is like {"call": '),
        ('[{"fault": "silent", "match": ["x"]}]', "match is like "),
        ('{"settings": {"sigma": "x"}}', "sigma is a number of at least zero, not 'x'"),
    ],
)
def test_a_script_that_is_none_is_one_line(capsys, tmp_path, script, words):
    """Whatever JSON the file holds, what is wrong with it is one line and status 2."""
    path = tmp_path / "script.json"
    path.write_text(script)
    with pytest.raises(SystemExit) as ended:
        main(["--port", "0", "--script", str(path)])
    (line,) = capsys.readouterr().err.splitlines()
    assert (ended.value.code, line.startswith(f"motionq sandbox: {words.replace('F', str(path), 1)}")) == (2, True)


def test_a_ready_file_that_can_not_be_written_is_named(tmp_path):
    """The file is at fault and not the port: one line says so, and the sandbox ends with 1."""
    path = tmp_path / "nowhere" / "ready.json"
    ended = subprocess.run([*PROGRAM, "--port", "0", "--ready-file", str(path)], capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[1:] == [f"motionq sandbox: can't write {path}: No such file or directory"]


def test_it_knows_nothing_of_the_product():
    """The sandbox loads no module of the product, so a mistake there can't be repeated here, nor numpy."""
    look = "import sys, motionq_ops.sandbox.__main__; print({name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout
    assert "motionq_ops" in loaded
    assert [
        name for name in ("'motionq'", "'motionq_worker'", "'celery'", "'redis'", "'numpy'") if name in loaded
    ] == []


def test_port_taken(sandbox):
    """A taken port is one line and status 1; through SandboxProcess it is an error with that line."""
    with pytest.raises(SandboxFailed, match=rf"ended with 1: .*can't listen on 127.0.0.1:{sandbox.port}"):
        SandboxProcess(port=sandbox.port).start()


def test_script(tmp_path):
    """A script brings faults and switches from the first request on."""
    script = tmp_path / "faults.json"
    rules = [{"call": "credit", "fault": "code_455"}]
    script.write_text(json.dumps({"faults": rules, "settings": {"median_seconds": 5}}))
    with SandboxProcess(arguments=["--script", str(script)], settings={"render": "none"}) as sandbox:
        headers = {"Authorization": f"Bearer {sandbox.api_key}"}
        codes = [requests.get(sandbox.url + "/api/v1/chat/credit", headers=headers, timeout=5).json() for _ in range(2)]
        assert [answer["code"] for answer in codes] == [455, 200]
        assert codes[1]["data"] == 100_000.0
        switches = sandbox.settings()
        assert (switches["median_seconds"], switches["render"]) == (5.0, "none")


def test_switches_are_checked(sandbox):
    """A wrong switch is refused, and none of the request's switches is turned."""
    for values, words in (
        ({"sigma": 0.5, "colour": 1}, "unknown setting 'colour'"),
        ({"sigma": 0.5, "latency": -1}, "latency is a number of at least zero, not -1"),
        ({"sigma": 0.5, "new_fields": 1}, "new_fields is true or false, not 1"),
        ({"sigma": 0.5, "prices": [1]}, "prices look like"),
        ({"sigma": 0.5, "foreign_seconds": 10**400}, "foreign_seconds is a number of at least zero, not 1000"),
    ):
        with pytest.raises(SandboxFailed, match=words):
            sandbox.settings(**values)
    assert sandbox.settings()["sigma"] == 0.15


def test_control_errors(sandbox):
    """An unknown task is a clear 404, a jump without seconds a clear 400."""
    with pytest.raises(SandboxFailed, match="no task abc"):
        sandbox.task("abc")
    with pytest.raises(SandboxFailed, match="seconds is a number, not None"):
        sandbox.control("POST", "/sandbox/advance", {})
    with pytest.raises(SandboxFailed, match="seconds is a number of at least zero, not -1: time does not go back"):
        sandbox.advance(-1)
    for body in (float("nan"), float("inf"), [[{"balance": float("nan")}]]):  # as Python's JSON writes them
        with pytest.raises(SandboxFailed, match=r"the body is not JSON: (NaN|Infinity) is no number"):
            sandbox.control("POST", "/sandbox/credits", body)
    answer = requests.post(f"{sandbox.url}/sandbox/settings", data='{"foreign_seconds": 1e999}', timeout=5)
    assert (answer.status_code, answer.json()) == (400, {"error": "the body is not JSON: 1e999 is no number"})


def test_latency(client, sandbox):
    """latency delays API answers on the wall clock."""
    sandbox.settings(latency=0.3)
    started = time.monotonic()
    client.credit()
    assert 0.3 <= time.monotonic() - started < 3


def test_reset(client, sandbox):
    """reset forgets tasks, uploads, credits, rules, ledger and switches."""
    url = client.upload("a.png", b"1").json()["data"]["downloadUrl"]
    task = client.make()
    sandbox.add_fault("silent")
    sandbox.reset()
    assert requests.get(url, timeout=5).status_code == 404
    assert client.read(task)["code"] == 422
    assert (client.credit(), sandbox.control("GET", "/sandbox/faults")["rules"]) == (1000.0, [])
    assert sandbox.summary()["calls"] == {"uploadedFile": 1, "recordInfo": 1, "credit": 1}
    assert sandbox.settings()["duration"] is None


def test_many_tasks_at_once(client, sandbox):
    """A thousand tasks end on time, with the books balanced."""
    sandbox.set_credits(200_000.0)
    tasks = [client.make() for _ in range(1000)]
    assert client.ended(tasks[-1])["state"] == "success"
    totals = sandbox.summary()
    assert (totals["tasks_made"], totals["burnt"], totals["held"]) == (1000, 110_000.0, 0.0)
    assert totals["balance"]["100001"] == 90_000.0
