"""Settings from the environment: units, lists, secrets, and every problem in one sentence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from motionq.contract import settings as module
from motionq.contract.errors import InvalidSettings, QueueUnavailable
from motionq.contract.settings import Settings, load, rate, seconds, size, unknown_names
from motionq_ops import stack_file

SECRET = "sk-t0p-s3cret"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the machine reaches a test, and its `.env` is that of an empty folder."""
    for name in list(os.environ):
        if name.startswith("MOTIONQ_") or name.removesuffix("_FILE") in module.NAMES or name == "CELERY_BROKER_URL":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


# -- how values are written -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [("500ms", 0.5), ("20s", 20), ("45m", 2700), ("24h", 86400), ("30d", 2592000), ("7", 7), (" 1.5 h ", 5400), (3, 3)],
)
def test_durations(text: object, found: float) -> None:
    """A number with a unit, or a bare number of seconds."""
    assert seconds(text) == found


@pytest.mark.parametrize("text", ["", "20 sec", "-1", "s", "1h30m", "1e3", "ten"])
def test_what_is_no_duration(text: str) -> None:
    """The sentence shows how to write it."""
    with pytest.raises(ValueError, match=r"is not a duration: write 20s, 45m, 24h or 30d$"):
        seconds(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [("10MB", 10_000_000), ("1.5KB", 1500), ("2GiB", 2 * 1024**3), ("64kib", 65536), ("7", 7), ("7B", 7)],
)
def test_sizes(text: str, found: int) -> None:
    """Decimal and binary units, any case, or a bare number of bytes."""
    assert size(text) == found


@pytest.mark.parametrize("text", ["", "10 megs", "-1MB", "MB"])
def test_what_is_no_size(text: str) -> None:
    """The sentence shows how to write it."""
    with pytest.raises(ValueError, match=r"is not a size: write 500KB, 10MB or 2GB$"):
        size(text)


@pytest.mark.parametrize(("text", "found"), [("20/10s", (20, 10.0)), ("20/10", (20, 10.0)), (" 5 / 1m", (5, 60.0))])
def test_rates(text: str, found: tuple[int, float]) -> None:
    """How many per how long."""
    assert rate(text) == found


@pytest.mark.parametrize("text", ["20", "0/10s", "20/0s", "-1/10s", "20/soon"])
def test_what_is_no_rate(text: str) -> None:
    """Neither none at all nor an endless speed is a rate."""
    with pytest.raises(ValueError, match=r"is not a (rate|duration): write 20"):
        rate(text)


