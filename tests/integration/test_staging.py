"""Files staged under their hash, in real storage."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from motionq.batch import Line
from motionq.contract.errors import InvalidJob, InvalidSettings
from motionq.contract.models import MODELS
from motionq.contract.settings import Settings
from motionq.precheck import check_lines
from motionq.request import Request
from motionq.staging import StagedFile, Staging, open_storage
from motionq_worker.settings import check_storage

MEDIA = Path(__file__).parents[1] / "media"
PNG = MEDIA / "astronaut.png"
MP4 = MEDIA / "bigbuckbunny.mp4"
MODEL = MODELS["kling-2.6/motion-control"]
PNG_HEAD = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(params=["file", "memory"])
def staging(request: pytest.FixtureRequest, tmp_path: Path) -> Staging:
    if request.param == "file":
        return Staging(f"file://{tmp_path}/not/yet/there")
    return Staging(f"memory://staging-{tmp_path.name}")


def stored(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_file_is_stored_under_its_hash(staging: Staging) -> None:
    """What is put can be read back under the hash of its content, and is gone after delete."""
    staged = staging.put(PNG, model=MODEL, kind="image")
    content = PNG.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    assert staged == StagedFile(sha256=digest, size=len(content), media_type="image/png", name="astronaut.png")
    assert staged.key == f"{digest[:2]}/{digest}.png"
    with staging.open(staged) as file:
        assert file.read() == content
    with staging.local_path(staged) as path:
        assert path.read_bytes() == content
        assert path.suffix == ".png"
    assert staging.exists(staged)
    staging.delete(staged)
    staging.delete(staged)
    assert not staging.exists(staged)


def test_every_source_gives_the_same_file(staging: Staging, tmp_path: Path) -> None:
    """A path, a string, bytes, a file object and a pipe of equal content are one staged file."""
    content = PNG.read_bytes()
    read_end, write_end = os.pipe()

    def feed() -> None:
        with os.fdopen(write_end, "wb") as pipe:
            pipe.write(content)

    writer = threading.Thread(target=feed)
    writer.start()
    with PNG.open("rb") as opened, os.fdopen(read_end, "rb") as piped:
        sources = [PNG, str(PNG), content, bytearray(content), io.BytesIO(content), opened, piped]
        keys = {staging.put(cast(BinaryIO, source), model=MODEL, kind="image").key for source in sources}
    writer.join()
    assert keys == {f"{hashlib.sha256(content).hexdigest()[:2]}/{hashlib.sha256(content).hexdigest()}.png"}


def test_a_file_object_is_read_from_where_it_stands(staging: Staging) -> None:
    """A caller that has read past a prefix stages the rest, and only the rest."""
    source = io.BytesIO(b"prefix" + PNG.read_bytes())
    source.seek(6)
    staged = staging.put(source, model=MODEL, kind="image")
    assert (staged.sha256, staged.name) == (hashlib.sha256(PNG.read_bytes()).hexdigest(), "the file object given")


def test_missing_staged_files_are_said_so(staging: Staging) -> None:
    """A file that somebody removed is a FileNotFoundError that names it."""
    staged = staging.put(PNG, model=MODEL, kind="image")
    staging.delete(staged)
    expected = rf"^astronaut\.png \({staged.sha256[:12]}…\) is no longer in the staging storage$"
    with pytest.raises(FileNotFoundError, match=expected):
        staging.open(staged)
    with pytest.raises(FileNotFoundError, match=expected), staging.local_path(staged):
        pytest.fail("no path for a file that is gone")


def test_the_content_decides_not_the_name(tmp_path: Path) -> None:
    """A text named .png is refused, and an MP4 without any extension is taken as what it is."""
    staging = Staging(str(tmp_path / "s"))
    text = tmp_path / "hero.png"
    text.write_text("not a picture\n")
    with pytest.raises(InvalidJob) as caught:
        staging.put(text, model=MODEL, kind="image")
    assert str(caught.value) == "image: hero.png is a text file, kling-2.6/motion-control takes JPEG, PNG, WebP"
    bare = tmp_path / "clip"
    bare.write_bytes(MP4.read_bytes())
    assert staging.put(bare, model=MODEL, kind="video").key.endswith(".mp4")
    with pytest.raises(InvalidJob, match=r"^image: clip is an MP4, "):
        staging.put(bare, model=MODEL, kind="image")


def sources(tmp_path: Path) -> dict[str, tuple[object, str]]:
    empty, secret = tmp_path / "empty.png", tmp_path / "loop.png"
    empty.touch()
    secret.symlink_to(secret)
    return {
        "missing": ("no/such/hero.png", "image: no such file: no/such/hero.png"),
        "folder": (tmp_path, f"image: {tmp_path} is a folder"),
        "device": ("/dev/zero", "image: /dev/zero is not a regular file"),
        "unreadable": (secret, f"image: {secret} can't be read: Too many levels of symbolic links"),
        "nul": ("a\0b", "image: a\0b is not a path"),
        "empty": (empty, "image: empty.png is empty"),
        "no bytes": (b"", "image: the data given is empty"),
        "text": (io.StringIO("abc"), "image: the file object given gives text, open it in binary mode ('rb')"),
        "a picture as text": (
            io.TextIOWrapper(io.BytesIO(PNG.read_bytes()), encoding="utf-8"),
            "image: the file object given gives text, open it in binary mode ('rb')",
        ),
        "no name": ("", "image: no file is named"),
    }


CASES = (
    *("missing", "folder", "device", "unreadable", "nul", "empty", "no bytes"),
    *("text", "a picture as text", "no name"),
)


@pytest.mark.parametrize("case", CASES)
def test_what_can_not_be_staged_is_one_sentence(case: str, tmp_path: Path) -> None:
    """Every unusable source is an InvalidJob that names the field and the fault, and nothing is stored."""
    source, sentence = sources(tmp_path)[case]
    staging = Staging(str(tmp_path / "s"))
    with pytest.raises(InvalidJob) as caught:
        staging.put(cast(BinaryIO, source), model=MODEL, kind="image")
    assert (caught.value.field, str(caught.value)) == ("image", sentence)
    assert not (tmp_path / "s").exists()


def test_a_forgotten_b_is_one_sentence(tmp_path: Path) -> None:
    """A media file or a pipe opened as text is refused in words, wherever its first byte stops the decoder."""
    staging = Staging(str(tmp_path / "s"))
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "wb") as pipe:
        pipe.write(PNG_HEAD)
    with os.fdopen(read_end, encoding="utf-8") as piped, MP4.open(encoding="utf-8") as opened:
        for source, name in ((piped, "the file object given"), (opened, "bigbuckbunny.mp4")):
            with pytest.raises(InvalidJob) as caught:
                staging.put(cast(BinaryIO, source), model=MODEL, kind="video")
            assert str(caught.value) == f"video: {name} gives text, open it in binary mode ('rb')"


@pytest.mark.parametrize("case", ["missing", "folder", "device", "unreadable", "nul", "empty"])
def test_a_batch_says_what_staging_says(case: str, tmp_path: Path) -> None:
    """Files of a batch are looked at before any is staged, by the same code and in the same words."""
    source, sentence = sources(tmp_path)[case]
    (bad,) = check_lines([Line(7, Request(image=cast(Path, source), video=MP4))])
    assert (bad.number, bad.error.field, str(bad.error)) == (7, "image", sentence)


class Counting(io.RawIOBase):
    """An endless stream that is a PNG by its first bytes, counts what is taken and can't be rewound."""

    def __init__(self) -> None:
        self.taken = 0

    def read(self, size: int = -1) -> bytes:
        assert size >= 0, "nobody may ask for all of an endless stream"
        chunk = (PNG_HEAD + bytes(size))[:size] if self.taken == 0 else bytes(size)
        self.taken += len(chunk)
        return chunk


