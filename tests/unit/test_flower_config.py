"""What Flower is told, and which logins are refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from motionq.contract.errors import InvalidSettings
from motionq_worker import flower_config, flower_rows

BARE = ["celery", "-A", "motionq_worker.app", "flower"]
JOB = "01jc3x5k2mzq8v7w6t4r9s0abc"
OAUTH = {
    "FLOWER_AUTH": ".*@example.com",
    "FLOWER_AUTH_PROVIDER": "flower.views.auth.GithubLoginHandler",
    "FLOWER_OAUTH2_KEY": "k",
    "FLOWER_OAUTH2_SECRET": "s",
    "FLOWER_OAUTH2_REDIRECT_URI": "https://flower.example.com/login",
}


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def prepared(tmp_path: Path, *arguments: str, **environment: str) -> dict[str, str]:
    assert flower_config.prepare([*BARE, *arguments], environment, tmp_path)
    return environment


def test_a_bare_flower_gets_motionqs_options(tmp_path: Path) -> None:
    """`celery -A motionq_worker.app flower` tells what happened, keeps its rows, is for this machine and only looks."""
    environment = prepared(tmp_path, FLOWER_ADDRESS="0.0.0.0")
    assert environment == flower_config.options(tmp_path) | {"FLOWER_ADDRESS": "0.0.0.0"}
    assert environment["FLOWER_READ_ONLY"] == "true"
    assert "FLOWER_UNAUTHENTICATED_API" not in environment
    assert environment["FLOWER_TASKS_COLUMNS"] == "name,uuid,state,result,received,runtime,worker"
    assert Path(environment["FLOWER_CONF"]).read_text(encoding="utf-8") == Path(flower_rows.__file__).read_text("utf-8")
    assert Path(environment["FLOWER_DB"]).parent.is_dir()


def test_a_worker_is_left_alone_by_flowers_options(tmp_path: Path) -> None:
    """Only Flower's own process gets its options."""
    environment: dict[str, str] = {}
    assert not flower_config.prepare(["celery", "-A", "motionq_worker.app", "worker"], environment, tmp_path)
    assert environment == {}
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_a_configuration_file_of_ones_own_is_read_instead(tmp_path: Path) -> None:
    """Who has a flowerconfig.py gets it, as with any Flower."""
    Path("flowerconfig.py").write_text("natural_time = True\n", encoding="utf-8")
    assert prepared(tmp_path)["FLOWER_CONF"] == "flowerconfig.py"


def test_a_login_may_stand_in_the_file_of_settings(tmp_path: Path) -> None:
    """A login in ./.env holds: Flower alone would not read it, and be open. The environment wins."""
    Path(".env").write_text("FLOWER_BASIC_AUTH=me:pw\nFLOWER_URL_PREFIX=a\nFLOWER_MAX_TASKS=\n", encoding="utf-8")
    environment = prepared(tmp_path, FLOWER_URL_PREFIX="b")
    assert environment["FLOWER_BASIC_AUTH"] == "me:pw"
    assert environment["FLOWER_URL_PREFIX"] == "b"
    assert environment["FLOWER_MAX_TASKS"] == "50000"


def test_secrets_may_be_files(tmp_path: Path) -> None:
    """A login comes from the file that FLOWER_BASIC_AUTH_FILE names; one that can't be read stops Flower."""
    (tmp_path / "login").write_text("me:pw\n", encoding="utf-8")
    assert prepared(tmp_path, FLOWER_BASIC_AUTH_FILE=str(tmp_path / "login"))["FLOWER_BASIC_AUTH"] == "me:pw"
    with pytest.raises(InvalidSettings, match=r"^FLOWER_BASIC_AUTH_FILE: can't read the file it names: No such file"):
        prepared(tmp_path, FLOWER_BASIC_AUTH_FILE="/no/such")


def test_an_empty_value_counts_as_not_set(tmp_path: Path) -> None:
    """An empty login would let an empty login in; an empty number would end Flower with a traceback."""
    environment = prepared(tmp_path, FLOWER_BASIC_AUTH="", FLOWER_MAX_TASKS="", FLOWER_READ_ONLY="")
    assert environment == flower_config.options(tmp_path)


