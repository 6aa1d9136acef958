"""How the command line's help looks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup


class _Plain:
    """Typer writes `<bool>` beside each switch and `<list[str]>` beside each argument; people need neither."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, the switches and arguments among them without a type."""
        found: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for parameter in found:
            if parameter.param_type_name == "argument" or getattr(parameter, "is_flag", False):
                parameter.display_type_rich = _nothing
        return found


def _nothing(ctx: Any) -> None:
    return None


class Verb(_Plain, TyperCommand):
    """A verb of the command line."""


class Verbs(_Plain, TyperGroup):
    """Verbs under one name."""


class Program(typer.Typer):
    """A program, or a part of one, whose verbs are shown in this way."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"cls": Verbs, **options})

    def command(self, name: str | None = None, **options: Any) -> Callable[[Any], Any]:
        """As `typer.Typer.command`."""
        return super().command(name, **{"cls": Verb, **options})
