"""Files that are damaged in their middle or cut short: the sound before is heard, and the damage is reported."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from support.scoring import AlwaysDetects
from support.sound_files import cut_in_half, ffmpeg, make_tone, overwrite_middle

from clapstream.audio.block import RATE_HZ, Block, SourceItem
from clapstream.audio.files.recording import Recording, SourceError, read_audio, recording_blocks
from clapstream.commands.reporting import FAILURE
from clapstream.commands.tag import tag_files
from clapstream.config import WindowSettings
from clapstream.evaluation.clips import LabelledClip
from clapstream.evaluation.zero_shot import evaluate_clips

WINDOW = WindowSettings(seconds=2.0, hop_seconds=1.0)

OVERWRITTEN = {
    "a.flac": "broken after {place} s: flac decoder lost sync",
    "a.mp3": "broken after {place} s: the data cannot be decoded",
    "a.ogg": "broken after {place} s: a damaged or missing page",
    "a.opus": "broken after {place} s: a damaged or missing page",
    "a.m4a": "broken after {place} s: the data cannot be decoded",
    "a.aac": "broken after {place} s: the data cannot be decoded",
    "a.webm": "no sound from {place} to",
}
CUT = {
    "a.wav": "broken after 5.0 s: the file ends there, but its header says 10.0 s",
    "a.aiff": "broken after 5.0 s: the file ends there, but its header says 10.0 s",
    "a.mp3": "broken after {place} s: the data cannot be decoded",
    "a.flac": "broken after {place} s: flac decoder lost sync",
    "a.ogg": "broken after {place} s: a damaged or missing page",
    "a.mka": "broken after {place} s: the file ends there, but its header says 10.0 s",
}
SOUND = ("-f", "lavfi", "-i", "anoisesrc=color=pink:seed=1:sample_rate=44100:duration=10")
"""Noise, so that a format's size is spread evenly over its length."""

DAMAGES = [(name, overwrite_middle, said) for name, said in OVERWRITTEN.items()]
DAMAGES += [(name, cut_in_half, said) for name, said in CUT.items()]


@pytest.fixture(params=DAMAGES, ids=lambda damage: f"{damage[1].__name__}-{damage[0]}")
def damaged(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, re.Pattern[str]]:
    """A file of 10 s that is damaged in the middle, and the pattern of its error."""
    name, damage, said = request.param
    if Path(name).suffix in (".m4a", ".aac", ".webm", ".mka"):
        pytest.importorskip("av", reason="needs the extra stream")
    path = damage_file(tmp_path / name, damage)
    pattern = re.escape(f"{path}: {said}").replace(r"\{place\}", r"(?P<place>\d\.\d)")
    return path, re.compile(pattern)


def damage_file(path: Path, damage: Callable[[Path], Path]) -> Path:
    page = ["-page_duration", "500000"] if path.suffix in (".ogg", ".opus") else []
    ffmpeg(*SOUND, *page, path)
    return damage(path)


