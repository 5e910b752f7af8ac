"""Sound files that are damaged or made to do harm: sound or a message, never a traceback, never a hang."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import struct
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support import hostile

from clapstream.audio.block import RATE_HZ, Block, SourceItem, StreamOpened
from clapstream.audio.files.recording import Recording
from clapstream.audio.source import SourceError
from clapstream.commands.reporting import FAILURE, OK
from clapstream.commands.tag import tag_files
from clapstream.config import WindowSettings

LONGEST_SECONDS = 20.0
"""For one file, on a machine with better things to do: far from what a file of a few kilobytes can need."""

WINDOW = WindowSettings(seconds=1.0, hop_seconds=0.5)


def whole_file(container: str, subtype: str, channels: int) -> bytes:
    """A good file: a third of a second of a tone."""
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE_HZ // 3) / RATE_HZ)
    file = io.BytesIO()
    soundfile.write(file, np.stack([tone] * channels, axis=1), RATE_HZ, format=container, subtype=subtype)
    return file.getvalue()


WHOLE = [
    whole_file(*kind)
    for kind in (
        ("WAV", "PCM_16", 2),
        ("WAV", "FLOAT", 1),
        ("WAV", "ULAW", 1),
        ("WAV", "IMA_ADPCM", 1),
        ("RF64", "PCM_24", 1),
        ("W64", "PCM_16", 1),
        ("AIFF", "PCM_16", 2),
        ("AU", "FLOAT", 1),
        ("CAF", "ALAC_16", 1),
        ("FLAC", "PCM_16", 2),
        ("OGG", "VORBIS", 1),
        ("OGG", "OPUS", 1),
        ("MP3", "MPEG_LAYER_III", 1),
    )
]
SUFFIXES = [".wav", ".flac", ".ogg", ".mp3", ".aiff", ".caf", ".raw", ".sd2", ".txt", ""]

offsets = st.floats(0.0, 1.0, exclude_max=True) | st.floats(0.0, 0.02)
"""Where in the file, as a part of it; headers are at the front."""
values = st.binary(min_size=1, max_size=8) | st.sampled_from(
    [b"\0" * 4, b"\xff" * 4, b"\xff\xff\xff\x7f", b"\0\0\0\x80"]
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good file with bytes overwritten, left out or put in, and perhaps cut short."""
    content = bytearray(draw(st.sampled_from(WHOLE)))
    for offset, value, how in draw(
        st.lists(st.tuples(offsets, values, st.sampled_from(["overwrite", "insert", "remove"])), max_size=12)
    ):
        start = int(offset * len(content))
        end = start if how == "insert" else start + len(value)
        content[start:end] = b"" if how == "remove" else value
    return bytes(content[: int(len(content) * draw(st.just(1.0) | offsets))])


@st.composite
def lying_waves(draw: st.DrawFn) -> bytes:
    """A WAV file whose header says anything, with samples that may be anything."""
    small, large = st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1)
    sizes = st.sampled_from([0, 1, 2**31 - 1, 2**32 - 1]) | large
    header = struct.pack(
        "<HHIIHH",
        draw(st.sampled_from([1, 3, 6, 7, 17, 85, 0xFFFE]) | small),
        draw(st.integers(0, 3) | small),
        draw(st.sampled_from([0, 1, 999, 8_000, 48_000, 2**31, 2**32 - 1]) | large),
        draw(sizes),
        draw(st.integers(0, 8) | small),
        draw(st.sampled_from([0, 8, 16, 24, 32, 64]) | small),
    )
    floats = st.lists(st.floats(width=32), max_size=2_000).map(lambda those: np.array(those, "<f4").tobytes())
    data = draw(st.binary(max_size=2_000) | floats) * draw(st.integers(1, 50))
    fmt = b"fmt " + struct.pack("<I", draw(st.just(16) | sizes)) + header
    return (
        b"RIFF" + struct.pack("<I", draw(sizes)) + b"WAVE" + fmt + b"data" + struct.pack("<I", draw(sizes)) + data
    )


files = damaged() | lying_waves() | st.binary(max_size=300)


class Quiet:
    """Hears nothing, in windows that must be sane."""

    def score(self, windows: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        for window in windows:
            assert window.dtype == np.float32 and len(window) <= WINDOW.seconds * RATE_HZ
            assert np.isfinite(window).all() and np.abs(window).max() <= 1.0
        return np.zeros((len(windows), 1), dtype=np.float32)


async def play(path: Path) -> list[SourceItem]:
    return [item async for item in Recording("yard", path, "fast").items()]


def heard(path: Path) -> int:
    """How many samples the source gives; SourceError says what is wrong."""
    items = asyncio.run(play(path))
    assert isinstance(items[0], StreamOpened)
    sample_count = 0
    for block in items[1:]:
        assert isinstance(block, Block) and block.first_sample == sample_count
        assert np.isfinite(block.samples).all() and np.abs(block.samples).max() <= 1.0
        sample_count = block.end_sample
    return sample_count


@settings(max_examples=hostile.inputs(300))
@given(files, st.sampled_from(SUFFIXES))
@example(b"no header", ".raw")
@example(b"", ".wav")
def test_any_file_is_heard_or_refused_with_a_message(content: bytes, suffix: str) -> None:
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"a{suffix}")
        path.write_bytes(content)
        try:
            refused = heard(path) == 0
        except SourceError as error:
            refused = True
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
        said, complained = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
            code = tag_files([path], Quiet(), [("dog", 0.0)], WINDOW, as_json=True)
        assert code == (FAILURE if refused else OK)
        assert (f"clapstream: {path}: " in complained.getvalue()) is refused
        assert "Traceback" not in complained.getvalue()
        times = [(line["start"], line["end"]) for line in map(json.loads, said.getvalue().splitlines())]
        assert all(0.0 <= start < end for start, end in times)
        assert times == sorted(times)
        assert refused or times
    assert time.monotonic() - started < LONGEST_SECONDS
