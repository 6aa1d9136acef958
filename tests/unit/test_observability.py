"""What a line of a log shows, and what it never shows."""

from __future__ import annotations

import json
import logging
import sys
from io import StringIO
from typing import Any
from urllib.parse import quote

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from motionq import Settings
from motionq.contract.redact import without_secrets
from motionq_worker import observability

KEY, HMAC, PASSWORD = 'k3y-"with\\quotes', "hmac-ä-key", "p4ss%word"
SETTINGS = Settings(
    kie_api_key=KEY,
    kie_webhook_hmac_key=HMAC,
    redis_url=f"redis://user:{quote(PASSWORD)}@host:6379/0",
    log_format="json",
)
CONSOLE = SETTINGS.model_copy(update={"log_format": "console"})
NONCE = "0a1b2c3d4e" * 4
JOB = "01jc3x5k2mzq8v7w6t4r9s0abc"
SIGNED = "https://bucket.example/a.mp4?X-Amz-Signature=5ecret5ignature&X-Amz-Expires=60"

hex_digits = st.text("0123456789abcdef", min_size=40, max_size=40)
words = st.text(st.characters(codec="utf-8", exclude_characters=" ") | st.just(" "), max_size=30)
query_values = st.text(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789%+/-_.~", min_size=12, max_size=60
)


def record(message: str, *args: Any, name: str = "motionq_worker.x", exc_info: Any = None, **extra: Any) -> Any:
    made = logging.LogRecord(name, logging.WARNING, __file__, 1, message, args, exc_info)
    made.__dict__.update(extra)
    return made


def line(message: str, *args: Any, **options: Any) -> dict[str, Any]:
    shown = observability.formatter(SETTINGS, worker="w1@host").format(record(message, *args, **options))
    assert "\n" not in shown
    found: dict[str, Any] = json.loads(shown)
    return found


def raised(error: Exception) -> Any:
    """`error` as it comes out of a library's depth, with another one behind it."""
    try:
        try:
            raise ConnectionError(f"Max retries exceeded with url: {SIGNED} (token={NONCE}, key {KEY})")
        except ConnectionError as first:
            raise error from first
    except type(error):
        return sys.exc_info()


# -- the fields --------------------------------------------------------------------------------------------------------


def test_a_line_says_when_how_bad_who_and_what() -> None:
    """A line has its time, level, logger, worker and text, in this order, and nothing else."""
    found = line("%d of %s", 3, "4")
    assert list(found) == ["timestamp", "level", "logger", "worker", "event"]
    assert found.pop("timestamp").endswith("Z")
    assert found == {"level": "warning", "logger": "motionq_worker.x", "worker": "w1@host", "event": "3 of 4"}


def test_a_line_within_a_step_carries_its_ids() -> None:
    """Job, step, Celery's ID and kie.ai's task ID are on every line of a step, whichever library writes it."""
    observability.begin_step("motionq.deliver", f"{JOB}.deliver.2")
    observability.about_task("task-7")
    try:
        found = line("slow", name="urllib3.connectionpool")
    finally:
        observability.end_step()
    ids = {"job": JOB, "step": "deliver", "celery_id": f"{JOB}.deliver.2", "task_id": "task-7"}
    assert ids.items() <= found.items()
    assert not ids.keys() & line("after it").keys()


@pytest.mark.parametrize(
    ("name", "celery_id", "ids"),
    [
        ("motionq.upload", f"{JOB}.upload.1", {"job": JOB, "step": "upload"}),
        ("motionq.check", f"check.{JOB}", {"step": "check"}),
        ("motionq.start", "5f0c1f3e-0000-4000-8000-000000000000", {"step": "start"}),
    ],
)
def test_ids_of_a_message(name: str, celery_id: str, ids: dict[str, str]) -> None:
    """A batch and a wake-up are about no single job."""
    assert observability.ids_of(name, celery_id) == ids | {"celery_id": celery_id}


