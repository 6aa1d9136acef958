"""docs/python.md says what `motionq` exports, and how it is called."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from pathlib import Path

import pytest

import motionq
from motionq import GateStatus, Job, MotionQueue, MotionQueueError

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")


def _first_cells(heading: str) -> list[str]:
    """The first column of the table under a heading, without its quotes."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    cells = [line.split("|")[1].strip() for line in section.splitlines() if line.startswith("| `")]
    return [cell.strip("`") for cell in cells]


def _written(function: object, name: str) -> str:
    """A call as the page writes it: names and defaults, no types."""
    parts, keyword_only = [], False
    for p in inspect.signature(function).parameters.values():  # type: ignore[arg-type]
        if p.name == "self":
            continue
        if p.kind is p.KEYWORD_ONLY and not keyword_only:
            keyword_only = True
            parts.append("*")
        parts.append(p.name if p.default is p.empty else f"{p.name}={p.default!r}")
    return f"{name}({', '.join(parts)})"


def test_the_exported_names_are_those_of_the_page() -> None:
    """`__all__` is sorted and exactly the table, and nothing public is importable beside it but modules."""
    assert sorted(_first_cells("Names")) == motionq.__all__
    beside = {n for n in dir(motionq) if not n.startswith("_") and not inspect.ismodule(getattr(motionq, n))}
    assert beside == set(motionq.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Queue'"):
        motionq.Queue  # noqa: B018


@pytest.mark.parametrize("name", motionq.__all__)
def test_each_name_says_what_it_is(name: str) -> None:
    """Each exported name can be imported, and has a docstring of its own."""
    exported = getattr(motionq, name)
    assert inspect.isclass(exported)
    assert exported.__doc__ != exported.__base__.__doc__
    assert (exported.__doc__ or "").strip()


def test_the_queue_is_called_as_the_page_says() -> None:
    """Public methods, their arguments and defaults: all are documented, and none that is gone."""
    methods = {name: m for name, m in vars(MotionQueue).items() if inspect.isfunction(m) and not name.startswith("_")}
    calls = [_written(MotionQueue.__init__, "MotionQueue"), *(_written(m, name) for name, m in methods.items())]

    assert sorted(_first_cells("MotionQueue")) == sorted(calls)
    others = {name for name in vars(MotionQueue) if not name.startswith("_")} - set(methods)
    assert others == {"store"}
    assert "`store`" in PAGE


def test_a_job_has_the_attributes_of_the_page() -> None:
    """Fields, properties and methods of `Job`, in their order."""
    own = [name for name in vars(Job) if not name.startswith("_") and name not in (*Job.model_fields, "model_config")]
    members = [*Job.model_fields, *(_written(vars(Job)[n], n) if inspect.isfunction(vars(Job)[n]) else n for n in own)]

    assert _first_cells("Job") == members


def test_the_gate_has_the_attributes_of_the_page() -> None:
    """Fields and methods of `GateStatus`."""
    written = _written(GateStatus.to_json, "to_json")
    assert sorted(_first_cells("GateStatus")) == sorted([*(f.name for f in fields(GateStatus)), written])


def test_the_tree_of_errors_is_drawn_right() -> None:
    """Every error is under its root; the marks beside it name attributes it has and builtins it also is."""
    drawn = dict(re.findall(r"^[├└]── (\w+) *(.*)$", PAGE, flags=re.MULTILINE))
    errors = {n: e for n in motionq.__all__ if issubclass(e := getattr(motionq, n), MotionQueueError)}

    assert set(drawn) | {"MotionQueueError"} == set(errors)
    for name, marks in drawn.items():
        assert errors[name].__bases__[0] is MotionQueueError
        source = inspect.getsource(errors[name])
        assert re.findall(r"self(\.\w+) =", source) == re.findall(r"\.\w+", marks), name
        builtin = re.findall(r"also a (\w+)", marks)
        assert [b.__name__ for b in errors[name].__bases__[1:]] == builtin, name
