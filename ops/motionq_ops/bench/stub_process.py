"""The stub vendor as a child process, and what it counted."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from typing import Any, Self

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class StubVendor:
    """Use in a `with`. `latency`: seconds per answer; `upload`: seconds that an upload takes at the vendor."""

    def __init__(self, latency: float = 0.1, upload: float = 0.0) -> None:
        self.url = ""
        self._options = (f"--latency={latency}", f"--upload={upload}")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "motionq_ops.bench.stub", *self._options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        return self

    def __exit__(self, *_: object) -> None:
        process, self._process = self._process, None
        if process and process.stdin and process.stdout:
            process.stdin.close()
            process.wait()
            process.stdout.close()

    @property
    def pid(self) -> int:
        """Its process ID; 0 when it does not run."""
        return self._process.pid if self._process else 0

    def begin(self) -> None:
        """Count anew."""
        self._get("/stub/begin")

    def report(self, interval: float) -> dict[str, Any]:
        """What was counted since `begin`; see `stub_figures.Looks.report`."""
        return self._get(f"/stub/report?{interval}")

    def open_uploads(self) -> int:
        """How many uploads are on their way."""
        return int(self._get("/stub/asked")["open_uploads"])

    def asked(self) -> int:
        """How many different tasks were looked at since `begin`."""
        return int(self._get("/stub/asked")["asked"])

    def _get(self, path: str) -> dict[str, Any]:
        with _DIRECT.open(self.url + path, timeout=60) as answer:
            found: dict[str, Any] = json.load(answer)
        return found