def test_lines_of_other_threads_name_the_job_too() -> None:
    """Celery's own lines about a message, and sentences of ours that name a job, carry its ID as a field."""
    about = {"id": f"{JOB}.submit.1", "name": "motionq.submit"}
    assert line("Task %(name)s received", about, name="celery", data=about)["job"] == JOB
    assert line("the claim %s of job %s waits", "upload.1", JOB)["job"] == JOB
    assert "job" not in line("no job at all")


def test_a_terminal_gets_words() -> None:
    """The console format is one readable line with the same fields, without colours where no terminal is."""
    shown = observability.formatter(CONSOLE, worker="w1@host").format(record("the claim of job %s", JOB))
    assert "[warning  ]" in shown
    assert shown.endswith(f"[motionq_worker.x] job={JOB} worker=w1@host")
    assert "\x1b" not in shown


def test_structlogs_loggers_write_the_same_lines() -> None:
    """A line with fields of its own is cleaned in every field."""
    event = {"event": "sent", "to": SIGNED, "body": {"api_key": KEY, "n": [1, None, True, KEY]}, "x": ValueError(KEY)}
    made = record("")
    made.msg, made._logger, made._name = event, logging.getLogger("motionq"), "info"
    found = json.loads(observability.formatter(SETTINGS).format(made))
    assert found["to"] == "https://bucket.example/a.mp4?…"
    assert found["body"] == {"api_key": "…", "n": [1, None, True, "…"]}
    assert found["x"] == "ValueError('…')"
    assert found["level"] == "info"
    assert structlog.contextvars.get_contextvars() == {}


# -- secrets -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [SETTINGS, CONSOLE])
def test_a_traceback_shows_no_secret(settings: Settings) -> None:
    """Neither an error's own words nor those of the errors behind it show keys, tokens or signed addresses."""
    made = record("it failed: %s", SIGNED, exc_info=raised(ValueError(f"Bearer {KEY} for {SIGNED}")))
    shown = observability.formatter(settings).format(made)
    assert "ValueError" in shown
    assert "Max retries exceeded with url: https://bucket.example/a.mp4?…" in shown
    for secret in ("k3y", NONCE, "5ecret5ignature"):
        assert secret not in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Connected to redis://:p4ss@host:6379//", "Connected to redis://host:6379//"),
        ("rediss://user:p%404ss@host:6379/0?ssl_password=x", "rediss://host:6379/0?…"),
        ("redis+socket://:pw@/run/x.sock?virtual_host=0", "redis+socket:///run/x.sock?…"),
        ('"POST /api/v1/jobs?sig=abc HTTP/1.1" 200', '"POST /api/v1/jobs?… HTTP/1.1" 200'),
        (f"POST /callbacks/kie/{JOB}/{NONCE} HTTP/1.1", f"POST /callbacks/kie/{JOB}/… HTTP/1.1"),
        (f"POST /callbacks%2Fkie%2F{JOB}%2F{NONCE}", f"POST /callbacks%2Fkie%2F{JOB}%…"),
        (f"/CALLBACKS/KIE/{JOB}/{NONCE.upper()}", f"/CALLBACKS/KIE/{JOB}/…"),
        (f"fenced by {NONCE}.", "fenced by …."),
        ("{'Authorization': 'Bearer abc.def-1'}", "{'Authorization': 'Bearer …'}"),
        ("Authorization: Basic dXNlcjpwdw==", "Authorization: Basic …"),
        ('EVALSHA 0 {"token":"a1b2c3d4","id":"x"}', 'EVALSHA 0 {"token":"…","id":"x"}'),
        (r"'{\"api_key\": \"a1b2c3d4\"}'", r"'{\"api_key\": \"…\"}'"),
        ("KIE_API_KEY=abc password=hunter", "KIE_API_KEY=… password=…"),
        ("the token: it is missing", "the token: it is missing"),
        ("task 0123456789abcdef0123456789abcdef of job", "task 0123456789abcdef0123456789abcdef of job"),
        (f"staged as {'ab' * 32}.png", f"staged as {'ab' * 32}.png"),
        ("is it so? yes = no", "is it so? yes = no"),
        ("mail me@example.com", "mail me@example.com"),
    ],
)
def test_where_secrets_stand(text: str, shown: str) -> None:
    """Secrets are known by where they stand; IDs, hashes and sentences stay."""
    assert without_secrets(text) == shown