def test_too_large_a_file_is_not_copied(tmp_path: Path) -> None:
    """A 5 GB file is refused by its size, unread; an endless stream after one byte more than the limit."""
    huge = tmp_path / "huge.png"
    with huge.open("wb") as file:
        file.write(PNG_HEAD)
        file.truncate(5 * 1024**3)
    staging = Staging(str(tmp_path / "s"))
    with pytest.raises(InvalidJob) as caught:
        staging.put(huge, model=MODEL, kind="image")
    assert str(caught.value) == "image: huge.png has 5,368,709,120 bytes, the limit is 10,485,760 (10 MB)"
    stream = Counting()
    with pytest.raises(InvalidJob) as caught:
        staging.put(cast(BinaryIO, stream), model=MODEL, kind="image")
    assert caught.value.field == "image"
    assert stream.taken == MODEL.image.max_bytes + 1
    assert not (tmp_path / "s").exists()


def test_equal_content_is_stored_once_and_renewed(tmp_path: Path) -> None:
    """A second put writes nothing and renews the time, so that a clean-up by age leaves the file to the new job."""
    staging = Staging(str(tmp_path))
    path = tmp_path / staging.put(PNG, model=MODEL, kind="image").key
    os.utime(path, (1, 1))
    inode = path.stat().st_ino
    staging.put(PNG.read_bytes(), model=MODEL, kind="image")
    assert (path.stat().st_ino, path.stat().st_mtime > 1) == (inode, True)
    assert stored(tmp_path) == [str(path.relative_to(tmp_path))]


