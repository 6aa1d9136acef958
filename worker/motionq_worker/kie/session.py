"""The kept-alive connections of the free calls. A purchase never goes through here (`connection.py`)."""

from __future__ import annotations

import ssl
import time
from functools import cached_property
from http.client import HTTPException
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from motionq_worker.kie.account import USER_AGENT, KieAccount, proxy_for, trusted_certificates
from motionq_worker.kie.connection import ANSWER_LIMIT, Answer
from motionq_worker.kie.errors import Unavailable
from motionq_worker.kie.words import error_words

_KEPT = 64  # idle connections to one host; more may be open, the surplus is closed after its call


class FreeSession(requests.Session):
    """One session for all threads of a process, so that they share connections.

    Sharing is safe: the only thing that requests changes from call to call are cookies, and none are kept.
    """

    def __init__(self, account: KieAccount) -> None:
        super().__init__()
        self.trust_env = False  # proxies come from `proxy_for`; an entry in ~/.netrc would replace the key
        self.stream = True
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        self.headers.update(
            {
                "Authorization": account.authorization,
                "User-Agent": USER_AGENT,
                "Accept": "application/json",
                "Accept-Encoding": "identity",
            }
        )
        for origin in (account.api, account.uploads):
            if proxy := proxy_for(origin):
                self.proxies[f"https://{origin.host}"] = proxy
        adapter = _Adapter(pool_maxsize=_KEPT, max_retries=0)
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Nowhere: the key goes to no other host, and the body of a redirect is not read without a limit."""

    def exchange(self, request: requests.Request, *, timeout: tuple[float, float], limit: int = ANSWER_LIMIT) -> Answer:
        """Send once and read the answer, at most `limit` bytes of it. `timeout` is (connect, read) in seconds.

        The read time-out bounds each wait for the status line and the headers, and then the body as a whole. Raises
        Unavailable, with the system's own error as its cause, when no answer began.
        """
        try:
            response = self.send(self.prepare_request(request), timeout=timeout, allow_redirects=False)
        except (OSError, HTTPError) as error:  # a few of urllib3's faults come through requests as they are
            cause = _cause(error)
            raise Unavailable(error_words(cause)) from cause
        with response:
            return _read(response, limit, time.monotonic() + timeout[1])


class _Adapter(HTTPAdapter):
    """Trusts what a purchase trusts. requests' own way would know the packaged certificates alone."""

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return trusted_certificates()  # not the account's own context: urllib3 changes settings of those it is given

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: bool | str, cert: str | tuple[str, str] | None = None
    ) -> Any:
        """Where to, and with which TLS."""
        host, options = super().build_connection_pool_key_attributes(request, verify, cert)
        if host["scheme"] == "https":
            options["ssl_context"] = self._tls
        return host, options

    def cert_verify(self, conn: object, url: object, verify: object, cert: object) -> None:
        """Nothing to add: the context verifies, and holds its certificates."""

    def close(self) -> None:
        """Close the idle connections now; requests only drops their pools, for the garbage collector to close."""
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            for pool in filter(None, map(manager.pools.get, manager.pools.keys())):
                pool.close()
        super().close()


def _read(response: requests.Response, limit: int, deadline: float) -> Answer:
    """The answer as far as it came; never raises. Compressed bodies, which nobody asked for, stay as they are."""
    body, problem = bytearray(), ""
    try:
        while len(body) <= limit and (chunk := response.raw.read1(limit + 1 - len(body), decode_content=False)):
            body += chunk
            if time.monotonic() > deadline:
                raise TimeoutError
        problem = f"the answer is longer than {limit} bytes" if len(body) > limit else ""
    except Exception as error:
        problem = error_words(_cause(error))
    return Answer(response.status_code, bytes(body), problem)


def _cause(error: BaseException) -> BaseException:
    """The system's own error beneath those of the libraries, whose texts name addresses."""
    while isinstance(error, requests.RequestException | HTTPError):
        inner = error.__cause__ or error.__context__
        if not isinstance(inner, OSError | HTTPException | HTTPError):
            break
        error = inner
    return error
