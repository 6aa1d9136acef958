"""`docker` as far as the runbook's commands for Compose need it: processes of a ComposeStack in the containers' place.

`terminal` makes a bash in which `docker` is this file. It needs the standard library alone, as each command starts it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from support.compose_stack import ComposeStack
    from support.documents import Shell

_STACK = "TESTS_COMPOSE_STACK"  # names the file with the stack, for the process that plays docker


def terminal(stack: ComposeStack, home: Path) -> Shell:
    """A bash in the folder `home` with `docker` for the stack; use it in a `with`."""
    from support.documents import Shell

    programs = home.parent / "programs"
    programs.mkdir()
    (programs / "docker").write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "{__file__}" "$@"\n', encoding="utf-8")
    (programs / "docker").chmod(0o755)
    known = {
        name: {
            "environment": stack.environment(name),
            "replacements": stack.replacements(service),
            "log": str(stack.log(name)),
        }
        for name, service in stack.services.items()
    }
    (programs / "stack.json").write_text(json.dumps(known), encoding="utf-8")
    path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return Shell(home, {"PATH": path, "HOME": str(home), _STACK: str(programs / "stack.json")})


class Engine:
    """What runs: the services of the stack, and what `docker compose run -d` has started."""

    def __init__(self) -> None:
        path = Path(os.environ[_STACK])
        self._services: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        self._started = path.parent

    def config(self, words: list[str]) -> int:
        """`docker compose config --services`."""
        assert words == ["--services"]
        print("\n".join(self._services))
        return 0

    def compose_logs(self, words: list[str]) -> int:
        """`docker compose logs --no-log-prefix SERVICE…`."""
        assert words[0] == "--no-log-prefix"
        for name in words[1:]:
            sys.stdout.write(Path(self._services[name]["log"]).read_text(encoding="utf-8"))
        return 0

    def compose_exec(self, words: list[str]) -> int:
        """`docker compose exec -T SERVICE WORD…`."""
        assert words[0] == "-T"
        return self._run(words[1], words[2:], {}, []).wait()

    def run(self, words: list[str]) -> int:
        """`docker compose run …`: beside the service's containers, in the same environment, on the same volumes."""
        reads = argparse.ArgumentParser(allow_abbrev=False)
        for flag in ("--rm", "--no-deps", "-T", "-d"):
            reads.add_argument(flag, action="store_true")
        for option in ("--name", "--entrypoint", "-w"):
            reads.add_argument(option)
        for option in ("-v", "-e"):
            reads.add_argument(option, action="append", default=[])
        reads.add_argument("service")
        reads.add_argument("words", nargs=argparse.REMAINDER)
        asked = reads.parse_args(words)

        more = [(rf"(?<![\w.]){re.escape(target)}(?![\w.])", source) for source, target in map(_mount, asked.v)]
        given = dict(pair.split("=", 1) for pair in asked.e)
        command = [*([asked.entrypoint] if asked.entrypoint else []), *asked.words]
        process = self._run(asked.service, command, given, more, folder=asked.w, log=asked.name)
        if not asked.d:
            return process.wait()
        (self._started / f"{asked.name}.pid").write_text(str(process.pid), encoding="utf-8")
        print(asked.name)
        return 0

    def exec(self, words: list[str]) -> int:
        """`docker exec NAME WORD…`: only in what was started from the service redis."""
        assert self._state(words[0])
        return self._run("redis", words[1:], {}, []).wait()

    def top(self, words: list[str]) -> int:
        """`docker top NAME`: fails when it has ended."""
        return 0 if self._state(words[0]) else 1

    def logs(self, words: list[str]) -> int:
        """`docker logs --tail N NAME`."""
        _, lines, name = words
        said = (self._started / f"{name}.log").read_text(encoding="utf-8").splitlines()
        print("\n".join(said[-int(lines) :]))
        return 0

    def rm(self, words: list[str]) -> int:
        """`docker rm -f -v NAME`."""
        *options, name = words
        assert options == ["-f", "-v"]
        if self._state(name):
            os.kill(self._pid(name), signal.SIGKILL)
        (self._started / f"{name}.pid").unlink()
        return 0

    def _pid(self, name: str) -> int:
        return int((self._started / f"{name}.pid").read_text(encoding="utf-8"))

    def _state(self, name: str) -> bool:
        """Whether it runs."""
        asked = subprocess.run(["ps", "-o", "stat=", "-p", str(self._pid(name))], capture_output=True, text=True)
        return asked.returncode == 0 and not asked.stdout.startswith("Z")

    def _run(
        self,
        service: str,
        words: list[str],
        given: dict[str, str],
        more: list[tuple[str, str]],
        folder: str | None = None,
        log: str | None = None,
    ) -> subprocess.Popen[bytes]:
        known = self._services[service]
        replacements = [*more, *known["replacements"], (r"motionq-check(?=:\d)", "127.0.0.1")]

        def here(text: str) -> str:
            for pattern, ours in replacements:
                text = re.sub(pattern, ours, text)
            return text

        output = (self._started / f"{log}.log").open("wb") if log else None
        return subprocess.Popen(
            [here(word) for word in words],
            env=known["environment"]
            | {name: here(value) for name, value in given.items()}
            | {"PATH": os.environ["PATH"]},
            cwd=here(folder) if folder else None,
            stdout=output,
            stderr=output,
        )


def _mount(text: str) -> tuple[str, str]:
    source, target, *_ = text.split(":")
    return source, target


def main(words: list[str]) -> int:
    """Do what the words ask for; the exit code. Raises KeyError, AssertionError for what is not known here."""
    engine = Engine()
    if words[0] == "compose":
        verbs = {"config": engine.config, "logs": engine.compose_logs, "exec": engine.compose_exec, "run": engine.run}
        return verbs[words[1]](words[2:])
    return {"exec": engine.exec, "top": engine.top, "logs": engine.logs, "rm": engine.rm}[words[0]](words[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
