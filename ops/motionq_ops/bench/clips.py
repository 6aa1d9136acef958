"""Driving videos of any size: the sample clip with a box of noise behind it."""

from __future__ import annotations

import os
from pathlib import Path

from motionq.output import WrongUsage

SAMPLES = Path(__file__).parents[1] / "samples"
IMAGE, CLIP = SAMPLES / "astronaut.png", SAMPLES / "bigbuckbunny.mp4"
_BOX_HEADER = 8  # bytes: size and type (ISO 14496-12, 4.2)
_CHUNK = 1024 * 1024


def write_clips(folder: Path, count: int, size: int) -> list[Path]:
    """`count` videos of exactly `size` bytes, no two alike. Raises WrongUsage when `size` is less than the sample's.

    What is added is a `free` box (ISO 14496-12, 8.1.2), which every reader skips: the clip stays the 3 to 30 seconds
    that the vendor takes, whatever its bytes.
    """
    noise = size - CLIP.stat().st_size - _BOX_HEADER
    if noise < 0:
        raise WrongUsage(f"--size: the sample clip alone has {CLIP.stat().st_size:,} bytes", field="size")
    paths = [folder / f"clip{number}.mp4" for number in range(1, count + 1)]
    for path in paths:
        _write(path, noise)
    return paths


def _write(path: Path, noise: int) -> None:
    with path.open("wb") as file:
        file.write(CLIP.read_bytes())
        file.write((_BOX_HEADER + noise).to_bytes(4, "big") + b"free")
        for start in range(0, noise, _CHUNK):
            file.write(os.urandom(min(_CHUNK, noise - start)))
