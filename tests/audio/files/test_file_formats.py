"""Sound files that libsndfile refuses, or reads wrongly: what FFmpeg's libraries make of them."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from pathlib import Path
from socketserver import BaseRequestHandler, TCPServer

import numpy as np
import pytest
import soundfile
from support.sound_files import cut_in_half, ffmpeg, make_tone, make_video

from clapstream.audio.block import RATE_HZ, Block
from clapstream.audio.channel_choice import ChannelChoice
from clapstream.audio.files.recording import SourceError, claimed_seconds, read_audio, recording_blocks

pytest.importorskip("av", reason="needs the extra stream")


def blocks_of(path: Path, channel: str | int = "mix") -> list[Block]:
    return list(recording_blocks(path, ChannelChoice("yard", channel).mono))


def frequency_hz(samples: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(spectrum.argmax() * RATE_HZ / len(samples))


@pytest.mark.parametrize(
    "name",
    [
        "a.m4a",
        "a.mp4",
        "a.mov",
        "a.3gp",
        "a.aac",
        "a.webm",
        "a.mka",
        "a.wma",
        "a.flv",
        "a.avi",
        "a.ts",
        "a.ac3",
        "a.wv",
    ],
)
def test_formats_that_libsndfile_refuses(tmp_path: Path, name: str) -> None:
    path = make_tone(tmp_path / name, 2, *(["-c:a", "aac"] if name == "a.3gp" else []))
    samples = read_audio(path)
    assert samples.dtype == np.float32
    assert len(samples) / RATE_HZ == pytest.approx(2.0, abs=0.07)
    assert frequency_hz(samples[RATE_HZ // 2 : RATE_HZ * 3 // 2]) == pytest.approx(440, abs=2)
    assert claimed_seconds(path) == pytest.approx(2.0, abs=0.2)


def test_amr(tmp_path: Path) -> None:
    """The format of phones and dictaphones, written by PyAV: Debian's ffmpeg cannot."""
    av = pytest.importorskip("av")
    if "libopencore_amrnb" not in av.codecs_available:
        pytest.skip("needs a PyAV that writes AMR")
    tone = (np.sin(2 * np.pi * 440 * np.arange(16_000) / 8_000) * 16_000).astype(np.int16)
    with av.open(str(tmp_path / "a.amr"), "w") as container:
        track = container.add_stream("libopencore_amrnb", rate=8_000, layout="mono")
        track.bit_rate = 12_200
        for part in tone.reshape(-1, 1, 160):
            frame = av.AudioFrame.from_ndarray(part, "s16", "mono")
            frame.sample_rate = 8_000
            container.mux(track.encode(frame))
        container.mux(track.encode(None))
    samples = read_audio(tmp_path / "a.amr")
    assert len(samples) / RATE_HZ == pytest.approx(2.0, abs=0.07)
    assert frequency_hz(samples[RATE_HZ // 2 : RATE_HZ * 3 // 2]) == pytest.approx(440, abs=2)


@pytest.mark.parametrize("codec", [["aac", "a.m4a"], ["aac", "a.mka"], ["libopus", "a.webm"], ["aac", "a.ts"]])
def test_what_an_encoder_puts_before_the_sound_shifts_no_times(tmp_path: Path, codec: list[str]) -> None:
    click = np.zeros(2 * RATE_HZ, dtype=np.float32)
    click[RATE_HZ : RATE_HZ + 200] = 0.9
    soundfile.write(tmp_path / "click.wav", click, RATE_HZ)
    ffmpeg("-i", tmp_path / "click.wav", "-c:a", codec[0], tmp_path / codec[1])
    blocks = blocks_of(tmp_path / codec[1])
    loudest = max(blocks, key=lambda block: float(np.abs(block.samples).max()))
    place = loudest.first_sample + int(np.abs(loudest.samples).argmax())
    assert place / RATE_HZ == pytest.approx(1.002, abs=0.03)


@pytest.mark.parametrize("rate_hz", [8_000, 192_000])
def test_rates(tmp_path: Path, rate_hz: int) -> None:
    path = make_tone(tmp_path / "a.mka", 1, "-ar", str(rate_hz), "-c:a", "alac")
    assert frequency_hz(read_audio(path)[: RATE_HZ // 2]) == pytest.approx(440, abs=3)


class TestVideo:
    @pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
    def test_sound_that_begins_late_has_the_times_of_the_file(self, tmp_path: Path, name: str) -> None:
        blocks = blocks_of(make_video(tmp_path / name, 6, "-c:a", "aac", sound_from=3.0))
        assert blocks[0].first_sample / RATE_HZ == pytest.approx(3.0, abs=0.1)
        assert blocks[-1].end_sample / RATE_HZ == pytest.approx(5.0, abs=0.1)

    def test_video_without_sound_is_refused(self, tmp_path: Path) -> None:
        path = make_video(tmp_path / "a.mp4", 1)
        with pytest.raises(SourceError, match=rf"{path}: no audio track, only video"):
            read_audio(path)

    def test_the_default_track_is_heard(self, tmp_path: Path) -> None:
        path = tmp_path / "a.mka"
        tracks = ["-f", "lavfi", "-i", "sine=440:duration=1", "-f", "lavfi", "-i", "sine=880:duration=1"]
        disposition = ["-disposition:a:0", "0", "-disposition:a:1", "default"]
        ffmpeg(*tracks, "-map", "0", "-map", "1", "-c:a", "libopus", *disposition, path)
        assert frequency_hz(read_audio(path)[: RATE_HZ // 2]) == pytest.approx(880, abs=3)

    def test_a_gap_in_the_time_stamps_is_a_hole_and_reported(self, tmp_path: Path) -> None:
        whole = make_tone(tmp_path / "whole.mka", 9, "-c:a", "aac")
        path = tmp_path / "a.mka"
        ffmpeg("-i", whole, "-c", "copy", "-bsf:a", r"noise=drop=gte(pts*tb\,3)*lt(pts*tb\,6)", path)
        blocks: list[Block] = []
        with pytest.raises(SourceError, match=r"a\.mka: no sound from 3\.0 to 6\.0 s"):
            for block in recording_blocks(path):
                blocks.append(block)
        holes = [(before.end_sample, after.first_sample) for before, after in itertools.pairwise(blocks)]
        (hole,) = [(end / RATE_HZ, start / RATE_HZ) for end, start in holes if end != start]
        assert hole == pytest.approx((3.0, 6.0), abs=0.1)
        assert blocks[-1].end_sample / RATE_HZ == pytest.approx(9.0, abs=0.1)


class TestChannels:
    def test_one_of_six(self, tmp_path: Path) -> None:
        silence = "aevalsrc=0|0|0|0|0.5*sin(880*2*PI*t)|0:channel_layout=5.1:duration=1"
        path = tmp_path / "a.mka"
        ffmpeg("-f", "lavfi", "-i", silence, "-c:a", "pcm_s16le", path)
        levels = [float(np.abs(np.concatenate([b.samples for b in blocks_of(path, i)])).max()) for i in range(6)]
        assert levels == pytest.approx([0, 0, 0, 0, 0.5, 0], abs=0.01)

    def test_one_of_eight(self, tmp_path: Path) -> None:
        """PyAV finds a ninth plane in frames of eight, at an address of something else."""
        seven_silent = "|".join(["0"] * 7)
        path = tmp_path / "a.m4a"
        ffmpeg(
            "-f", "lavfi", "-i", f"aevalsrc={seven_silent}|0.5*sin(880*2*PI*t):channel_layout=7.1:duration=1", path
        )
        levels = [float(np.abs(np.concatenate([b.samples for b in blocks_of(path, i)])).max()) for i in range(8)]
        assert levels == pytest.approx([0.0] * 7 + [0.5], abs=0.02)
        assert np.abs(read_audio(path)).max() == pytest.approx(0.5 / 8, abs=0.01)
        with pytest.raises(SourceError, match="no channel 8"):
            blocks_of(path, 8)

    @pytest.mark.parametrize(("name", "channel"), [("a.wav", "right"), ("a.m4a", 1), ("a.m4a", "right")])
    def test_one_that_the_file_lacks(self, tmp_path: Path, name: str, channel: str | int) -> None:
        path = make_tone(tmp_path / name, 1)
        with pytest.raises(SourceError, match=rf"^{path}: .*no channel {channel}"):
            blocks_of(path, channel)

    def test_right_and_left_of_stereo(self, tmp_path: Path) -> None:
        path = tmp_path / "a.m4a"
        ffmpeg("-f", "lavfi", "-i", "aevalsrc=0.5*sin(440*2*PI*t)|0:duration=1", path)
        loudness = {
            each: np.abs(np.concatenate([b.samples for b in blocks_of(path, each)])).max()
            for each in ("left", "right")
        }
        assert loudness["left"] > 0.4
        assert loudness["right"] < 0.01


class TestNamesAndContent:
    @pytest.mark.parametrize(
        ("real", "named"),
        [("a.mp3", "b.wav"), ("a.m4a", "b.wav"), ("a.aac", "b.mp3"), ("a.wav", "b.m4a"), ("a.m4a", "b.raw")],
    )
    def test_the_content_counts_not_the_name(self, tmp_path: Path, real: str, named: str) -> None:
        path = make_tone(tmp_path / real, 2).rename(tmp_path / named)
        samples = read_audio(path)
        assert len(samples) / RATE_HZ == pytest.approx(2.0, abs=0.07)
        assert frequency_hz(samples[RATE_HZ // 2 : RATE_HZ]) == pytest.approx(440, abs=2)

    def test_mp3_whose_length_is_only_guessed_is_read_to_its_end(self, tmp_path: Path) -> None:
        path = make_tone(tmp_path / "a.mp3", 20, "-write_xing", "0", "-q:a", "4")
        assert len(read_audio(path)) / RATE_HZ == pytest.approx(20.0, abs=0.1)  # libsndfile guesses 3.4 s

    def test_mp3_with_the_text_of_a_whole_album_before_its_sound(self, tmp_path: Path) -> None:
        sound = make_tone(tmp_path / "plain.mp3", 1).read_bytes()
        size = 700_000
        digits = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
        path = tmp_path / "a.mp3"
        path.write_bytes(b"ID3\x03\0\0" + digits + bytes(size) + sound)
        assert len(read_audio(path)) / RATE_HZ == pytest.approx(1.0, abs=0.1)

    @pytest.mark.parametrize("second", ["b.ogg", "b.opus"])
    def test_ogg_streams_one_after_the_other_whatever_their_rate(self, tmp_path: Path, second: str) -> None:
        first = make_tone(tmp_path / "a.ogg", 2, "-c:a", "libvorbis")
        rate = ["-ar", "22050", "-c:a", "libvorbis"] if second == "b.ogg" else []
        chain = tmp_path / "chain.ogg"
        chain.write_bytes(first.read_bytes() + make_tone(tmp_path / second, 3, *rate).read_bytes())
        samples = read_audio(chain)
        assert len(samples) / RATE_HZ == pytest.approx(5.0, abs=0.02)
        assert frequency_hz(samples[3 * RATE_HZ : 4 * RATE_HZ]) == pytest.approx(440, abs=2)

    @pytest.mark.parametrize(
        "start", [b"RIFF\x24\0\0\0WAVE", b"OggS", b"fLaC", b"ID3", b"\0\0\0\x20ftypM4A ", b"\x1aE\xdf\xa3"]
    )
    def test_what_only_begins_like_sound_is_refused(self, tmp_path: Path, start: bytes) -> None:
        path = tmp_path / "a.m4a"
        path.write_bytes(start + b" and then no sound at all" * 40)
        with pytest.raises(SourceError, match=r"not a sound file that libsndfile reads: .*; FFmpeg: "):
            read_audio(path)

    def test_an_mp4_file_that_lost_its_end_is_reported(self, tmp_path: Path) -> None:
        path = cut_in_half(make_tone(tmp_path / "a.m4a", 3))
        with pytest.raises(SourceError, match=r"without its index .*cut short or damaged"):
            read_audio(path)

    def test_a_playlist_opens_no_other_file_and_no_address(self, tmp_path: Path) -> None:
        make_tone(tmp_path / "secret.ts", 1)
        connected = threading.Event()

        class Handler(BaseRequestHandler):
            def handle(self) -> None:
                connected.set()

        with TCPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            address = f"http://127.0.0.1:{server.server_address[1]}/a.ts"
            for target in (address, "secret.ts", f"file:{tmp_path / 'secret.ts'}"):
                playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n"
                for name, text in {
                    "a.m3u8": playlist,
                    "a.ffconcat": f"ffconcat version 1.0\nfile '{target}'\n",
                }.items():
                    (tmp_path / name).write_text(text)
                    with pytest.raises(SourceError, match=name):
                        read_audio(tmp_path / name)
            server.shutdown()
            thread.join()
        assert not connected.is_set()

    @pytest.mark.parametrize(
        "name", ["concat:a.wav|b.wav", "-", "http:", b"\xff\xfe.m4a".decode("utf-8", "surrogateescape")]
    )
    def test_file_names_are_names_of_files(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        made = make_tone(tmp_path / "made.m4a", 1)
        made.rename(name)
        assert len(read_audio(Path(name))) / RATE_HZ == pytest.approx(1.0, abs=0.07)
        soundfile.write("made.wav", np.zeros(RATE_HZ, dtype=np.float32), RATE_HZ)
        Path("made.wav").rename(name)
        assert len(read_audio(Path(name))) == RATE_HZ


@pytest.mark.slow
def test_a_long_file_takes_no_more_memory_than_a_short_one(tmp_path: Path) -> None:
    """Ten minutes at 48 kHz are 115 MB of samples."""
    path = make_tone(tmp_path / "a.m4a", 600, "-ar", "48000")
    probe = (
        "import resource, sys, pathlib; from clapstream.audio.files.recording import recording_blocks\n"
        "blocks = recording_blocks(pathlib.Path(sys.argv[1])); next(blocks)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "end = [block.end_sample for block in blocks][-1]\n"
        "print(end, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe, path], capture_output=True, text=True, timeout=120, check=True
    )
    end_sample, grown_kilobytes = map(int, done.stdout.split())
    assert end_sample / RATE_HZ == pytest.approx(600, abs=0.1)
    assert grown_kilobytes < 50_000
