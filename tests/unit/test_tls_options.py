"""What a rediss:// address says about TLS, and what a refused connection is called; nothing is connected here."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from motionq import InvalidSettings, Settings
from motionq.broker import broker_tls, broker_url
from motionq.contract.connection import client_of
from motionq.contract.settings import load
from motionq.contract.tls import tls_options, without_tls_options
from motionq.contract.unreachable import NOT_THERE, not_permitted, why

PASSWORD = "hush"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tls")
    ca = trustme.CA(key_type=trustme.KeyType.ECDSA)
    one, other = (ca.issue_cert(f"{name}.example", key_type=trustme.KeyType.ECDSA) for name in "ab")
    ca.cert_pem.write_to_path(place / "ca.pem")
    one.cert_chain_pems[0].write_to_path(place / "client.pem")
    one.private_key_pem.write_to_path(place / "client.key")
    other.private_key_pem.write_to_path(place / "other.key")
    (place / "no.pem").write_text("no certificate\n")
    return place


def _url(query: str, folder: Path = Path(), scheme: str = "rediss") -> str:
    return f"{scheme}://motionq:{PASSWORD}@host:6390/0?{query.replace('DIR', str(folder))}"


def test_all_options_are_read(folder: Path) -> None:
    """Files, the check and the host name reach the client and Celery alike, and the address keeps what is not TLS."""
    files = "ssl_ca_certs=DIR/ca.pem&ssl_certfile=DIR/client.pem&ssl_keyfile=DIR/client.key"
    url = _url(f"{files}&ssl_cert_reqs=CERT_OPTIONAL&ssl_check_hostname=false&db=3", folder)

    assert tls_options(url) == {
        "ssl_ca_certs": f"{folder}/ca.pem",
        "ssl_certfile": f"{folder}/client.pem",
        "ssl_keyfile": f"{folder}/client.key",
        "ssl_cert_reqs": "optional",
        "ssl_check_hostname": False,
    }
    assert broker_tls(url) == tls_options(url)
    assert without_tls_options(url) == f"rediss://motionq:{PASSWORD}@host:6390/0?db=3"


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        (f"redis://:{PASSWORD}@h:1/0?foo={PASSWORD}", "its query has an option that is not known: foo"),
        (f"unix:///s?db=1&bar={PASSWORD}", "its query has an option that is not known: bar"),
        (f"redis://:{PASSWORD}@h:1/0?protocol=7", "not a usable address (ConnectionError)"),
        (f"redis://:{PASSWORD}@h:1/0?db={PASSWORD}", "not a usable address (ValueError)"),
    ],
)
def test_an_address_that_can_not_be_used_is_one_sentence(url: str, sentence: str) -> None:
    """It is refused before anything connects, and nothing of it is shown but the option's name."""
    with pytest.raises(InvalidSettings) as caught:
        client_of(url)
    assert str(caught.value) == f"REDIS_URL: {sentence}"


@pytest.mark.parametrize(
    ("ours", "celery"),
    [
        ("redis://h:1/2?socket_timeout=5&health_check_interval=9", "redis://h:1/2"),
        ("redis://h:1/2?db=3", "redis://h:1/3"),
        ("redis://h:1", "redis://h:1"),
        ("unix://me:hush@/s?db=3&socket_timeout=5", "redis+socket://me:hush@/s?virtual_host=3"),
    ],
)
def test_celery_is_given_the_database_and_no_option_of_redis_py(ours: str, celery: str) -> None:
    """The same server and database; kombu would stop at an option that is not its own."""
    assert broker_url(ours) == celery


def test_the_servers_certificate_is_checked_by_default() -> None:
    """A bare rediss:// address checks certificate and host name for Celery too (kombu alone would check nothing)."""
    assert broker_tls("rediss://host") == {"ssl_cert_reqs": "required", "ssl_check_hostname": True}
    assert broker_url("rediss://host/1") == "rediss://host/1"
    assert tls_options("rediss://host?ssl_cert_reqs=none") == {"ssl_cert_reqs": "none", "ssl_check_hostname": False}


@pytest.mark.parametrize("url", ["redis://host/0", "unix:///run/server.sock?db=2", "redis://:a%3Fb@host"])
def test_other_addresses_have_no_tls(url: str) -> None:
    """Plain addresses go on unchanged."""
    assert tls_options(url) is None
    assert without_tls_options(url) == url


