"""Makes sound files of every kind with ffmpeg, and damages them."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest

TONE = "sine=frequency=440:sample_rate=44100:duration={}"
PICTURE = "testsrc=size=64x64:rate=10:duration={}"


def require_ffmpeg() -> None:
    """Skip the test where ffmpeg is missing."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs the package ffmpeg")


def ffmpeg(*arguments: str | Path) -> None:
    """Run ffmpeg; skip the test where it is missing or lacks an encoder."""
    require_ffmpeg()
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if "Unknown encoder" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr


def make_tone(path: Path, seconds: float, *options: str) -> Path:
    """Write a 440 Hz tone in the format that the file's name says."""
    ffmpeg("-f", "lavfi", "-i", TONE.format(seconds), *options, path)
    return path


def make_video(path: Path, seconds: float, *options: str, sound_from: float | None = None) -> Path:
    """Write a video, with 2 s of a tone that begin after `sound_from` seconds, or without sound."""
    inputs = ["-f", "lavfi", "-i", PICTURE.format(seconds)]
    if sound_from is not None:
        inputs += ["-itsoffset", str(sound_from), "-f", "lavfi", "-i", TONE.format(2), "-map", "0", "-map", "1"]
    ffmpeg(*inputs, *options, path)
    return path


def overwrite_middle(path: Path, size: int = 3000) -> Path:
    """Put noise into the middle of a file."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + size] = random.Random(1).randbytes(size)
    path.write_bytes(content)
    return path


def cut_in_half(path: Path) -> Path:
    """Leave out the second half of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path