def tag(*paths: Path) -> tuple[int, list[dict[str, object]], str]:
    """The exit code, the lines, and the messages."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = tag_files(paths, AlwaysDetects(), [("noise", 0.5)], WINDOW, as_json=True)
    return code, [json.loads(line) for line in out.getvalue().splitlines()], err.getvalue()


def test_what_is_before_the_damage_is_heard(damaged: tuple[Path, re.Pattern[str]]) -> None:
    path, said = damaged
    blocks: list[Block] = []
    with pytest.raises(SourceError) as caught:
        for block in recording_blocks(path):
            blocks.append(block)
    found = said.match(str(caught.value))
    assert found, caught.value
    stretch = 0
    for block in blocks:
        if block.first_sample != stretch:
            break
        stretch = block.end_sample
    place = float(found.groupdict().get("place", 5.0))
    assert stretch / RATE_HZ == pytest.approx(place, abs=0.06)
    assert place == pytest.approx(5.0, abs=1.2)


def test_tag_keeps_every_window_before_the_damage_and_goes_on(
    damaged: tuple[Path, re.Pattern[str]], tmp_path: Path
) -> None:
    path, said = damaged
    soundfile.write(tmp_path / "good.wav", np.zeros(3 * RATE_HZ, dtype=np.float32), RATE_HZ)
    code, lines, complaints = tag(path, tmp_path / "good.wav")
    assert code == FAILURE
    found = said.search(complaints)
    assert found, complaints
    place = float(found.groupdict().get("place", 5.0))
    ends = [float(str(line["end"])) for line in lines if line["file"] == str(path)]
    assert [end for end in ends if end < place - 0.1] == pytest.approx(
        [1.0 * i for i in range(2, 10) if i < place - 0.1]
    )
    assert any(end == pytest.approx(place, abs=0.06) for end in ends)
    assert [line["end"] for line in lines if line["file"] != str(path)] == [2.0, 3.0]


def test_a_source_gives_the_sound_before_the_damage_then_the_error(
    damaged: tuple[Path, re.Pattern[str]],
) -> None:
    path, said = damaged
    items: list[SourceItem] = []

    async def play() -> None:
        async for item in Recording("yard", path, "fast").items():
            items.append(item)

    with pytest.raises(SourceError) as caught:
        asyncio.run(play())
    assert said.match(str(caught.value))
    last = items[-1]
    assert isinstance(last, Block)
    assert last.end_sample / RATE_HZ > 3.8


@pytest.mark.parametrize("claimed", [0, 0x7FFF_F000, 0x7FFF_FFDB, 0x8000_0000, 0xFFFF_FFFF, 0xFFFF_FFDB])
def test_a_size_of_unknown_is_no_damage(tmp_path: Path, claimed: int) -> None:
    """What recorders put into the header of a file that they write into a pipe, or leave when they are killed."""
    if not claimed:
        pytest.importorskip("av", reason="needs the extra stream")
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(RATE_HZ, dtype=np.float32), RATE_HZ)
    content = bytearray(path.read_bytes())
    content[40:44] = claimed.to_bytes(4, "little")
    path.write_bytes(content)
    assert len(read_audio(path)) == RATE_HZ


def test_a_recording_of_a_running_ogg_stream_is_no_damage(tmp_path: Path) -> None:
    """Its headers, then pages from the middle."""
    content = damage_file(tmp_path / "a.opus", lambda path: path).read_bytes()
    pages = [place.start() for place in re.finditer(b"OggS", content)]
    running = tmp_path / "running.opus"
    running.write_bytes(content[: pages[2]] + content[pages[8] :])
    assert len(read_audio(running)) / RATE_HZ > 4.0


def test_text_behind_an_ogg_file_is_no_damage(tmp_path: Path) -> None:
    path = make_tone(tmp_path / "a.ogg", 2, "-c:a", "libvorbis")
    path.write_bytes(path.read_bytes() + b"TAG some player's own notes" * 100)
    assert len(read_audio(path)) / RATE_HZ == pytest.approx(2.0, abs=0.02)


def test_eval_uses_what_is_before_the_damage_and_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Loudness:
        def embed_audio(self, clips: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
            return np.array([[np.abs(clip).max() > 0.01, np.abs(clip).max() <= 0.01] for clip in clips], np.float32)

        def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
            return np.array([["noise" in text, "silence" in text] for text in texts], np.float32)

    broken = damage_file(tmp_path / "a.flac", overwrite_middle)
    soundfile.write(tmp_path / "b.wav", np.zeros(RATE_HZ, dtype=np.float32), RATE_HZ)
    clips = [LabelledClip(broken, "noise", line=2), LabelledClip(tmp_path / "b.wav", "silence", line=3)]
    assert evaluate_clips(clips, Loudness()).top1 == 1.0
    assert "line 2: " in caplog.text
    assert "broken after" in caplog.text
