"""What a worker needs of the settings, checked all at once before anything is connected."""

from __future__ import annotations

import errno
import os

from motionq.contract.errors import InvalidSettings
from motionq.contract.settings import Settings, load
from motionq.staging import open_storage, shown
from motionq_worker.decisions import Rules
from motionq_worker.kie.account import KieAccount, Origin

_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")


def load_worker() -> Settings:
    """Settings of a worker, from the environment and `./.env`. Raises InvalidSettings naming all that is wrong."""
    settings = load_account()
    check_storage(settings)
    return settings


def load_account() -> Settings:
    """The same for who only asks kie.ai: storage is not looked at, and no folder is made."""
    settings = load(dotenv=True, required=("KIE_API_KEY",))
    try:
        account(settings)
    except ValueError as error:
        raise InvalidSettings(str(error)) from None
    return settings


def check_storage(settings: Settings) -> None:
    """A worker that can't reach the storage would fail other people's jobs. Raises InvalidSettings."""
    places = {"MOTIONQ_STAGING_URL": settings.staging, "MOTIONQ_RESULTS_URL": settings.results}
    for name, url in places.items():
        if url == "none":
            continue
        fs, root = open_storage(url, setting=name)
        try:
            fs.makedirs(root, exist_ok=True)
            if "file" in fs.protocol and not os.access(root, os.R_OK | os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, "not readable and writable")
        except OSError as error:
            raise InvalidSettings(f"{name}: {shown(url)} can't be used: {error.strerror or error}") from None


def account(settings: Settings) -> KieAccount:
    """The account at kie.ai. Raises ValueError, naming the setting that can't be used."""
    if settings.kie_api_key is None:
        raise ValueError("KIE_API_KEY is not set")
    return KieAccount(
        base_url=settings.kie_base_url,
        upload_base_url=settings.kie_upload_base_url,
        api_key=settings.kie_api_key,
        connect_timeout=settings.connect_timeout,
        read_timeout=settings.read_timeout,
    )


def vendor_host(settings: Settings) -> str:
    """The host of the vendor's API."""
    return Origin.parse(settings.kie_base_url).host


def rules(settings: Settings) -> Rules:
    """What decisions depend on."""
    return Rules(
        unknown_window=settings.unknown_window,
        run_limit=settings.run_limit,
        generation_attempts=settings.generation_attempts,
        callbacks=settings.public_base_url is not None,
    )


def exempt_hosts(settings: Settings) -> frozenset[str]:
    """Hosts that may be private: the configured vendor's, at their ports alone, and those the operator trusts."""
    vendor = (Origin.parse(url) for url in (settings.kie_base_url, settings.kie_upload_base_url))
    named = (f"{host}:{origin.port}" for origin in vendor for host in _names(origin.host))
    return frozenset((*named, *settings.trusted_hosts))


def _names(host: str) -> tuple[str, ...]:
    """A stand-in on this machine hands its files out under another of this machine's names."""
    return _THIS_MACHINE if host in _THIS_MACHINE else (host,)


def submit_lease(settings: Settings) -> float:
    """Seconds after which a POST without a report is unknown: connect, read, and a margin for the write."""
    return settings.connect_timeout + settings.read_timeout + 5.0