def test_every_kind_of_value_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Durations become seconds, rates pairs, lists tuples; an empty value counts as not set."""
    for name, value in {
        "MOTIONQ_UNKNOWN_WINDOW": "45m",
        "MOTIONQ_SUBMIT_RATE": "5/1s",
        "MOTIONQ_TRUSTED_HOSTS": " files.local, 10.0.0.7 ,",
        "MOTIONQ_MAX_IN_FLIGHT": "7",
        "MOTIONQ_RUN_LIMIT": "",
        "KIE_BASE_URL": "https://vendor.example/",
        "MOTIONQ_DATA_DIR": "/data",
    }.items():
        monkeypatch.setenv(name, value)
    found = load()

    assert (found.unknown_window, found.submit_rate, found.max_in_flight) == (2700.0, (5, 1.0), 7)
    assert found.trusted_hosts == ("files.local", "10.0.0.7")
    assert found.run_limit == 86400.0
    assert found.kie_base_url == "https://vendor.example"
    assert (found.staging, found.results) == ("file:///data/staging", "file:///data/results")


def test_the_preferred_name_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """MOTIONQ_… is taken before the plain name that other programs share."""
    monkeypatch.setenv("REDIS_URL", "redis://shared/0")
    monkeypatch.setenv("PUBLIC_BASE_URL", "https://shared")
    assert (load().server(), load().public_base_url) == ("redis://shared/0", "https://shared")

    monkeypatch.setenv("MOTIONQ_REDIS_URL", "redis://ours/1")
    monkeypatch.setenv("MOTIONQ_PUBLIC_BASE_URL", "https://ours")
    assert (load().server(), load().public_base_url) == ("redis://ours/1", "https://ours")


# -- secrets --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["KIE_API_KEY", "KIE_WEBHOOK_HMAC_KEY", "MOTIONQ_REDIS_URL", "REDIS_URL"])
def test_a_secret_may_lie_in_a_file(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """NAME_FILE names a file with the secret; the white space around it is not part of it; NAME itself wins."""
    secret = f"redis://:{SECRET}@host/0"
    (tmp_path / "secret").write_text(f"{secret}\n", encoding="utf-8")
    monkeypatch.setenv(f"{name}_FILE", str(tmp_path / "secret"))
    field = module._field_of(name)
    assert getattr(load(), field).get_secret_value() == secret

    monkeypatch.setenv(name, "redis://given")
    assert getattr(load(), field).get_secret_value() == "redis://given"


@pytest.mark.parametrize("name", ["KIE_API_KEY", "KIE_WEBHOOK_HMAC_KEY", "MOTIONQ_REDIS_URL", "REDIS_URL"])
def test_a_secret_file_may_be_named_in_dot_env(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is written in `.env` holds like the environment, which wins; the library reads neither line."""
    (tmp_path / "secret").write_text("redis://in-a-file\n", encoding="utf-8")
    (tmp_path / ".env").write_text(f"{name}_FILE=secret\n", encoding="utf-8")
    field = module._field_of(name)
    assert getattr(load(dotenv=True), field).get_secret_value() == "redis://in-a-file"
    assert getattr(load(), field) is None

    (tmp_path / "other").write_text("redis://in-another", encoding="utf-8")
    monkeypatch.setenv(f"{name}_FILE", str(tmp_path / "other"))
    assert getattr(load(dotenv=True), field).get_secret_value() == "redis://in-another"


def test_the_environment_wins_over_dot_env_whatever_the_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A secret's file, and the second name of a setting, count as the setting itself."""
    (tmp_path / "secret").write_text("redis://in-a-file", encoding="utf-8")
    (tmp_path / ".env").write_text("MOTIONQ_REDIS_URL=redis://in-dot-env\n", encoding="utf-8")
    assert load(dotenv=True).server() == "redis://in-dot-env"

    monkeypatch.setenv("REDIS_URL_FILE", str(tmp_path / "secret"))
    assert load(dotenv=True).server() == "redis://in-a-file"


def test_a_secret_that_is_set_needs_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file is read only where nothing stronger says what the secret is: it may lie on another machine."""
    (tmp_path / ".env").write_text("KIE_API_KEY_FILE=nothing\nREDIS_URL_FILE=nothing\n", encoding="utf-8")
    monkeypatch.setenv("KIE_API_KEY", "set")
    found = load(dotenv=True, redis_url="redis://given")
    assert (found.kie_api_key.get_secret_value(), found.server()) == ("set", "redis://given")  # type: ignore[union-attr]


def test_a_secret_file_that_can_not_be_read_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The sentence says which setting and why, wherever the line stands."""
    (tmp_path / ".env").write_text("KIE_WEBHOOK_HMAC_KEY_FILE=nothing\n", encoding="utf-8")
    with pytest.raises(InvalidSettings, match=r"^KIE_WEBHOOK_HMAC_KEY_FILE: can't read the file it names: No such "):
        load(dotenv=True)

    monkeypatch.setenv("KIE_API_KEY_FILE", str(tmp_path / "nothing"))
    with pytest.raises(InvalidSettings, match=r"^KIE_API_KEY_FILE: can't read the file it names: No such file"):
        load()


def test_what_is_no_secret_has_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """NAME_FILE of an ordinary setting is an unknown name, not a silent nothing."""
    assert unknown_names(["MOTIONQ_NAMESPACE_FILE"]) == [
        "MOTIONQ_NAMESPACE_FILE is no setting of motionq: did you mean MOTIONQ_NAMESPACE?"
    ]


