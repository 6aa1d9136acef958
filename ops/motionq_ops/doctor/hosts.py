"""The vendor's two hosts: can they be reached from here? Nothing is bought, and no key is sent."""

from __future__ import annotations

from motionq.contract.settings import Settings
from motionq_ops.doctor.findings import Finding, error, ok, warning
from motionq_ops.doctor.web import Exchange, exchange, host_of

_MENDS = {
    "name": "check the spelling of {setting} and this machine's DNS: getent hosts {host}",
    "connection": "allow outgoing connections to {host} in the firewall, or set HTTPS_PROXY",
    "tls": "install the certificates of your proxy or host (REQUESTS_CA_BUNDLE), and see that the clock is right: "
    "curl -v https://{host}",
    "answer": "try again; look at a proxy or firewall between here and {host}",
}
_WHYS = {
    "KIE_BASE_URL": "nothing can be bought, and no generation can be followed",
    "KIE_UPLOAD_BASE_URL": "no file can be uploaded, so no new job gets ready",
}
_FAILS = {
    "name": "its name has no address",
    "connection": "it can't be connected",
    "tls": "its TLS certificate or handshake is refused",
    "answer": "it gives no answer",
}


def look_at_hosts(settings: Settings) -> dict[str, tuple[str, Exchange]]:
    """Setting -> (its address, how far `GET /` came)."""
    urls = {"KIE_BASE_URL": settings.kie_base_url, "KIE_UPLOAD_BASE_URL": settings.kie_upload_base_url}
    patience = {"connect": settings.connect_timeout, "read": settings.read_timeout}
    return {name: (url, exchange(url, "/", method="GET", **patience)) for name, url in urls.items()}


def judge_host(setting: str, url: str, seen: Exchange) -> Finding:
    """Any answer of HTTP will do: the path that was asked for means nothing to the vendor."""
    host = host_of(url)
    if seen.failed:
        mend = _MENDS[seen.failed].format(setting=setting, host=host)
        what = f"{setting}, {host}: {_FAILS[seen.failed]}" + (f" ({seen.words})" if seen.words else "")
        return error("vendor", what, why=_WHYS[setting], mend=mend)
    way = ", through a proxy" if seen.proxied else ""
    if seen.status >= 500:
        why = "it may be in maintenance; jobs wait until it answers well"
        return warning("vendor", f"{setting}, {host}: HTTP {seen.status}{way}", value=seen.status, limit=499, why=why,
                       mend="wait, and look at https://kie.ai")  # fmt: skip
    return ok("vendor", f"{setting}, {host}: it answers{way}", value=seen.status)
