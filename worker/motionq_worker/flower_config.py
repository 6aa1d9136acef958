"""How Flower shows motionq, so that a bare `celery -A motionq_worker.app flower` is right.

Flower reads FLOWER_… from the environment after it has imported the Celery app and before its configuration file and
its command line (flower 2.2, `command.py`): what is set here gives way to all of them. FLOWER_PORT stays Flower's own.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from contextlib import suppress
from pathlib import Path

# The arguments tell which job a row belongs to, the result what happened.
_COLUMNS = "name,uuid,state,args,result,received,runtime,worker"
_MAX_TASKS = 50_000  # rows kept in memory; a job has four, and a check row may stand for 200 looks
_SAVE_MS = 30_000  # between two writes of the rows to disk (Flower wants a write to take less than a tenth of it)


def options(data_dir: Path) -> dict[str, str]:
    """Flower's options as environment variables.

    Loopback and read-only: its pages have no login, and a task is a mere wake-up, so that revoking one helps nobody.
    """
    return {
        "FLOWER_ADDRESS": "127.0.0.1",
        "FLOWER_READ_ONLY": "true",
        "FLOWER_TASKS_COLUMNS": _COLUMNS,
        "FLOWER_MAX_TASKS": str(_MAX_TASKS),
        "FLOWER_PERSISTENT": "true",
        "FLOWER_STATE_SAVE_INTERVAL": str(_SAVE_MS),
        "FLOWER_DB": str(_database(data_dir)),
    }


def prepare(arguments: Sequence[str], environment: MutableMapping[str, str], data_dir: Path) -> None:
    """Set what nobody has set, if this process is about to run Flower (`arguments` is its command line)."""
    if "flower" not in arguments:
        return
    for name, value in options(data_dir).items():
        environment.setdefault(name, value)
    with suppress(OSError):  # Flower says so itself when it can't write there
        _database(data_dir).parent.mkdir(parents=True, exist_ok=True)


def _database(data_dir: Path) -> Path:
    return data_dir / "flower" / "tasks"
