"""What a worker refuses before it says that it is ready."""

from __future__ import annotations

from pathlib import Path

import pytest

from motionq.contract.errors import InvalidSettings
from motionq_worker.settings import exempt_hosts, load_worker

KEY = "KIE_API_KEY: must be printable ASCII without blanks"
ADDRESS = "a base address of kie.ai must look like https://host or https://host:port/prefix"
PORT = "the port of a base address of kie.ai must be a number up to 65535"


@pytest.fixture
def usable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment with which a worker starts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KIE_API_KEY", "k-1")
    monkeypatch.setenv("MOTIONQ_DATA_DIR", str(tmp_path))
    return monkeypatch


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("KIE_API_KEY", "k-1 ", KEY),
        ("KIE_API_KEY", "k–1", KEY),
        ("KIE_BASE_URL", "https://me:secret@api.kie.ai", f"KIE_BASE_URL: {ADDRESS}"),
        ("KIE_BASE_URL", "https://api.kie.ai?x=1", f"KIE_BASE_URL: {ADDRESS}"),
        ("KIE_UPLOAD_BASE_URL", "https://host:abc", f"KIE_UPLOAD_BASE_URL: {PORT}"),
    ],
)
def test_what_could_never_be_sent_is_refused_at_the_start(
    usable: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    """A key or address of no use would fail every job: one line names the setting, and no secret."""
    usable.setenv(name, value)

    with pytest.raises(InvalidSettings) as caught:
        load_worker()

    assert str(caught.value) == sentence


def test_the_vendor_may_be_private_at_its_own_ports_alone(usable: pytest.MonkeyPatch) -> None:
    """A stand-in on this machine does not open the other services of the machine to callers' addresses."""
    usable.setenv("KIE_BASE_URL", "http://127.0.0.1:8900")
    usable.setenv("MOTIONQ_TRUSTED_HOSTS", "minio")

    here = {"127.0.0.1:8900", "localhost:8900", "::1:8900"}  # its files lie under another name of this machine
    assert exempt_hosts(load_worker()) == here | {"kieai.redpandaai.co:443", "minio"}
