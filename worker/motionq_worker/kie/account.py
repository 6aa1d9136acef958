"""One account at kie.ai: where the vendor is, which key opens it, how long to wait. Plain values, no connection."""

from __future__ import annotations

import os
import re
import ssl
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from pydantic import SecretStr
from requests.utils import DEFAULT_CA_BUNDLE_PATH

USER_AGENT = f"motionq/{version('motionq')}"
_DEFAULT_PORTS = {"http": 80, "https": 443}
_PRINTABLE = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True)
class Origin:
    """The parts of a base address: `https://host:port/prefix`."""

    scheme: str
    host: str
    port: int
    prefix: str

    @classmethod
    def parse(cls, base_url: str) -> Origin:
        """Split an address; ValueError unless it is http(s) with a host and without user, query or fragment."""
        if not _PRINTABLE.fullmatch(base_url):
            raise ValueError("a base address of kie.ai must be printable ASCII without blanks")
        parts = urlsplit(base_url)
        bare = not (parts.username or parts.password or parts.query or parts.fragment)
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or not bare:
            raise ValueError("a base address of kie.ai must look like https://host or https://host:port/prefix")
        try:
            port = parts.port or _DEFAULT_PORTS[parts.scheme]
        except ValueError:
            raise ValueError("the port of a base address of kie.ai must be a number up to 65535") from None
        return cls(parts.scheme, parts.hostname, port, parts.path.rstrip("/"))

    @property
    def authority(self) -> str:
        """Value of the Host header: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The address, in one form."""
        return f"{self.scheme}://{self.authority}{self.prefix}"


def proxy_for(origin: Origin) -> str | None:
    """The proxy that the environment names for an https address (HTTPS_PROXY, NO_PROXY), or None.

    Plain http addresses are stand-ins on the same machine or network: they never go through a proxy.
    """
    if origin.scheme != "https" or proxy_bypass(origin.host):
        return None
    proxies = getproxies()
    return proxies.get("https") or proxies.get("all") or None


def trusted_certificates() -> ssl.SSLContext:
    """Verify against the machine's certificates (SSL_CERT_FILE too), the packaged ones, and REQUESTS_CA_BUNDLE."""
    context = ssl.create_default_context()
    context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
    if extra := os.environ.get("REQUESTS_CA_BUNDLE"):
        context.load_verify_locations(extra)
    context.set_alpn_protocols(["http/1.1"])
    return context


@dataclass(frozen=True)
class KieAccount:
    """Plain values that every client of this account shares. Times are in seconds."""

    base_url: str
    upload_base_url: str
    api_key: SecretStr
    connect_timeout: float
    read_timeout: float

    def __post_init__(self) -> None:
        """Refuse what could not be sent: ValueError with the setting's name, and without the key in its words."""
        for name, url in (("KIE_BASE_URL", self.base_url), ("KIE_UPLOAD_BASE_URL", self.upload_base_url)):
            try:
                Origin.parse(url)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        if not _PRINTABLE.fullmatch(self.api_key.get_secret_value()):
            raise ValueError("KIE_API_KEY: must be printable ASCII without blanks")
        if not (self.connect_timeout > 0 and self.read_timeout > 0):
            raise ValueError("time-outs must be above 0 seconds")

    @cached_property
    def api(self) -> Origin:
        """Where tasks are made and read."""
        return Origin.parse(self.base_url)

    @cached_property
    def uploads(self) -> Origin:
        """Where files go."""
        return Origin.parse(self.upload_base_url)

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """One verifying context, loaded at the first https connection and shared by all."""
        return trusted_certificates()

    @property
    def authorization(self) -> str:
        """The header that carries the key: keep it out of logs."""
        return f"Bearer {self.api_key.get_secret_value()}"