def test_secrets_are_in_no_repr_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a good secret nor a refused one is ever printed."""
    for name in ("KIE_API_KEY", "KIE_WEBHOOK_HMAC_KEY"):
        monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("MOTIONQ_REDIS_URL", f"redis://:{SECRET}@host/0")
    good = load()
    assert SECRET not in f"{good!r} {good} {good.model_dump()} {good.model_dump_json()}"

    monkeypatch.setenv("MOTIONQ_REDIS_URL", f"http://:{SECRET}@host/0")
    monkeypatch.setenv("CELERY_BROKER_URL", f"amqp://:{SECRET}@host")
    with pytest.raises(InvalidSettings) as caught:
        load()
    assert SECRET not in f"{caught.value} {caught.value!r} {caught.value.__cause__}"
    assert str(caught.value) == "MOTIONQ_REDIS_URL: must begin with redis://, rediss:// or unix://"


# -- problems -------------------------------------------------------------------------------------------------------


def test_an_unknown_name_is_refused_with_a_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistyped limit would silently not hold: programs stop, the library ignores what may be another program's."""
    monkeypatch.setenv("MOTIONQ_MAX_IN_FLIHGT", "5")
    assert load().max_in_flight == 100

    with pytest.raises(InvalidSettings) as caught:
        load(dotenv=True)
    assert str(caught.value) == "MOTIONQ_MAX_IN_FLIHGT is no setting of motionq: did you mean MOTIONQ_MAX_IN_FLIGHT?"


@pytest.mark.parametrize(
    ("name", "guess"),
    [
        ("MOTIONQ_BOGUS", None),
        ("MOTIONQ_X", None),
        ("MOTIONQ_SUBMIT_RAET", "MOTIONQ_SUBMIT_RATE"),
        ("MOTIONQ_KIE_API_KEY", "KIE_API_KEY"),
        ("MOTIONQ_PUBLIC_URL", "MOTIONQ_PUBLIC_BASE_URL"),
    ],
)
def test_a_guess_is_made_only_where_names_are_alike(name: str, guess: str | None) -> None:
    """The beginning that all names share does not make them alike."""
    assert unknown_names([name]) == [f"{name} is no setting of motionq" + (f": did you mean {guess}?" if guess else "")]


def test_all_problems_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One run tells everything that is wrong with the values, each by the name it was given under."""
    for name, value in {
        "MOTIONQ_STEP_LEASE": "soon",
        "MOTIONQ_TICK": "0s",
        "MOTIONQ_MAX_IN_FLIGHT": "0",
        "MOTIONQ_NAMESPACE": "a b",
        "PUBLIC_BASE_URL": "here",
        "MOTIONQ_LOG_LEVEL": "LOUD",
        "MOTIONQ_TYPO": "1",
    }.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(InvalidSettings) as caught:
        load(dotenv=True)
    told = str(caught.value).split("; ")
    assert len(told) == 7
    assert told[0].startswith("MOTIONQ_TYPO is no setting of motionq")
    names = ("MOTIONQ_STEP_LEASE", "MOTIONQ_TICK", "MOTIONQ_MAX_IN_FLIGHT", "MOTIONQ_NAMESPACE", "MOTIONQ_LOG_LEVEL")
    for name in (*names, "PUBLIC_BASE_URL"):
        assert len([sentence for sentence in told if sentence.startswith(f"{name}: ")]) == 1, told
    assert "MOTIONQ_STEP_LEASE: 'soon' is not a duration: write 20s, 45m, 24h or 30d" in told
    assert "MOTIONQ_TICK: must be more than 0" in told


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("MOTIONQ_MAX_IN_FLIGHT", "many", "must be a whole number, not 'many'"),
        ("MOTIONQ_MAX_IN_FLIGHT", "0", "must be 1 or more, not '0'"),
        ("FLOWER_PORT", "65536", "must be 65535 or less, not '65536'"),
        ("MOTIONQ_MAX_CREDITS_PER_DAY", "lots", "must be a number, not 'lots'"),
        ("MOTIONQ_LOG_LEVEL", "LOUD", "must be DEBUG, INFO, WARNING or ERROR, not 'LOUD'"),
        ("MOTIONQ_NAMESPACE", "a b", "must be 1 to 64 letters, digits or . _ -, not 'a b'"),
    ],
)
def test_a_wrong_value_is_told_in_our_words(
    name: str, value: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Setting, what is allowed, and the value: nothing of how the check is built."""
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSettings) as caught:
        load()
    assert str(caught.value) == f"{name}: {sentence}"


