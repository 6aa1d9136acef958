"""The film is a real one: the driver's frames, with the picture standing in them."""

from __future__ import annotations

import time
from pathlib import Path

import av
import numpy as np
import pytest
import requests
from PIL import Image

from motionq_ops.sandbox.render import picture_box


def frames_of(path: Path, size: tuple[int, int], numbers: list[int]) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [np.asarray(frames[number].to_image().convert("L").resize(size), dtype=float) for number in numbers]


def likeness(one: np.ndarray, two: np.ndarray) -> float:
    return float(np.corrcoef(one.ravel(), two.ravel())[0, 1])


@pytest.mark.parametrize(("mode", "size"), [("720p", (1280, 720)), ("1080p", (1920, 1080))])
def test_film(client, sandbox, media, tmp_path, mode, size):
    """In five frames one region is the picture and the rest the driver's frame; size by mode, the driver's length."""
    sandbox.settings(render="real")
    image, video = client.upload_sample("astronaut.png"), client.upload_sample("bigbuckbunny.mp4")
    data = client.ended(client.make(image=image, video=video, mode=mode))
    film = tmp_path / "film.mp4"
    film.write_bytes(requests.get(data["response"]["resultUrls"][0], timeout=10).content)

    with av.open(str(film)) as container:
        (stream,) = container.streams
        assert (stream.type, stream.codec_context.name, stream.codec_context.pix_fmt) == ("video", "h264", "yuv420p")
        assert (stream.width, stream.height) == size
        assert float(stream.duration * stream.time_base) == pytest.approx(5.28, abs=0.05)
    assert film.read_bytes().index(b"moov") < film.read_bytes().index(b"mdat")

    box = picture_box(size, (512, 512))
    picture = Image.open(media / "astronaut.png").convert("L").resize((box.width, box.height))
    rest = np.ones((size[1], size[0]), dtype=bool)
    place = (slice(box.y, box.y + box.height), slice(box.x, box.x + box.width))
    rest[place] = False
    numbers = [0, 30, 60, 95, 131]
    drivers = frames_of(media / "bigbuckbunny.mp4", size, numbers)
    for frame, driver in zip(frames_of(film, size, numbers), drivers, strict=True):
        assert likeness(frame[place], np.asarray(picture, dtype=float)) > 0.9
        assert likeness(frame[rest], driver[rest]) > 0.9
        assert likeness(frame[place], driver[place]) < 0.9


def test_equal_jobs_share_one_film_and_answers_stay_quick(client, sandbox, media):
    """Twenty tasks with the same media are filmed once, and while that happens reads answer within a second."""
    sandbox.settings(render="real", speed=1000.0)
    unseen = (media / "astronaut.png").read_bytes() + b"never filmed before"
    image = client.upload("unseen.png", unseen).json()["data"]["downloadUrl"]
    video = client.upload_sample("bigbuckbunny.mp4")
    sandbox.set_credits(100_000.0)
    started = time.monotonic()
    tasks = [client.make(image=image, video=video, mode="1080p") for _ in range(20)]
    slowest = 0.0
    while any(client.record(task)["state"] != "success" for task in tasks):
        asked = time.monotonic()
        client.read(tasks[0])
        slowest = max(slowest, time.monotonic() - asked)
        assert asked - started < 20
    assert slowest < 1.0
    urls = [client.record(task)["response"]["resultUrls"][0] for task in tasks]
    assert len(set(urls)) == 20
    assert len({requests.head(url, timeout=5).headers["ETag"] for url in urls}) == 1


def test_copy_returns_the_drivers_bytes(client, sandbox, media):
    """render=copy hands the driving video back."""
    sandbox.settings(render="copy")
    image, video = client.upload_sample("astronaut.png"), client.upload_sample("bigbuckbunny.mp4")
    data = client.ended(client.make(image=image, video=video))
    film = requests.get(data["response"]["resultUrls"][0], timeout=5).content
    assert film == (media / "bigbuckbunny.mp4").read_bytes()


def test_foreign_media_are_fetched(client, sandbox, elsewhere):
    """A video at another address is fetched over HTTP, and the hold becomes the real price (5.28 s, not 10 s)."""
    sandbox.settings(render="copy", speed=1.0)
    image = client.upload_sample("astronaut.png")
    task = client.make(image=image, video=f"{elsewhere.url}/bigbuckbunny.mp4")
    sandbox.advance(101)
    assert client.ended(task)["state"] == "success"
    assert client.credit() == 1000.0 - 66.0
    assert elsewhere.asked == ["/bigbuckbunny.mp4"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_its_own_files_are_not_fetched(client, sandbox, host):
    """An upload is read from the shelf under either name of the sandbox."""
    sandbox.settings(render="copy")
    image, video = client.upload_sample("astronaut.png"), client.upload_sample("bigbuckbunny.mp4")
    task = client.make(image=image, video=video.replace("localhost", host))
    assert client.ended(task)["state"] == "success"
    assert "uploadedFile" not in sandbox.summary()["calls"]
