"""What a caller gives as a file: opened, and looked at before anything is done with it. One sentence for each fault."""

from __future__ import annotations

import io
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

from motionq.contract.errors import InvalidJob
from motionq.contract.models import Kind, VendorModel, check_size, check_type
from motionq.media import HEAD_BYTES, MediaType, recognise

CHUNK_BYTES = 1024 * 1024

Source = str | os.PathLike[str] | bytes | BinaryIO


@contextmanager
def opened(source: Source, kind: Kind, limit: int) -> Iterator[tuple[str, IO[bytes]]]:
    """A name for sentences and a handle that can be read twice; of what can't, `limit` bytes and one more are kept.

    Raises InvalidJob for what is no file, or can't be read.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        yield "the data given", io.BytesIO(source)
    elif isinstance(source, (str, os.PathLike)):
        with _open_path(source, kind) as handle:
            yield Path(source).name, handle
    elif source.seekable():
        yield _name_of(source), source
    else:
        with tempfile.TemporaryFile() as spool:
            _spool(source, spool, limit, kind)
            yield _name_of(source), spool


def look(handle: IO[bytes], name: str, model: VendorModel, kind: Kind) -> MediaType:
    """What the file is by its first bytes, of a size that the model takes; reads its head only. Raises InvalidJob."""
    start = handle.tell()
    head = read(handle, HEAD_BYTES, kind, name)
    if not head:
        check_size(model, kind, 0, name=name)
    found = recognise(head)
    check_type(model, kind, found.mime if found else None, name=name)
    assert found is not None
    check_size(model, kind, handle.seek(0, os.SEEK_END) - start, name=name)
    return found


def read(handle: IO[bytes], size: int, kind: Kind, name: str) -> bytes:
    """Up to `size` bytes. Raises InvalidJob when the caller's file can't be read: that is no fault of the storage."""
    try:
        chunk: bytes | str = handle.read(size)
    except OSError as error:
        raise InvalidJob(f"{kind}: {name} can't be read: {error.strerror or error}", field=kind, value=name) from None
    except UnicodeDecodeError:  # a handle of text, at bytes that are none
        chunk = ""
    if isinstance(chunk, str):
        raise InvalidJob(f"{kind}: {name} gives text, open it in binary mode ('rb')", field=kind)
    return chunk


def _open_path(source: str | os.PathLike[str], kind: Kind) -> IO[bytes]:
    path = Path(source)
    if source == "":
        raise InvalidJob(f"{kind}: no file is named", field=kind, value="")
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            return path.open("rb")
        fault = "is a folder" if stat.S_ISDIR(mode) else "is not a regular file"
    except FileNotFoundError:
        raise InvalidJob(f"{kind}: no such file: {path}", field=kind, value=str(path)) from None
    except OSError as error:
        fault = f"can't be read: {error.strerror}"
    except ValueError:  # a zero byte in the path
        fault = "is not a path"
    raise InvalidJob(f"{kind}: {path} {fault}", field=kind, value=str(path))


def _name_of(source: BinaryIO) -> str:
    name = getattr(source, "name", None)
    return Path(name).name if isinstance(name, str) and name else "the file object given"


def _spool(source: BinaryIO, spool: IO[bytes], limit: int, kind: Kind) -> None:
    """Copy what can be read only once, up to one byte more than the limit: enough to see that it is too large."""
    left = limit + 1
    while left > 0 and (chunk := read(source, min(CHUNK_BYTES, left), kind, _name_of(source))):
        spool.write(chunk)
        left -= len(chunk)
    spool.seek(0)
