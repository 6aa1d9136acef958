"""Which addresses may be fetched, and how they are shown."""

from __future__ import annotations

import ipaddress

import pytest

from motionq.contract.redact import redact
from motionq_worker.addresses import ForbiddenAddress, check_url, is_exempt, is_public

NONE: frozenset[str] = frozenset()


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"]
)
def test_public_addresses(address: str) -> None:
    """Public addresses are public, whichever way they are written."""
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1"),
        *("224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "192.0.0.192", "168.63.129.16"),
        *("::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "fec0::1", "2001:db8::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "::ffff:168.63.129.16", "::ffff:224.0.0.1"),
        *("64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::808:808", "2002:7f00:1::1", "2002:a00:1::1"),
    ],
)
def test_other_addresses(address: str) -> None:
    """Loopback, private, link-local, metadata, multicast and reserved addresses are not, embedded ones neither."""
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "url",
    ["https://example.com/a.png", "http://example.com:8080/a?b=c", "https://8.8.8.8/x", "https://[2606:4700::1]/x"],
)
def test_public_urls_pass(url: str) -> None:
    """Well-formed http and https addresses of public hosts pass."""
    check_url(url, NONE)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("ftp://example.com/a?s=1", "ftp://example.com/a?…: only http and https addresses are fetched"),
        ("file:///etc/passwd", "(unreadable address): only http and https addresses are fetched"),
        ("https://me:pw@example.com/a", "https://example.com/a: an address with a user or password is not fetched"),
        ("https:///a", "(unreadable address): not a well-formed address"),
        ("https://example.com:99999/a", "https://example.com:99999/a: not a well-formed address"),
        ("https://example.com:0/a", "https://example.com:0/a: not a well-formed address"),
        ("https://[::1/a", "(unreadable address): not a well-formed address"),
        (
            "http://127.0.0.1/a?s=1",
            "http://127.0.0.1/a?…: 127.0.0.1 is not a public address (your own: MOTIONQ_TRUSTED_HOSTS)",
        ),
        (
            "http://[::1]:80/a",
            "http://[::1]:80/a: ::1 is not a public address (your own: MOTIONQ_TRUSTED_HOSTS)",
        ),
        (
            "http://127.1/a",
            "http://127.1/a: 127.1 is not a public address (your own: MOTIONQ_TRUSTED_HOSTS)",
        ),
        (
            "http://2130706433/a",
            "http://2130706433/a: 2130706433 is not a public address (your own: MOTIONQ_TRUSTED_HOSTS)",
        ),
        (
            "http://0x7f.1/a",
            "http://0x7f.1/a: 0x7f.1 is not a public address (your own: MOTIONQ_TRUSTED_HOSTS)",
        ),
        (
            "http://LocalHost/a",
            "http://LocalHost/a: localhost is not a public address (your own: MOTIONQ_TRUSTED_HOSTS)",
        ),
        (
            "http://redis.local./a",
            "http://redis.local./a: redis.local. is not a public address (your own: MOTIONQ_TRUSTED_HOSTS)",
        ),
        ("http://metadata.google.internal/a", None),
    ],
)
def test_forbidden_urls(url: str, sentence: str | None) -> None:
    """Everything else is refused with one sentence that never shows a query or a password."""
    with pytest.raises(ForbiddenAddress) as caught:
        check_url(url, NONE)
    assert str(caught.value) == (
        sentence or f"{url}: metadata.google.internal is not a public address (your own: MOTIONQ_TRUSTED_HOSTS)"
    )


def test_exempt_hosts() -> None:
    """An exempt host passes with every port, an exempt host:port with that port only."""
    check_url("http://localhost:9000/a", frozenset({"localhost"}))
    check_url("http://127.0.0.1:9000/a", frozenset({"127.0.0.1:9000"}))
    check_url("http://127.0.0.1/a", frozenset({"127.0.0.1:80"}))
    check_url("http://[::1]:9000/a", frozenset({"::1:9000"}))
    assert not is_exempt("127.0.0.1", 6379, frozenset({"127.0.0.1:9000"}))
    assert not is_exempt("evil-localhost", 80, frozenset({"localhost"}))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://host/path", "https://host/path"),
        ("https://host/path?X-Amz-Signature=secret", "https://host/path?…"),
        ("https://user:secret@host:8/path?a=secret#secret", "https://host:8/path?…"),
        ("https://host/path#secret", "https://host/path#…"),
        ("https://a@b@host/x", "https://host/x"),
        ("https://host/a\nb\x1b[31m", "https://host/ab?[31m"),
        ("hero.png?token=secret", "hero.png"),
        ("https://[::1/secret", "(unreadable address)"),
        (f"https://host/{'a' * 400}?b", f"https://host/{'a' * 187}…?…"),
    ],
)
def test_redact(url: str, shown: str) -> None:
    """Query, fragment, user and password are never shown, nor are control characters."""
    assert redact(url) == shown
