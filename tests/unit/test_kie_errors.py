"""Faults of kie.ai: safe to show, safe to carry around."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from motionq_worker.kie import errors
from motionq_worker.kie.account import KieAccount, Origin, proxy_for
from motionq_worker.kie.errors import KieFault, NotSent, Refusal, Refused, Unknown
from motionq_worker.kie.words import redact

FAULTS = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, KieFault)]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET https://h.example/a.mp4?sig=1&x=2 failed", "GET https://h.example/a.mp4?… failed"),
        ("see https://h.example/a#secret", "see https://h.example/a?…"),
        ("bucket.example/a?X-Amz-Signature=abc, sorry", "bucket.example/a?… sorry"),
        ("https://user:pw@h.example/a", "https://h.example/a"),
        ("to https://me.example/callbacks/kie/job17/n0nce: no", "to https://me.example/callbacks/kie/job17/… no"),
        ("sent Authorization: Bearer abc.def", "sent Authorization: Bearer …"),
        ("key-17 is bad, key-17!", "… is bad, …!"),
        ("two\nlines\r\n\x00and\x1b[31m more", "two lines and [31m more"),
        ("is this right?", "is this right?"),
        ("\ud800", "?"),
    ],
)
def test_words_of_the_vendor_are_made_safe(text: str, shown: str) -> None:
    """No query string, capability, key or control character survives."""
    assert redact(text, secrets=("key-17", "")) == shown


@given(st.text(max_size=2000))
def test_redacted_words_are_short_and_on_one_line(text: str) -> None:
    """At most 300 characters, whatever came."""
    shown = redact(text)
    assert len(shown) <= 300
    assert "\n" not in shown
    shown.encode("utf-8")


def test_a_long_message_is_cut() -> None:
    """300 characters are kept, the cut is visible."""
    assert redact("x" * 301) == "x" * 299 + "…"


@pytest.mark.parametrize("kind", FAULTS)
def test_each_fault_is_one_plain_sentence(kind: type[KieFault]) -> None:
    """Its text says what failed, the vendor's code and words; without them it still says something."""
    assert str(kind("words", code=17)) == f"{kind.says}: 17 words"
    assert str(kind()) == kind.says


@pytest.mark.parametrize(
    "fault",
    [
        KieFault("x", code=1),
        NotSent("refused"),
        Refused("x", code=402, refusal=Refusal.NO_CREDITS),
        Unknown("x", code=200, candidate="task"),
    ],
)
def test_faults_survive_pickling(fault: KieFault) -> None:
    """A fault may cross a process boundary with all that it knows."""
    copy = pickle.loads(pickle.dumps(fault))
    assert (type(copy), str(copy), vars(copy)) == (type(fault), str(fault), vars(fault))


def account(**changes: object) -> KieAccount:
    values = {
        "base_url": "https://api.kie.ai",
        "upload_base_url": "https://up.example",
        "api_key": SecretStr("sk-17"),
        "connect_timeout": 5.0,
        "read_timeout": 30.0,
    }
    return KieAccount(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"base_url": "ftp://api.kie.ai"},
        {"base_url": "api.kie.ai"},
        {"base_url": "https://user:pw@api.kie.ai"},
        {"base_url": "https://api.kie.ai/?a=b"},
        {"base_url": "https://api.kie.ai\r\nX: y"},
        {"base_url": "https://api.kie.ai:99999"},
        {"upload_base_url": "https://"},
        {"api_key": SecretStr("")},
        {"api_key": SecretStr("sk-17\r\nX-Evil: 1")},
        {"connect_timeout": 0.0},
        {"read_timeout": -1.0},
    ],
)
def test_an_account_that_cannot_work_is_refused(changes: dict[str, object]) -> None:
    """Wrong values are named before any connection, and the key is not in the text."""
    with pytest.raises(ValueError) as caught:
        account(**changes)
    assert "sk-17" not in str(caught.value)


def test_the_key_is_not_in_the_repr_of_an_account() -> None:
    """An account may be logged."""
    assert "sk-17" not in repr(account())


@pytest.mark.parametrize(
    ("base_url", "authority", "url"),
    [
        ("https://api.kie.ai", "api.kie.ai", "https://api.kie.ai"),
        ("https://api.kie.ai:443/", "api.kie.ai", "https://api.kie.ai"),
        ("http://127.0.0.1:8080/kie/", "127.0.0.1:8080", "http://127.0.0.1:8080/kie"),
        ("http://[::1]:80", "[::1]", "http://[::1]"),
    ],
)
def test_a_base_address_is_split(base_url: str, authority: str, url: str) -> None:
    """Host header and address in one form."""
    origin = Origin.parse(base_url)
    assert (origin.authority, origin.url) == (authority, url)


def test_proxies_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTPS_PROXY is used for https addresses, NO_PROXY exempts, plain http never goes through a proxy."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.setenv(name, "")
    assert proxy_for(Origin.parse("https://api.kie.ai")) is None
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "inside.example")
    assert proxy_for(Origin.parse("https://api.kie.ai")) == "http://proxy.example:3128"
    assert proxy_for(Origin.parse("https://inside.example")) is None
    assert proxy_for(Origin.parse("http://api.kie.ai")) is None
