"""Findings on paper: a table for people, one JSON object for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from motionq.output import clean
from motionq.tables import render
from motionq_ops.doctor.findings import Finding, Level, worst

_STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.ERROR: "red"}


def table_of(findings: Sequence[Finding]) -> str:
    """One line for each finding; below those that are not well why it matters, and how to mend it."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for name in ("LEVEL", "CHECK", "FOUND"):
        table.add_column(name, overflow="fold")
    for finding in findings:
        table.add_row(Text(finding.level, _STYLES[finding.level]), clean(finding.check), Text(clean(finding.what)))
        for word, text in (("why: ", finding.why), ("mend: ", finding.mend)):
            if text:
                table.add_row("", "", Text.assemble(("  " + word, "dim"), clean(text)))
    return f"{render(table)}\n\n{summary(findings)}"


def summary(findings: Sequence[Finding]) -> str:
    """How many of each level, the worst first."""
    counts = [(sum(finding.level is level for finding in findings), level) for level in reversed(Level)]
    words = {Level.ERROR: ("error", "errors"), Level.WARNING: ("warning", "warnings"), Level.OK: ("ok", "ok")}
    return ", ".join(f"{n} {words[level][n != 1]}" for n, level in counts if n)


def object_of(findings: Sequence[Finding]) -> dict[str, Any]:
    """The object of `--json`."""
    return {"worst": worst(findings).value, "findings": [finding.to_json() for finding in findings]}