def test_every_missing_name_is_told_at_once() -> None:
    """What a program needs and does not have is named in one error."""
    with pytest.raises(InvalidSettings) as caught:
        load(required=("KIE_API_KEY", "MOTIONQ_REDIS_URL"))
    assert str(caught.value) == "KIE_API_KEY is not set; MOTIONQ_REDIS_URL is not set"


@pytest.mark.parametrize(
    ("ours", "theirs", "refused"),
    [
        ("redis://a/0", "redis://a/0", False),
        ("redis://a/0", None, False),
        ("redis://a/0", "redis://b/0", True),
        (None, "redis://b/0", True),
    ],
)
def test_a_foreign_broker_is_refused(
    ours: str | None, theirs: str | None, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Celery would silently use CELERY_BROKER_URL: another server than ours stops us in one line."""
    for name, value in {"REDIS_URL": ours, "CELERY_BROKER_URL": theirs}.items():
        if value:
            monkeypatch.setenv(name, value)
    if not refused:
        assert load().redis_url is not None
        return
    with pytest.raises(InvalidSettings, match=r"^CELERY_BROKER_URL names another server than REDIS_URL"):
        load()


def test_dot_env_is_read_by_programs_and_never_by_the_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Foreign lines are ignored, the environment wins, and a mistyped name in the file is found too."""
    (tmp_path / ".env").write_text("OTHER=1\nMOTIONQ_MAX_IN_FLIGHT=7\nMOTIONQ_TRANSFERS=3\n", encoding="utf-8")
    monkeypatch.setenv("MOTIONQ_TRANSFERS", "4")

    assert (load().max_in_flight, load().transfers) == (100, 4)
    assert (load(dotenv=True).max_in_flight, load(dotenv=True).transfers) == (7, 4)

    with (tmp_path / ".env").open("a", encoding="utf-8") as file:
        file.write("MOTIONQ_TRANSFER=3\n")
    with pytest.raises(
        InvalidSettings, match=r"^MOTIONQ_TRANSFER is no setting of motionq: did you mean MOTIONQ_TRANSFERS"
    ):
        load(dotenv=True)


def test_the_local_stack_is_found_through_its_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without REDIS_URL the address is the one that `motionq up` wrote; without that, the error says what to do."""
    monkeypatch.setenv("MOTIONQ_DATA_DIR", str(tmp_path))
    with pytest.raises(QueueUnavailable, match=r"start one with `motionq up --sandbox`, or set REDIS_URL$"):
        load().server()

    with stack_file.sole_owner(tmp_path):
        stack_file.write(tmp_path, {"redis_url": "unix:///x?db=0"})
        assert load().server() == "unix:///x?db=0"


def test_a_stack_that_was_killed_is_not_taken_for_a_living_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a killed `up` left behind names a server that is gone: it is refused, and the next `up` takes it away."""
    monkeypatch.setenv("MOTIONQ_DATA_DIR", str(tmp_path))
    with stack_file.sole_owner(tmp_path):
        stack_file.write(tmp_path, {"redis_url": "redis://127.0.0.1:6379/0"})
    for _ in range(2):  # looking changes nothing
        with pytest.raises(QueueUnavailable) as caught:
            load().server()
        assert str(caught.value) == (
            f"the local stack in {tmp_path} has ended without cleaning up: start it again with `motionq up`, or set"
            " REDIS_URL"
        )

    with stack_file.sole_owner(tmp_path), pytest.raises(QueueUnavailable, match=r"^no queue server is known: "):
        load().server()


def test_the_local_stack_is_taken_as_a_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Who takes its server takes its namespace and storage too, unless they are set; with a server set, nothing is."""
    monkeypatch.setenv("MOTIONQ_DATA_DIR", str(tmp_path))
    told = {
        "redis_url": "unix:///x?db=0",
        "namespace": "of-the-stack",
        "staging_url": "s3://theirs",
        "results_url": None,
    }
    with stack_file.sole_owner(tmp_path):
        stack_file.write(tmp_path, told)
        found = load()
        assert (found.namespace, found.staging, found.results) == (
            *("of-the-stack", "s3://theirs"),
            f"file://{tmp_path}/results",
        )
        assert load(namespace="given").namespace == "given"
        monkeypatch.setenv("MOTIONQ_NAMESPACE", "ours")
        monkeypatch.setenv("MOTIONQ_STAGING_URL", "s3://ours")
        assert (load().namespace, load().staging) == ("ours", "s3://ours")
        monkeypatch.delenv("MOTIONQ_NAMESPACE")
        assert load(redis_url="redis://other").namespace == "motionq"
    assert load().namespace == "motionq"  # it has ended


def test_the_data_folder_is_the_same_for_every_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`~` is the home folder, a relative one begins beside `.env`: in the settings, so for all who read them."""
    monkeypatch.setenv("HOME", "/home/somebody")
    (tmp_path / ".env").write_text("MOTIONQ_DATA_DIR=~/mq\n", encoding="utf-8")
    assert load(dotenv=True).data_dir == Path("/home/somebody/mq")
    assert load(dotenv=True).staging == "file:///home/somebody/mq/staging"

    (tmp_path / ".env").write_text("MOTIONQ_DATA_DIR=mq\n", encoding="utf-8")
    assert load(dotenv=True).data_dir == tmp_path / "mq"

    monkeypatch.setenv("MOTIONQ_DATA_DIR", "~no-such-person/mq")
    with pytest.raises(InvalidSettings) as caught:
        load()
    assert str(caught.value) == "MOTIONQ_DATA_DIR: '~no-such-person/mq' names a home folder that does not exist"


@pytest.mark.parametrize("value", ["results", "./results", "../results", "file://results", "file:results", "local://r"])
@pytest.mark.parametrize("name", ["MOTIONQ_STAGING_URL", "MOTIONQ_RESULTS_URL"])
def test_a_relative_storage_is_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Producers and workers run in folders of their own: each would have another place."""
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSettings) as caught:
        load()
    assert str(caught.value) == (
        f"{name}: {value!r} is a relative path: write the whole path, or an address such as s3://bucket/folder"
    )


@pytest.mark.parametrize(
    "value", ["/srv/r", "file:///srv/r", "~/r", "s3://b/r", "memory://r", "dir::memory://r", "s3://b/a?x=1"]
)
def test_every_other_storage_is_taken(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole paths and addresses of any kind stay as they are."""
    monkeypatch.setenv("MOTIONQ_STAGING_URL", value)
    monkeypatch.setenv("MOTIONQ_RESULTS_URL", value)
    assert (load().staging, load().results) == (value, value)


@pytest.mark.parametrize("value", ["none", "NONE", "None"])
def test_the_word_none_is_no_folder(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However it is written, it means that only the vendor's addresses are kept."""
    monkeypatch.setenv("MOTIONQ_RESULTS_URL", value)
    assert load().results == "none"


def test_the_data_folder_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """$XDG_STATE_HOME/motionq, else ~/.local/state/motionq."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert load().data_dir == tmp_path / "motionq"

    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert load().data_dir == Path("/home/somebody/.local/state/motionq")


@pytest.mark.parametrize(
    ("concurrency", "transfers", "at_once"),
    [(32, 16, 16), (32, 32, 24), (8, 16, 6), (4, 16, 3), (2, 16, 1), (1, 16, 1), (8, 2, 2)],
)
def test_threads_are_kept_for_purchases_and_looks(concurrency: int, transfers: int, at_once: int) -> None:
    """Slow files never take every thread, but where there is only one."""
    assert Settings(concurrency=concurrency, transfers=transfers).transfers_at_once == at_once
