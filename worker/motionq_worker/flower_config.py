"""How Flower shows motionq, so that a bare `celery -A motionq_worker.app flower` is right.

Flower reads FLOWER_… from the environment after it has imported the Celery app, then its configuration file, then its
command line (flower 2.2, `command.py`): what is set here gives way to all of them. docs/flower.md has the views.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import suppress
from pathlib import Path

from dotenv import dotenv_values

from motionq.contract.errors import InvalidSettings

# A step's Celery task ID begins with its job's ID; the result says what happened (flower_rows.py).
_COLUMNS = "name,uuid,state,result,received,runtime,worker"
_MAX_TASKS = 50_000  # rows kept in memory; a job has four, and a check row may stand for 200 looks
_SAVE_MS = 30_000  # between two writes of the rows to disk (Flower wants a write to take less than a tenth of it)
_ROWS = Path(__file__).with_name("flower_rows.py")
_OWN_FILE = "flowerconfig.py"  # Flower's default name of a configuration file
_SECRETS = ("FLOWER_BASIC_AUTH", "FLOWER_OAUTH2_KEY", "FLOWER_OAUTH2_SECRET", "FLOWER_COOKIE_SECRET")
_OAUTH = ("FLOWER_AUTH_PROVIDER", "FLOWER_OAUTH2_KEY", "FLOWER_OAUTH2_SECRET", "FLOWER_OAUTH2_REDIRECT_URI")
_FALSE = ("n", "no", "f", "false", "off", "0")  # Flower's own list (flower 2.2, `utils.strtobool`)


def options(data_dir: Path) -> dict[str, str]:
    """Flower's options as environment variables.

    Loopback and read-only: its pages may have no login, and revoking a task, a mere wake-up, helps nobody.
    """
    return {
        "FLOWER_ADDRESS": "127.0.0.1",
        "FLOWER_READ_ONLY": "true",
        "FLOWER_TASKS_COLUMNS": _COLUMNS,
        "FLOWER_CONF": str(_ROWS),
        "FLOWER_MAX_TASKS": str(_MAX_TASKS),
        "FLOWER_PERSISTENT": "true",
        "FLOWER_STATE_SAVE_INTERVAL": str(_SAVE_MS),
        "FLOWER_DB": str(_database(data_dir)),
    }


def prepare(arguments: Sequence[str], environment: MutableMapping[str, str], data_dir: Path) -> bool:
    """Set what nobody has set, if this process is about to run Flower; returns whether it is.

    `arguments` is its command line. FLOWER_… is read from `./.env` too, and a secret from the file that `NAME_FILE`
    names. Raises InvalidSettings for a login that would not hold, and for buttons that anybody could press.
    """
    if "flower" not in arguments:
        return False
    _complete(environment)
    if Path(_OWN_FILE).is_file():
        environment.setdefault("FLOWER_CONF", _OWN_FILE)
    for name, value in options(data_dir).items():
        environment.setdefault(name, value)
    wrong = wrong_login({**environment, **_given(arguments)})
    if wrong:
        raise InvalidSettings("; ".join(wrong))
    with suppress(OSError):  # Flower says so itself when it can't write there
        _database(data_dir).parent.mkdir(parents=True, exist_ok=True)
    return True


def secrets(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[str, ...]:
    """What Flower's logs may not show (with `--debug` it lists its options): keys, and the passwords of logins."""
    given = {**environment, **_given(arguments)}
    logins = given.get("FLOWER_BASIC_AUTH", "").split(",")
    passwords = [pair.partition(":")[2] for pair in logins]
    return tuple(value for value in (*passwords, *(given.get(name, "") for name in _SECRETS)) if value)


def prefix(environment: Mapping[str, str], folder: Path) -> str:
    """The path before that of Flower's pages, as in `/flower`; empty when there is none. Flower runs in `folder`."""
    given = environment.get("FLOWER_URL_PREFIX", _lines(folder).get("FLOWER_URL_PREFIX", ""))
    return f"/{given.strip('/')}".rstrip("/")


def wrong_login(given: Mapping[str, str]) -> list[str]:
    """What is wrong with these FLOWER_… values, one sentence each, and none of them shows a value."""
    wrong = []
    pairs = given.get("FLOWER_BASIC_AUTH", "").split(",") if "FLOWER_BASIC_AUTH" in given else []
    if not all(_is_pair(pair) for pair in pairs):
        wrong.append(
            "FLOWER_BASIC_AUTH: write user:password in ASCII, several separated by commas (so none inside a password)"
        )
    if given.get("FLOWER_CONF", str(_ROWS)) != str(_ROWS):
        return wrong  # a configuration file of one's own may hold the rest
    missing = [name for name in _OAUTH if name not in given]
    if "FLOWER_AUTH" in given and missing:
        wrong.append(f"FLOWER_AUTH: nobody could log in without {', '.join(missing)}")
    writable = given.get("FLOWER_READ_ONLY", "").lower() in _FALSE
    if writable and not pairs and "FLOWER_AUTH" not in given:
        wrong.append("FLOWER_READ_ONLY: without a login it stays on: set FLOWER_BASIC_AUTH or FLOWER_AUTH")
    return wrong


def _is_pair(text: str) -> bool:
    # Flower compares as text, which fails beyond ASCII; and an empty entry would let an empty login in.
    user, colon, password = text.partition(":")
    return text.isascii() and bool(user and colon and password)


def _complete(environment: MutableMapping[str, str]) -> None:
    """The lines of `./.env`, then secrets from files; an empty value counts as not set, as with motionq's settings."""
    for name, value in _lines(Path()).items():
        environment.setdefault(name, value)
    for name in [name for name, value in environment.items() if name.startswith("FLOWER_") and not value]:
        del environment[name]
    for name in _SECRETS:
        if (path := environment.get(f"{name}_FILE")) and name not in environment:
            environment[name] = _read(name, path)


def _lines(folder: Path) -> dict[str, str]:
    """The lines of a folder's `.env` that are for Flower."""
    path = folder / ".env"
    lines = dotenv_values(path) if path.is_file() else {}
    return {name: value for name, value in lines.items() if name.startswith("FLOWER_") and value}


def _read(name: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise InvalidSettings(f"{name}_FILE: can't read the file it names: {error.strerror}") from None


def _given(arguments: Sequence[str]) -> dict[str, str]:
    """The options of a command line, under the names of the environment; a bare `--read_only` is true."""
    pairs = (argument.lstrip("-").partition("=") for argument in arguments if argument.startswith("--"))
    return {f"FLOWER_{name.replace('-', '_').upper()}": value if equals else "true" for name, equals, value in pairs}


def _database(data_dir: Path) -> Path:
    return data_dir / "flower" / "tasks"
