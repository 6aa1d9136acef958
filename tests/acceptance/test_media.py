"""Files that the vendor would not take are found in the worker, before anything is uploaded or paid."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from motionq import Job
from support import IMAGE, VIDEO, Stack, film, picture


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("media")
    with Stack(folder, workers=1, sandbox={"rate_limit": "off"}) as running:
        yield running


@pytest.fixture
def website(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder that is served over HTTP on this machine, that is: at a private address."""
    folder = tmp_path / "web"
    folder.mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://localhost:{server.server_port}"
        server.shutdown()
        thread.join()


def sentence(job: Job) -> str:
    assert job.failure is not None
    assert (job.failure.reason, job.failure.charged) == ("invalid_media", "no")
    return job.failure.message


def test_what_only_decoding_can_tell_is_one_clear_sentence_and_nothing_is_sent(stack: Stack, tmp_path: Path) -> None:
    """Too short, too long, too long for its orientation, too small, broken: named with limit and value, unpaid."""
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(VIDEO.read_bytes()[:200_000])
    jobs = {
        "short": stack.submit(video=film(tmp_path / "short.mp4", 2.0)),
        "long": stack.submit(video=film(tmp_path / "long.mp4", 31.0)),
        "orientation": stack.submit(video=film(tmp_path / "eleven.mp4", 11.0), orientation="image"),
        "small": stack.submit(image=picture(300, 400)),
        "ratio": stack.submit(image=picture(1100, 400)),
        "broken": stack.submit(video=broken),
    }
    said = {name: sentence(stack.finished(job)) for name, job in jobs.items()}

    assert said["short"] == "video: 2.0 s is shorter than the 3 s that kling-2.6/motion-control needs"
    assert said["long"] == "video: 31.0 s is longer than the 30 s that kling-2.6/motion-control takes"
    assert said["orientation"].startswith("video: 11.0 s is longer than the 10 s")
    assert said["small"].startswith("image: 300x400 pixels")
    assert "2:5 to 5:2" in said["ratio"]
    assert said["broken"].startswith("video")
    assert stack.vendor.ledger("createTask") == []
    assert [line["fileName"] for line in stack.vendor.ledger("upload") if ".mp4" in line["fileName"]] == []


def test_an_address_inside_our_network_is_not_fetched(stack: Stack, website: tuple[Path, str]) -> None:
    """A caller's URL that leads to a private address is refused, and its query is never shown."""
    _, address = website
    job = stack.finished(stack.submit(image=f"{address}/hero.png?signature=secret"))

    assert "not a public address" in sentence(job)
    assert "secret" not in job.model_dump_json(exclude={"spec"})
    assert stack.vendor.ledger("createTask") == []


def test_addresses_of_a_trusted_host_are_fetched_checked_and_uploaded(
    tmp_path: Path, website: tuple[Path, str]
) -> None:
    """Web addresses are treated like files: fetched once, checked, and uploaded under their content."""
    folder, address = website
    (folder / "hero.png").write_bytes(IMAGE.read_bytes())
    (folder / "dance.mp4").write_bytes(VIDEO.read_bytes())
    (folder / "page.png").write_text("<html>not a picture</html>")
    with Stack(tmp_path / "stack", MOTIONQ_TRUSTED_HOSTS="localhost") as stack:
        good = stack.submit(image=f"{address}/hero.png", video=f"{address}/dance.mp4")
        bad = stack.submit(image=f"{address}/page.png", video=f"{address}/dance.mp4")
        assert stack.finished(good).state == "succeeded"
        assert "HTML" in sentence(stack.finished(bad))
        assert len(stack.vendor.ledger("createTask")) == 1


def test_passed_addresses_go_to_the_vendor_as_they_are(stack: Stack) -> None:
    """With pass_url the caller opts out: nothing is fetched or uploaded by us, the vendor gets the addresses."""
    before = len(stack.vendor.ledger("upload"))
    image, video = "https://example.com/a.png?x=1", "https://example.com/b.mp4"
    job = stack.submit(image=image, video=video, pass_url=True, prompt="passed")
    stack.in_state(job, "running", "delivering", "failed")

    (bought,) = stack.bought(job)
    assert (bought["imageUrls"], bought["videoUrls"]) == ([image], [video])
    assert len(stack.vendor.ledger("upload")) == before