def test_an_object_is_written_again_when_it_is_old() -> None:
    """Where a time can't be renewed a file older than a day is as good as gone: a clean-up by age may be near."""
    staging = Staging("memory://renewed")
    fs, root = open_storage(staging.url, setting="MOTIONQ_STAGING_URL")
    path = f"{root}/{staging.put(PNG, model=MODEL, kind='image').key}"
    for days, again in ((0.9, False), (1.1, True)):
        fs.store[path].modified = at = datetime.now(UTC) - timedelta(days=days)
        staging.put(PNG, model=MODEL, kind="image")
        assert (fs.modified(path) != at) is again


def test_a_half_file_is_replaced(tmp_path: Path) -> None:
    """A file of another size under the right name (a disk that was full) is written again."""
    staging = Staging(str(tmp_path))
    staged = staging.put(PNG, model=MODEL, kind="image")
    path = tmp_path / staged.key
    os.truncate(path, 100)
    assert not staging.exists(staged)
    staging.put(PNG, model=MODEL, kind="image")
    assert path.read_bytes() == PNG.read_bytes()


def test_many_put_the_same_file_at_once(tmp_path: Path) -> None:
    """Concurrent puts of one content end with one whole file and no leftovers."""
    staging = Staging(str(tmp_path))
    with ThreadPoolExecutor(8) as threads:
        puts = [threads.submit(staging.put, MP4, model=MODEL, kind="video") for _ in range(16)]
        keys = {put.result().key for put in puts}
    assert stored(tmp_path) == list(keys)
    assert (tmp_path / keys.pop()).read_bytes() == MP4.read_bytes()


class Changing(io.BytesIO):
    """A file whose content changes between the first and the second reading."""

    def __init__(self, first: bytes, second: bytes) -> None:
        super().__init__(first)
        self._second = second
        self._rewinds = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        self._rewinds += whence == 0
        if self._rewinds == 2:
            self.getbuffer()[:] = self._second
        return super().seek(offset, whence)


def test_a_file_that_changes_is_refused(tmp_path: Path) -> None:
    """Content that is no longer the hashed one never gets the hash's name, and no part of it stays."""
    staging = Staging(str(tmp_path))
    source = Changing(PNG_HEAD + b"a" * 100, PNG_HEAD + b"b" * 100)
    with pytest.raises(InvalidJob, match=r"^image: the file object given changed while it was read$"):
        staging.put(source, model=MODEL, kind="image")
    assert stored(tmp_path) == []


def test_other_users_can_read_staged_files(tmp_path: Path, umask: Callable[[int], None]) -> None:
    """Files and folders get the permissions of the process's umask, not those of a private temporary file."""
    umask(0o022)
    path = tmp_path / "s" / Staging(str(tmp_path / "s")).put(PNG, model=MODEL, kind="image").key
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755


@pytest.fixture
def umask(request: pytest.FixtureRequest) -> Callable[[int], None]:
    def change(mask: int) -> None:
        before = os.umask(mask)
        request.addfinalizer(lambda: os.umask(before))

    return change


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("abfs://box/x", "MOTIONQ_STAGING_URL: abfs:// needs a package that is not installed: pip install adlfs"),
        ("gs://bucket/x", "MOTIONQ_STAGING_URL: gs:// needs a package that is not installed: pip install gcsfs"),
        ("nosuch://b/x?key=1", "MOTIONQ_STAGING_URL: nosuch://b/x?… can't be used as a storage address"),
    ],
)
def test_storage_that_can_not_be_used(url: str, sentence: str) -> None:
    """A URL whose package is missing, or whose scheme nobody knows, is one line that says what to do."""
    with pytest.raises(InvalidSettings) as caught:
        Staging(url)
    assert str(caught.value) == sentence


def test_a_worker_names_a_folder_that_can_not_be_used(tmp_path: Path) -> None:
    """A local path holds no secret: it is shown as it was written."""
    (tmp_path / "file").touch()
    url = f"file://{tmp_path}/file/results"
    with pytest.raises(InvalidSettings) as caught:
        check_storage(Settings(staging_url=f"file://{tmp_path}/staging", results_url=url))
    assert str(caught.value) == f"MOTIONQ_RESULTS_URL: {url} can't be used: Not a directory"


def test_the_repr_hides_credentials() -> None:
    """A storage URL with credentials is never shown with them."""
    assert repr(Staging("memory://key:secret@place/x")) == "Staging('memory://place/x')"