@given(words, st.text(min_size=4, max_size=40).map(lambda text: f"S3{text}"), words)
def test_a_known_secret_is_on_no_line(before: str, secret: str, after: str) -> None:
    """Whatever characters a key has, and whatever stands around it: no line shows it, and JSON stays JSON."""
    settings = SETTINGS.model_copy(update={"kie_api_key": type(SETTINGS.kie_api_key)(secret)})  # type: ignore[misc, call-arg, arg-type]
    made = record("%s %r", f"{before}{secret}{after}", secret, exc_info=raised(ValueError(secret)))
    found = json.loads(observability.formatter(settings).format(made))
    assert all(secret not in value and repr(secret)[1:-1] not in value for value in found.values())


@given(words, hex_digits, st.sampled_from([" ", "/", "'", '"', ":", ",", ".", "=", "(", "]", "\n", "-", "_"]), words)
def test_a_nonce_is_on_no_line(before: str, nonce: str, edge: str, after: str) -> None:
    """Forty hex digits between any two marks are never shown."""
    assert nonce not in without_secrets(f"{before}{edge}{nonce}{edge}{after}")


@given(words, query_values, words)
def test_a_signature_is_on_no_line(before: str, value: str, after: str) -> None:
    """The query of an address is never shown, whether the host stands before it or not."""
    for address in (f"https://host.example/a/b.mp4?X-Amz-Signature={value}", f"/a/b.mp4?Signature={value}&x=1"):
        assert f"={value}" not in without_secrets(f"{before} {address} {after}")


@given(words, query_values.filter(lambda text: "/" not in text), words)
def test_a_servers_password_is_on_no_line(before: str, password: str, after: str) -> None:
    """A password in whatever kind of address is never shown."""
    for scheme in ("redis", "rediss", "redis+socket", "unix", "https", "s3"):
        assert f":{password}@" not in without_secrets(f"{before} {scheme}://user:{password}@host/0 {after}")


@given(st.text(max_size=500))
def test_any_text_can_be_cleaned(text: str) -> None:
    """It never fails, and a second time changes nothing."""
    once = without_secrets(text)
    assert without_secrets(once) == once


def test_every_secret_setting_is_looked_for() -> None:
    """Keys as they are, and of an address the password, as written and as meant."""
    assert {KEY, HMAC, PASSWORD, quote(PASSWORD)} == set(observability.secrets_of(SETTINGS))


# -- the handler -------------------------------------------------------------------------------------------------------


def test_a_line_that_can_not_be_written_shows_no_arguments() -> None:
    """Logging would print the arguments of a broken call; here only the place of the call is told."""
    stream = StringIO()
    handler = observability._Handler(stream)
    handler.setFormatter(observability.formatter(SETTINGS))
    handler.handle(record("%d", KEY))
    assert stream.getvalue() == f"motionq: {__file__}:1 logged a line that can't be written\n"


def test_a_servers_loggers_are_taken_over_unless_silenced() -> None:
    """Uvicorn's own handlers go; what `--no-access-log` has silenced stays silent."""
    loud, silent = logging.getLogger("test.loud"), logging.getLogger("test.silent")
    loud.addHandler(logging.NullHandler())
    loud.propagate = silent.propagate = False
    observability.take_over("test.loud", "test.silent")
    assert (loud.handlers, loud.propagate, silent.propagate) == ([], True, False)
