"""Fenced blocks of Markdown pages, and one shell in which they run one after the other, as in a reader's terminal."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import textwrap
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[a-z]*)\n(?P<text>.*?)^(?P=indent)```$", re.M | re.S)
_SHUT = re.compile(r"^ *```", re.M)
_INLINE = re.compile(r"`([^`\n]+)`")
_DONE = "-- done --"


@dataclass(frozen=True)
class Block:
    """A fenced block; `line`: where its fence opens, from 1."""

    page: str
    line: int
    language: str
    text: str

    @property
    def first(self) -> str:
        """Its first line without the comment behind it, by which tables name it."""
        return self.text.splitlines()[0].split("  #")[0].strip()

    def __str__(self) -> str:
        return f"{self.page}:{self.line} ({self.first})"


def blocks(page: str) -> list[Block]:
    """Every fenced block of a page of this repository. Raises AssertionError where a fence is not read."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = [
        Block(page, text.count("\n", 0, m.start()) + 1, m["language"], textwrap.dedent(m["text"]))
        for m in _FENCE.finditer(text)
    ]
    assert 2 * len(found) == len(_SHUT.findall(text)), f"{page}: a fence is not closed, or its language is not a word"
    return found


def files_of(page: str, name: str) -> list[str]:
    """The blocks of a page that are a file: their first line is a comment that begins with its name."""
    return [block.text for block in blocks(page) if re.match(rf"# {re.escape(name)}\b", block.text)]


def inline_code(page: str) -> Iterator[str]:
    """What stands between single backticks, outside fenced blocks."""
    text = _FENCE.sub("", (ROOT / page).read_text(encoding="utf-8"))
    yield from _INLINE.findall(text)


class Shell:
    """A bash that stops at the first command that fails (`set -e`), as long as the `with` lasts."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._script = folder.parent / "block.sh"
        self._process = subprocess.Popen(
            ["bash", "--norc"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._say("set -e")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()

    def run(self, text: str, timeout: float = 60.0) -> str:
        """Run a block in the shell's present state; what it wrote. Raises AssertionError when a command fails."""
        assert self._process.stdout
        self._script.write_text(text, encoding="utf-8")
        said: list[str] = []
        patience = threading.Timer(timeout, self._kill)
        patience.start()
        try:
            self._say(f". {self._script} </dev/null; printf '\\n%s\\n' '{_DONE}'")
            for line in self._process.stdout:
                if line == f"{_DONE}\n":
                    return "".join(said)
                said.append(line)
        finally:
            patience.cancel()
            patience.join()
        raise AssertionError(f"it failed, or took longer than {timeout:g} s:\n{text}\n--\n{''.join(said)}")

    def _say(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def _kill(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
