"""docs/redis-keys.md against a real server: a worker takes a job through its life, and every key is on the page."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from motionq.contract.job import Job
from motionq.contract.keys import Keys
from motionq.contract.record import PurchaseLine
from motionq.contract.states import State
from support import eventually
from support.stack import Stack

PAGE = (Path(__file__).parents[2] / "docs" / "redis-keys.md").read_text(encoding="utf-8")
_NOT_KEYS = {"for_lua", "queue", "queue_name", "kombu_prefix"}
# What a job that succeeded at once never has.
# Kept only while a job needs them, or only where they say something.
_BRIEF = {"armed_under", "durable_at", "estimate", "sender", "sent_until", "parent"}
_ABSENT = {"failure", "generations", "contents", "priority"} | _BRIEF


def _rows(heading: str) -> list[list[str]]:
    """The cells of the first table after a line, without its header."""
    lines = iter(PAGE.partition(heading)[2].splitlines())
    table: list[list[str]] = []
    for line in lines:
        if line.startswith("|"):
            table.append([cell.strip() for cell in line.strip("|").split("|")])
        elif table:
            break
    assert len(table) > 2, heading
    return table[2:]


def _name(cell: str) -> str:
    return cell.strip("`")


def _pattern(name: str) -> re.Pattern[str]:
    """`<word>` stands for one part of a name, `…` for anything."""
    escaped = re.escape(name).replace("…", ".*")
    return re.compile(re.sub(r"<[a-z0-9]+>", "[^:]+", escaped))


KEYS = {_name(row[0]): row for row in _rows("\n## Keys\n")}
CELERYS = [_pattern(_name(row[0])) for row in _rows("\n## Celery's own\n")]
FIELDS = [_name(row[0]) for row in _rows("\n## The record of a job\n")]
PURCHASE_FIELDS = [_name(row[0]) for row in _rows("\nA purchase has these fields:\n")]


class Life:
    """What was seen while a job lived: each key with its type, and the record at the end."""

    def __init__(self, stack: Stack) -> None:
        self.types: dict[str, str] = {}
        self._redis: Any = stack.redis
        self.job: Job = stack.submit(
            prompt="a bow", labels={"a": "b"}, idempotency_key="k", deadline=timedelta(hours=1)
        )
        eventually(lambda: self._look() and stack.store.get(self.job.id).state in ("succeeded", "failed"), 60)
        self.record = dict(stack.redis.hgetall(stack.keys.job(self.job.id)))

    def _look(self) -> bool:
        for name in self._redis.keys("*"):
            kind = self._redis.type(name)
            if kind != "none":
                self.types[name] = kind
        return True

    def documented(self, name: str) -> list[str]:
        """The rows of the page that a key matches."""
        return [known for known in KEYS if _pattern(known).fullmatch(name)]


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """One job, from end to end, on a stack of its own."""
    with Stack(tmp_path_factory.mktemp("stack")) as stack:
        yield Life(stack)


def test_the_page_names_exactly_the_keys_of_the_code() -> None:
    """Each name that contract/keys.py can build is a row, and each row is such a name."""
    keys, built = Keys("motionq"), set()
    for name, member in inspect.getmembers(Keys):
        if name.startswith("_") or name in _NOT_KEYS or name == "namespace":
            continue
        arguments = ["<x>"] * (len(inspect.signature(member).parameters) - 1) if callable(member) else []
        made = getattr(keys, name)(*arguments) if callable(member) else getattr(keys, name)
        built.add(re.sub(r":[0-9a-f]{64}$", ":<x>", made))

    assert {re.sub("<[a-z0-9]+>", "<x>", name) for name in KEYS} == built


def test_every_key_on_the_server_is_on_the_page(lived: Life) -> None:
    """Whatever lay on the server while the job lived is one documented key of the documented type, or kombu's own."""
    ours = {n: kind for n, kind in lived.types.items() if not any(p.fullmatch(n) for p in CELERYS)}

    assert {name: lived.documented(name) for name in ours if len(lived.documented(name)) != 1} == {}
    wrong = {name: kind for name, kind in ours.items() if KEYS[lived.documented(name)[0]][1] != kind}
    assert wrong == {}


def test_every_key_on_the_page_is_on_the_server_or_transient(lived: Life) -> None:
    """A row that nothing writes any more is found: each was seen, or says that it is transient."""
    seen = {row for name in lived.types for row in lived.documented(name)}
    lasting = {name for name, row in KEYS.items() if not row[4].startswith("transient")}

    assert lasting - seen == set()
    assert len(lasting) >= 8


def test_every_field_of_the_record_is_on_the_page(lived: Life) -> None:
    """The record of a real job has the documented fields, all of them, and no others."""
    assert lived.record["state"] == State.SUCCEEDED
    assert set(lived.record) - set(FIELDS) == set()
    assert set(FIELDS) - set(lived.record) == _ABSENT
    assert len(FIELDS) == len(set(FIELDS))


def test_every_field_of_a_purchase_is_on_the_page(lived: Life) -> None:
    """The page lists what the code reads; what is on record is among it."""
    assert set(PURCHASE_FIELDS) == set(PurchaseLine.__dataclass_fields__)
    (bought,) = json.loads(lived.record["purchases"])
    assert set(bought) == set(PURCHASE_FIELDS) - {
        "armed_at",
        "nameless_at",
        "suspect_at",
        "candidate",
        "refusal",
        "unchecked",
    }
    assert bought["status"] == "paid"


def test_the_worked_example_is_of_this_version(lived: Life) -> None:
    """What the example shows of a record are its fields, with state, task ID and result, in the form of a real one."""
    example = PAGE.partition("HGETALL motionq:job:")[2].partition("…\n$")[0].splitlines()[1:]
    shown = dict(line.split(maxsplit=1) for line in example)

    assert set(shown) <= set(FIELDS)
    assert {"state", "task_id", "result", "purchases"} <= set(shown)
    assert json.loads(shown["result"]).keys() == json.loads(lived.record["result"]).keys()
    assert json.loads(shown["purchases"])[0].keys() == json.loads(lived.record["purchases"])[0].keys()
    assert json.loads(shown["spec"]).keys() == json.loads(lived.record["spec"]).keys()
