"""Two names for one sandbox: the vendor's files lie on other hosts than its API, and so do the sandbox's."""

from __future__ import annotations

import re

_LOOPBACK = re.compile(r"(127\.0\.0\.1|\[::1\]|localhost)(?=:\d+$|$)")


def files_host(api_host: str) -> str:
    """Return the host (with its port) of files for an API that is reached at ``api_host``.

    On the loopback interface it is the other name of the same address: ``localhost`` for ``127.0.0.1``, and the other
    way round. Elsewhere the sandbox knows no second name (``--public-url`` gives it one), and the two are the same.
    """
    return _LOOPBACK.sub(lambda name: "127.0.0.1" if name[0] == "localhost" else "localhost", api_host, count=1)
