"""Settings that are well-formed and still wrong together, or against the vendor's limits (vendor's pages)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from motionq.contract.settings import Settings
from motionq_ops.doctor.findings import Finding, error, ok, warning
from motionq_ops.doctor.web import host_of

VENDOR_RATE, VENDOR_WINDOW = 20, 10.0  # createTask calls in so many seconds, per account
VENDOR_KEEPS = 86_400.0  # seconds for which the vendor keeps an uploaded file
_SLOT_HELD = 1500.0  # seconds an unknown purchase holds its slot (worker: decisions.py)
_DAY, _HOUR = 86_400.0, 3600.0
_PAIRS = (("MOTIONQ_REDIS_URL", "REDIS_URL"), ("MOTIONQ_PUBLIC_BASE_URL", "PUBLIC_BASE_URL"))


def judge_settings(settings: Settings, environment: Mapping[str, str], *, vendor: str | None) -> list[Finding]:
    """`vendor`: the host for which the jobs on the server are meant; None: not known."""
    found = [
        *_vendor(settings, vendor),
        *_limits(settings),
        *_patience(settings),
        *_places(settings),
        *_twice(environment),
    ]
    return found or [ok("settings", "no mistake found")]


def _vendor(settings: Settings, vendor: str | None) -> Iterator[Finding]:
    ours = {name: local(host_of(url)) for name, url in _vendor_urls(settings).items()}
    if len(set(ours.values())) > 1:
        yield error(
            "settings",
            "KIE_BASE_URL and KIE_UPLOAD_BASE_URL name different vendors: a stand-in and the real one",
            why="files are uploaded to one and bought at the other: every job fails, and may be charged",
            mend="set both, or neither",
        )
    for name, url in _vendor_urls(settings).items():
        if url.startswith("http://") and not ours[name]:
            yield error(
                "settings", f"{name} is without TLS", value="http", limit="https", why="the key goes over the net in "
                "the clear", mend=f"set {name} to https://{host_of(url)}",
            )  # fmt: skip
    host = host_of(settings.kie_base_url)
    if vendor not in (None, host):
        yield error(
            "settings",
            f"the jobs on this server are for {vendor}, and KIE_BASE_URL is {host}",
            why="play jobs would be bought for money, or paid ones be answered by a stand-in; workers refuse to start",
            mend="let them end, or use another MOTIONQ_NAMESPACE",
        )


def _vendor_urls(settings: Settings) -> dict[str, str]:
    return {"KIE_BASE_URL": settings.kie_base_url, "KIE_UPLOAD_BASE_URL": settings.kie_upload_base_url}


def _limits(settings: Settings) -> Iterator[Finding]:
    many, window = settings.submit_rate
    burst = most_in(VENDOR_WINDOW, many, window)
    if burst > VENDOR_RATE:
        yield error(
            "settings",
            f"MOTIONQ_SUBMIT_RATE {many}/{window:g}s allows {burst} purchases in {VENDOR_WINDOW:g} s",
            value=burst,
            limit=VENDOR_RATE,
            why="kie.ai answers 429 and the gate closes for a while, again and again",
            mend=f"set MOTIONQ_SUBMIT_RATE={VENDOR_RATE}/{VENDOR_WINDOW:g}s",
        )
    if settings.max_credits_per_day == 0:
        why, mend = "nothing is ever bought", "raise it, or leave it out"
        yield warning("settings", "MOTIONQ_MAX_CREDITS_PER_DAY is 0", value=0, why=why, mend=mend)
    if settings.transfers > settings.transfers_at_once or settings.concurrency == 1:
        yield warning(
            "settings",
            f"MOTIONQ_CONCURRENCY {settings.concurrency} is too small for MOTIONQ_TRANSFERS {settings.transfers}",
            value=settings.transfers,
            limit=settings.transfers_at_once,
            why="a quarter of the threads is kept for purchases and checks"
            if settings.concurrency > 1
            else "purchases and checks wait for each file that moves",
            mend=f"set MOTIONQ_CONCURRENCY to {2 * settings.transfers}, or MOTIONQ_TRANSFERS lower",
        )


def most_in(seconds: float, many: int, window: float) -> int:
    """How many purchases a rate of `many` per `window` seconds lets through in so many seconds."""
    return many if window >= seconds else many * int(-(-seconds // window))


def _patience(settings: Settings) -> Iterator[Finding]:
    if settings.upload_ttl >= VENDOR_KEEPS:
        yield error(
            "settings",
            "MOTIONQ_UPLOAD_TTL is not shorter than kie.ai keeps files",
            value=settings.upload_ttl,
            limit=VENDOR_KEEPS,
            why="jobs are bought with files that are gone, and fail",
            mend="set MOTIONQ_UPLOAD_TTL=20h",
        )
    shortest = {
        "MOTIONQ_UNKNOWN_WINDOW": (settings.unknown_window, _SLOT_HELD, "45m", "a callback may come later than that"),
        "MOTIONQ_RUN_LIMIT": (settings.run_limit, _HOUR, "24h", "a slow generation is given up, and still charged"),
        "MOTIONQ_JOB_TTL": (settings.job_ttl, _DAY, "30d", "results and idempotency keys are forgotten so soon"),
    }
    for name, (value, limit, usual, why) in shortest.items():
        if value < limit:
            yield warning(
                "settings",
                f"{name} is short: {value:g} s",
                value=value,
                limit=limit,
                why=why,
                mend=f"set {name}={usual}",
            )
    if settings.tick > 10:
        why, mend = "each step of a job begins that much later", "leave MOTIONQ_TICK out (0.5s)"
        yield warning("settings", "MOTIONQ_TICK is long", value=settings.tick, limit=10, why=why, mend=mend)


def _places(settings: Settings) -> Iterator[Finding]:
    server = urlsplit(settings.redis_url.get_secret_value()) if settings.redis_url else None
    if server is None or server.scheme == "unix" or local(server.hostname or ""):
        return
    if not settings.staging_url:
        yield warning(
            "settings",
            "MOTIONQ_STAGING_URL is this machine's folder, and the queue's server is elsewhere",
            value=settings.staging,
            why="workers on other machines do not find the files: their jobs fail",
            mend="set MOTIONQ_STAGING_URL to storage that producers and all workers reach (s3://…, a shared folder)",
        )
    if not server.password:
        yield warning(
            "settings",
            "REDIS_URL has no password",
            why="whoever reaches the server reads every job, and can have the account buy",
            mend="give the server a password or a list of users, and write redis://USER:PASSWORD@HOST/0",
        )


def _twice(environment: Mapping[str, str]) -> Iterator[Finding]:
    for name, other in _PAIRS:
        if environment.get(name) and environment.get(other) and environment[name] != environment[other]:
            yield warning(
                "settings",
                f"{name} and {other} say different things",
                why=f"motionq takes {name}; another program that reads {other} works elsewhere",
                mend=f"unset {other}",
            )


def local(host: str) -> bool:
    """This machine, or a name of a private network without a dot, such as a service of docker compose."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return "." not in host or host.endswith(".localhost")