@pytest.mark.parametrize("login", ["me", "me:", ":pw", "me:pa,ss", "me:pw,", "me:pä"])
def test_a_login_that_would_not_hold_is_refused(tmp_path: Path, login: str) -> None:
    """A pair without a password, with a comma or beyond ASCII is refused without being shown."""
    with pytest.raises(InvalidSettings) as refused:
        prepared(tmp_path, FLOWER_BASIC_AUTH=login)
    assert str(refused.value).startswith("FLOWER_BASIC_AUTH: write user:password in ASCII")
    with pytest.raises(InvalidSettings):
        prepared(tmp_path, f"--basic-auth={login}")


@pytest.mark.parametrize("given", [{"FLOWER_BASIC_AUTH": "me:pw,you:pw2"}, OAUTH, OAUTH | {"FLOWER_READ_ONLY": "no"}])
def test_logins(tmp_path: Path, given: dict[str, str]) -> None:
    """Pairs of user and password, or one of Flower's providers; with a login the buttons may be switched on."""
    assert given.items() <= prepared(tmp_path, **given).items()


def test_half_a_provider_is_refused(tmp_path: Path) -> None:
    """With FLOWER_AUTH alone nobody could log in; all that is missing is named at once."""
    with pytest.raises(InvalidSettings) as refused:
        prepared(tmp_path, FLOWER_AUTH="me@example.com", FLOWER_OAUTH2_KEY="k")
    missing = "FLOWER_AUTH_PROVIDER, FLOWER_OAUTH2_SECRET, FLOWER_OAUTH2_REDIRECT_URI"
    assert str(refused.value) == f"FLOWER_AUTH: nobody could log in without {missing}"


@pytest.mark.parametrize(("arguments", "given"), [([], {"FLOWER_READ_ONLY": "off"}), (["--read-only=False"], {})])
def test_buttons_need_a_login(tmp_path: Path, arguments: list[str], given: dict[str, str]) -> None:
    """Flower may stop workers only for people who have logged in."""
    with pytest.raises(InvalidSettings, match=r"^FLOWER_READ_ONLY: without a login it stays on"):
        prepared(tmp_path, *arguments, **given)


@pytest.mark.parametrize(("given", "path"), [("", ""), ("flower", "/flower"), ("/a/b/", "/a/b"), ("/", "")])
def test_the_path_before_its_pages(tmp_path: Path, given: str, path: str) -> None:
    """The stack asks Flower for its health where its pages are, wherever the prefix was set."""
    assert flower_config.prefix({"FLOWER_URL_PREFIX": given}, tmp_path) == path
    (tmp_path / ".env").write_text(f"FLOWER_URL_PREFIX={given}\n", encoding="utf-8")
    assert flower_config.prefix({}, tmp_path) == path


@pytest.mark.parametrize(
    ("state", "result", "exception", "shown"),
    [
        ("SUCCESS", "'uploaded image (cached), video 5.5 MB'", None, "uploaded image (cached), video 5.5 MB"),
        ("SUCCESS", "{'done': [], 'looked': 3, 'still': 3}", None, "looked at 3, 3 still running, done: none"),
        ("SUCCESS", "{'done': ['a', 'b'], 'looked': 2, 'still': 0}", None, "looked at 2, 0 still running, done: a, b"),
        ("SUCCESS", "{'else': 3}", None, "{'else': 3}"),
        ("SUCCESS", "'cut of", None, "'cut of"),
        ("FAILURE", None, f"JobFailed('{JOB}: refused: 422 it\\'s wrong')", "refused: 422 it's wrong"),
        ("FAILURE", None, f'JobFailed("{JOB}: refused: it\'s wrong")', "refused: it's wrong"),
        ("FAILURE", None, "Defect(1)", "Defect(1)"),
        ("FAILURE", None, None, ""),
        ("RETRY", None, "Retry(Retry(...), Later('no space: again in 8 s'), None)", "no space: again in 8 s"),
        ("RETRY", None, "Later('no space: again in 8 s')", "no space: again in 8 s"),
        ("STARTED", None, None, None),
    ],
)
def test_a_row_says_what_happened(state: str, result: str | None, exception: str | None, shown: str | None) -> None:
    """A result or a reason is shown as words, without Python's quotes, class names, and the job's ID once more."""
    row = SimpleNamespace(state=state, result=result, exception=exception)
    assert flower_rows.format_task(row).result == shown
