"""What a worker needs of the settings, checked all at once before anything is connected."""

from __future__ import annotations

from urllib.parse import urlsplit

from motionq.contract.settings import Settings, load
from motionq_worker.decisions import Rules
from motionq_worker.kie.account import KieAccount


def load_worker() -> Settings:
    """Settings of a worker, from the environment and `./.env`. Raises InvalidSettings naming all that is wrong."""
    return load(dotenv=True, required=("KIE_API_KEY",))


def account(settings: Settings) -> KieAccount:
    """The account at kie.ai."""
    if settings.kie_api_key is None:
        raise ValueError("KIE_API_KEY is not set")
    return KieAccount(
        base_url=settings.kie_base_url,
        upload_base_url=settings.kie_upload_base_url,
        api_key=settings.kie_api_key,
        connect_timeout=settings.connect_timeout,
        read_timeout=settings.read_timeout,
    )


def rules(settings: Settings) -> Rules:
    """What decisions depend on."""
    return Rules(
        unknown_window=settings.unknown_window,
        run_limit=settings.run_limit,
        generation_attempts=settings.generation_attempts,
        callbacks=settings.public_base_url is not None,
    )


def exempt_hosts(settings: Settings) -> frozenset[str]:
    """Hosts that may be private: the configured vendor's and those the operator trusts."""
    vendor = (urlsplit(url).hostname for url in (settings.kie_base_url, settings.kie_upload_base_url))
    return frozenset(host for host in (*vendor, *settings.trusted_hosts) if host)


def submit_lease(settings: Settings) -> float:
    """Seconds after which a POST without a report is unknown: connect, read, and a margin for the write."""
    return settings.connect_timeout + settings.read_timeout + 5.0