@pytest.mark.parametrize(
    ("query", "scheme", "words"),
    [
        ("ssl_ca_certs=DIR/none.pem", "rediss", "ssl_ca_certs: can't be read: No such file or directory"),
        ("ssl_ca_certs=DIR/no.pem", "rediss", "ssl_ca_certs: no certificate, or no key that fits to it"),
        (
            "ssl_certfile=DIR/client.pem",
            "rediss",
            "ssl_certfile and ssl_keyfile: no certificate, or no key that fits to it",
        ),
        (
            "ssl_certfile=DIR/client.pem&ssl_keyfile=DIR/other.key",
            "rediss",
            "ssl_certfile and ssl_keyfile: no certificate, or no key that fits to it",
        ),
        ("ssl_keyfile=DIR/client.key", "rediss", "ssl_keyfile needs ssl_certfile"),
        ("ssl_cert_reqs=maybe", "rediss", "ssl_cert_reqs must be required or optional or none"),
        ("ssl_check_hostname=no", "rediss", "ssl_check_hostname must be true or false"),
        ("ssl_ca=DIR/ca.pem", "rediss", "ssl_ca is not known: write ssl_ca_certs, ssl_certfile, ssl_keyfile, "),
        ("ssl_ca_certs=DIR/ca.pem", "redis", "ssl_ca_certs needs an address that begins with rediss://"),
    ],
)
def test_what_can_not_work_is_told_at_the_start(
    monkeypatch: pytest.MonkeyPatch, folder: Path, query: str, scheme: str, words: str
) -> None:
    """A wrong option or file is one sentence that names the setting and the option, without the password."""
    monkeypatch.setenv("MOTIONQ_REDIS_URL", _url(query, folder, scheme))
    with pytest.raises(InvalidSettings) as caught:
        load()

    assert str(caught.value).startswith(f"MOTIONQ_REDIS_URL: {words}")
    assert PASSWORD not in str(caught.value)


def test_the_settings_show_no_address(folder: Path) -> None:
    """An address with options is as secret as any."""
    assert PASSWORD not in repr(Settings(redis_url=_url("ssl_ca_certs=DIR/ca.pem", folder)))


def _caused(text: str, cause: BaseException) -> RedisConnectionError:
    error = RedisConnectionError(text)
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RedisConnectionError("Error 111 connecting to host:6379. Connection refused."), NOT_THERE),
        (AuthenticationError("WRONGPASS"), "the queue's server refuses the user or the password in REDIS_URL"),
        (
            _caused(
                "Error", ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required")
            ),
            "the queue's server wants a client certificate",
        ),
        (
            RedisConnectionError("EOF occurred in violation of protocol"),
            "the queue's server can't be reached: it ends the",
        ),
        (
            RedisConnectionError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate"),
            "the certificate of the queue's server is not trusted: set ssl_ca_certs in REDIS_URL",
        ),
        (
            RedisConnectionError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: Hostname mismatch, …"),
            "the certificate of the queue's server is for another host than the one in REDIS_URL",
        ),
    ],
)
def test_a_refused_connection_has_its_reason(error: BaseException, words: str) -> None:
    """The sentence says what to change; one that is only not there says how to start a server."""
    assert why(error).startswith(words)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (NoPermissionError("this user has no permissions to run the 'info' command"), "the 'info' command"),
        (
            ResponseError("The user executing the script can't run this command or subcommand script: 0a1b, on @u:1."),
            "subcommand",
        ),
        (
            ResponseError("ACL failure in script: User x has no permissions to run the 'set' command script: 0a"),
            "'set' command",
        ),
        (
            NoPermissionError(
                "Command # 1 (SET motionq:a a-secret) of pipeline caused error: no permissions to run 'set'"
            ),
            "(no permissions to run 'set')",
        ),
        (ResponseError("WRONGTYPE Operation against a key"), None),
    ],
)
def test_what_is_not_permitted_names_the_list_of_users(error: RedisError, said: str | None) -> None:
    """The server's words are kept, the arguments of the command are not."""
    sentence = not_permitted(error)

    assert (sentence is None) == (said is None)
    assert said is None or (sentence is not None and said in sentence and "users.acl" in sentence)
    assert "a-secret" not in str(sentence)
