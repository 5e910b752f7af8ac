"""Recordings of every kind, and everything that can be wrong with a file."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import random
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import soundfile

from clapstream.audio.block import RATE_HZ, Block, SourceItem, StreamOpened
from clapstream.audio.files.recording import Recording, SourceError, read_audio, recording_blocks


def tone(seconds: float, rate_hz: int = RATE_HZ) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def write(path: Path, samples: np.ndarray, rate_hz: int = RATE_HZ, subtype: str | None = None) -> Path:
    soundfile.write(path, samples, rate_hz, subtype=subtype)
    return path


def play(recording: Recording) -> list[SourceItem]:
    async def run() -> list[SourceItem]:
        return [item async for item in recording.items()]

    return asyncio.run(run())


def joined(items: list[SourceItem]) -> np.ndarray:
    return np.concatenate([item.samples for item in items if isinstance(item, Block)])


class TestReadAudio:
    @pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.opus", "a.mp3", "a.aiff", "a.caf"])
    def test_formats(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / name
        if name == "a.opus":
            soundfile.write(path, tone(1.0), RATE_HZ, format="OGG", subtype="OPUS")
        else:
            write(path, tone(1.0))
        samples = read_audio(path)
        assert samples.dtype == np.float32
        assert len(samples) == RATE_HZ
        whole, _ = soundfile.read(path, dtype="float32")
        np.testing.assert_array_equal(samples, whole)  # read in blocks or at once, it is the same sound
        np.testing.assert_allclose(samples[10_000:40_000], tone(1.0)[10_000:40_000], atol=0.05)

    def test_float_samples_come_through_unchanged(self, tmp_path: Path) -> None:
        np.testing.assert_array_equal(
            read_audio(write(tmp_path / "a.wav", tone(0.35), subtype="FLOAT")), tone(0.35)
        )

    @pytest.mark.parametrize("rate_hz", [8_000, 22_050, 44_100, 96_000])
    def test_other_rates(self, tmp_path: Path, rate_hz: int) -> None:
        samples = read_audio(write(tmp_path / "a.wav", tone(1.0, rate_hz), rate_hz, "FLOAT"))
        assert len(samples) == RATE_HZ
        np.testing.assert_allclose(samples[3000:-3000], tone(1.0)[3000:-3000], atol=1e-3)

    def test_channels_are_mixed(self, tmp_path: Path) -> None:
        stereo = np.stack([tone(0.2), np.zeros_like(tone(0.2))], axis=1)
        samples = read_audio(write(tmp_path / "a.wav", stereo, subtype="FLOAT"))
        np.testing.assert_allclose(samples, tone(0.2) / 2, atol=1e-7)

    def test_a_thousand_channels(self, tmp_path: Path) -> None:
        many = np.tile(tone(0.1)[:, None], (1, 1000))
        np.testing.assert_allclose(
            read_audio(write(tmp_path / "a.wav", many, subtype="FLOAT")), tone(0.1), atol=1e-6
        )

    def test_blocks_are_contiguous_and_small(self, tmp_path: Path) -> None:
        blocks = list(recording_blocks(write(tmp_path / "a.wav", tone(3.21, 44_100), 44_100)))
        assert all(later.first_sample == earlier.end_sample for earlier, later in itertools.pairwise(blocks))
        assert max(len(block.samples) for block in blocks) <= RATE_HZ // 5


class TestBadFiles:
    def check(self, path: Path, message: str) -> None:
        with pytest.raises(SourceError) as error:
            read_audio(path)
        assert str(error.value).startswith(f"{path}: ")
        assert message in str(error.value)
        with pytest.raises(SourceError):
            play(Recording("yard", path, "fast"))

    def test_missing(self, tmp_path: Path) -> None:
        self.check(tmp_path / "a.wav", "no such file")

    def test_folder(self, tmp_path: Path) -> None:
        self.check(tmp_path, "not a file")

    def test_pipe(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "a.wav")
        self.check(tmp_path / "a.wav", "not a file")

    def test_empty(self, tmp_path: Path) -> None:
        (tmp_path / "a.wav").touch()
        self.check(tmp_path / "a.wav", "the file is empty")

    def test_text(self, tmp_path: Path) -> None:
        (tmp_path / "a.wav").write_text("this is no sound")
        self.check(tmp_path / "a.wav", "not a sound file that libsndfile reads: Format not recognised")

    def test_headerless(self, tmp_path: Path) -> None:
        (tmp_path / "a.raw").write_bytes(bytes(1000))
        self.check(tmp_path / "a.raw", "not a sound file that libsndfile reads")

    @pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
    def test_forbidden(self, tmp_path: Path) -> None:
        write(tmp_path / "a.wav", tone(0.1)).chmod(0)
        self.check(tmp_path / "a.wav", "")

    @pytest.mark.parametrize("sample_count", [0, 1, 479])
    def test_too_short(self, tmp_path: Path, sample_count: int) -> None:
        self.check(
            write(tmp_path / "a.wav", tone(1.0)[:sample_count]),
            f"only {sample_count} sample(s) of sound; at least 480",
        )

    @pytest.mark.parametrize("rate_hz", [1, 900_000])
    def test_absurd_rate(self, tmp_path: Path, rate_hz: int) -> None:
        self.check(write(tmp_path / "a.wav", tone(1.0), rate_hz), f"a sample rate of {rate_hz} Hz is not between")

    def test_no_numbers_become_silence(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        samples = tone(0.3)
        expected = samples.copy()
        for start, value in ((100, np.nan), (5000, np.inf), (9000, -np.inf)):
            samples[start : start + 10] = value
            expected[start : start + 10] = 0.0
        path = write(tmp_path / "a.wav", samples, subtype="FLOAT")
        with caplog.at_level(logging.WARNING):
            np.testing.assert_array_equal(read_audio(path), expected)
        assert [record.message for record in caplog.records] == [
            f"{path}: 30 samples are not finite numbers; replaced by silence"
        ]

    def test_absurd_samples_are_limited(self, tmp_path: Path) -> None:
        samples = read_audio(write(tmp_path / "a.wav", tone(0.1) * 1e30, subtype="FLOAT"))
        assert np.abs(samples).max() == 1.0

    def test_a_header_may_lie_about_the_length(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.wav", tone(0.5))
        data = bytearray(path.read_bytes())
        data[40:44] = (2**31 - 2).to_bytes(4, "little")
        path.write_bytes(data)
        np.testing.assert_allclose(read_audio(path), tone(0.5), atol=1e-4)

    @pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
    def test_damaged_files_give_sound_or_a_message(self, tmp_path: Path, name: str) -> None:
        whole = write(tmp_path / name, tone(0.5)).read_bytes()
        damage = random.Random(name)
        path = tmp_path / f"damaged-{name}"
        for _ in range(60):
            data = bytearray(whole)
            for _ in range(damage.randint(1, 30)):
                data[damage.randrange(len(data))] = damage.randrange(256)
            path.write_bytes(data[: damage.randint(1, len(data))])
            try:
                samples = read_audio(path)
            except SourceError as error:
                assert str(error).startswith(f"{path}: ")
            else:
                assert np.isfinite(samples).all()
                assert np.abs(samples).max() <= 1.0


class TestRecording:
    def test_as_fast_as_possible(self, tmp_path: Path) -> None:
        before = datetime.now(UTC)
        items = play(Recording("yard", write(tmp_path / "a.wav", tone(30.0), subtype="FLOAT"), "fast"))
        opened = items[0]
        assert isinstance(opened, StreamOpened)
        assert before <= opened.started <= datetime.now(UTC)
        np.testing.assert_array_equal(joined(items), tone(30.0))
        assert (datetime.now(UTC) - before).total_seconds() < 30

    @pytest.mark.parametrize(("channel", "heard"), [("mix", 0.5), ("left", 0.25), ("right", 0.75), (1, 0.75)])
    def test_a_channel(self, tmp_path: Path, channel: str | int, heard: float) -> None:
        stereo = np.full((4800, 2), (0.25, 0.75), dtype=np.float32)
        path = write(tmp_path / "a.wav", stereo, subtype="FLOAT")
        np.testing.assert_allclose(joined(play(Recording("yard", path, "fast", channel=channel))), heard)

    def test_channels_that_cancel_out_are_warned_of_once(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        sound = tone(8.0, RATE_HZ)
        path = write(tmp_path / "a.wav", np.stack([sound, -sound], axis=1), RATE_HZ)
        recording = Recording("yard", path, "fast")
        for _ in range(2):
            assert np.abs(joined(play(recording))).max() < 1e-4
        assert caplog.messages == [
            "source yard: its 2 channels cancel each other out, so that their mix is silence; "
            "set channel to left or right"
        ]

    def test_a_channel_that_the_file_lacks(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.wav", tone(0.1))
        with pytest.raises(SourceError, match=rf"^{path}: .*no channel 3"):
            play(Recording("yard", path, "fast", channel=3))

    def test_in_real_time(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.wav", tone(0.5))

        async def run() -> list[tuple[float, float]]:
            loop = asyncio.get_running_loop()
            start = loop.time()
            return [
                (loop.time() - start, item.end_sample / RATE_HZ)
                async for item in Recording("yard", path).items()
                if isinstance(item, Block)
            ]

        arrivals = asyncio.run(run())
        assert arrivals[-1][1] == pytest.approx(0.5)
        assert all(arrived >= heard - 0.001 for arrived, heard in arrivals)  # no sound before it was made

    def test_a_loop_is_one_endless_stream(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.wav", tone(0.25), subtype="FLOAT")

        async def run() -> list[SourceItem]:
            items: list[SourceItem] = []
            async with aclosing(Recording("yard", path, "fast", loop=True).items()) as stream:
                async for item in stream:
                    items.append(item)
                    if len(items) == 10:
                        break
            return items

        items = asyncio.run(run())
        blocks = [item for item in items if isinstance(item, Block)]
        assert len(blocks) == 9
        assert all(later.first_sample == earlier.end_sample for earlier, later in itertools.pairwise(blocks))
        np.testing.assert_array_equal(joined(items), np.tile(tone(0.25), 3))

    def test_cancelling_closes_the_file(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.wav", tone(30.0))

        async def run() -> None:
            async def consume() -> None:
                async with aclosing(Recording("yard", path).items()) as stream:
                    async for _ in stream:
                        heard.set()

            heard = asyncio.Event()
            task = asyncio.create_task(consume())
            await heard.wait()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert task.cancelled()

        asyncio.run(run())
        open_files = [link.resolve() for link in Path("/proc/self/fd").iterdir()]
        assert path.resolve() not in open_files
