"""Network streams as cameras and radios send them: real servers, in real time and at once."""

from __future__ import annotations

import asyncio
import http.server
import itertools
import time
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest
from support.media_server import make_media, serving_live, serving_rtsp
from test_stream import frequency, send, serving

from clapstream.audio.block import RATE_HZ, Block, SourceItem, StreamLost, StreamOpened
from clapstream.audio.stream.stream import Stream
from clapstream.process.backoff import Backoff
from clapstream.urls import shown_url

pytest.importorskip("av", reason="needs the extra stream")

TIMEOUT_SECONDS = 90.0
VIDEO = ("-f", "lavfi", "-i", "testsrc=size=160x120:rate=10:duration=40")
TS = ("-f", "mpegts", "-muxdelay", "0", "-muxpreload", "0")


def sine(seconds: float, hz: int = 440, rate_hz: int = RATE_HZ) -> tuple[str, ...]:
    return ("-f", "lavfi", "-i", f"sine=frequency={hz}:duration={seconds}:sample_rate={rate_hz}")


async def collect(source: Stream, until: Callable[[list[SourceItem]], bool]) -> list[SourceItem]:
    items: list[SourceItem] = []
    async with asyncio.timeout(TIMEOUT_SECONDS), aclosing(source.items()) as stream:
        async for item in stream:
            items.append(item)
            if until(items):
                break
    return items


def listen(source: Stream, until: Callable[[list[SourceItem]], bool]) -> list[SourceItem]:
    return asyncio.run(collect(source, until))


def lost(items: list[SourceItem]) -> bool:
    return isinstance(items[-1], StreamLost)


def heard(seconds: float) -> Callable[[list[SourceItem]], bool]:
    return lambda items: isinstance(items[-1], Block) and items[-1].end_sample >= seconds * RATE_HZ


def blocks_of(items: list[SourceItem]) -> list[Block]:
    return [item for item in items if isinstance(item, Block)]


def holes(items: list[SourceItem]) -> list[tuple[float, float]]:
    """Where sound is missing, in seconds from the start of the stream."""
    return [
        (earlier.end_sample / RATE_HZ, later.first_sample / RATE_HZ)
        for earlier, later in itertools.pairwise(blocks_of(items))
        if later.first_sample != earlier.end_sample
    ]


class TestPresentationTimes:
    """Files behind a URL, whose time stamps tell what a live server would have sent."""

    def join(self, folder: Path, *offsets: float) -> bytes:
        """Parts of 5 s each whose time stamps begin at the offsets; each has its own frequency, from 440 Hz up."""
        return b"".join(
            make_media(
                folder / f"{part}.ts",
                *sine(5, 440 * (part + 1)),
                "-c:a",
                "mp2",
                *TS,
                "-output_ts_offset",
                str(offset),
            ).read_bytes()
            for part, offset in enumerate(offsets)
        )

    def hear(self, data: bytes) -> tuple[list[SourceItem], Stream]:
        with serving(send(data)) as url:
            source = Stream("porch", url)
            items = listen(source, lost)
        assert isinstance(items[0], StreamOpened)
        return items, source

    def test_a_jump_is_a_hole_counted_and_never_spliced(self, tmp_path: Path) -> None:
        items, source = self.hear(self.join(tmp_path, 0, 9, 18.5))
        found = holes(items)
        assert [round(hole[1] - hole[0], 1) for hole in found] == [4.0, 4.5]
        assert [hole[1] for hole in found] == pytest.approx([9, 18.5], abs=0.05)
        assert source.dropped_blocks == pytest.approx(85, abs=3)
        for block in blocks_of(items):
            if block.first_sample / RATE_HZ >= 18.7 and len(block.samples) > 4000:
                assert frequency(block.samples) == pytest.approx(1320, abs=20)

    @pytest.mark.parametrize("offset", [0.0, 7200.0], ids=["back", "hours ahead"])
    def test_where_a_clock_was_set_sound_goes_on_behind_a_small_hole(self, tmp_path: Path, offset: float) -> None:
        items, source = self.hear(self.join(tmp_path, 20, offset))
        (hole,) = holes(items)
        assert hole[0] == pytest.approx(5, abs=0.1)
        assert 0 < hole[1] - hole[0] < 0.5
        assert source.dropped_blocks == 1
        assert blocks_of(items)[-1].end_sample / RATE_HZ == pytest.approx(10, abs=0.2)

    def test_what_is_sent_twice_is_heard_once(self, tmp_path: Path) -> None:
        items, source = self.hear(self.join(tmp_path, 0, 3))
        assert holes(items) == []
        assert source.dropped_blocks == 0
        assert blocks_of(items)[-1].end_sample / RATE_HZ == pytest.approx(8, abs=0.2)

    def test_time_stamps_that_wrap_are_no_hole(self, tmp_path: Path) -> None:
        wrap_seconds = 2**33 / 90_000
        path = make_media(
            tmp_path / "wrap.ts", *sine(8), "-c:a", "aac", *TS, "-output_ts_offset", str(wrap_seconds - 4)
        )
        items, _ = self.hear(path.read_bytes())
        assert holes(items) == []
        assert blocks_of(items)[-1].end_sample / RATE_HZ == pytest.approx(8, abs=0.2)

    @pytest.mark.parametrize(
        ("name", "codec"),
        [
            ("rounded.flv", "aac"),
            ("rounded.mkv", "aac"),
            ("radio.mp3", "libmp3lame"),
            ("radio.aac", "aac"),
            ("radio.ogg", "libvorbis"),
            ("camera.ts", "aac"),
        ],
    )
    def test_rounded_time_stamps_are_no_holes(self, tmp_path: Path, name: str, codec: str) -> None:
        path = make_media(tmp_path / name, *sine(12, rate_hz=44_100), "-c:a", codec)
        items, source = self.hear(path.read_bytes())
        assert holes(items) == []
        assert source.dropped_blocks == 0
        assert blocks_of(items)[-1].end_sample / RATE_HZ == pytest.approx(12, abs=0.2)

    def test_damaged_packets_are_left_out(self, tmp_path: Path) -> None:
        data = bytearray(make_media(tmp_path / "a.ts", *sine(10), "-c:a", "aac", *TS).read_bytes())
        noise = np.random.default_rng(1)
        for packet in range(20, len(data) // 188, 9):
            data[packet * 188 + 30 : packet * 188 + 90] = noise.bytes(60)
        items, _ = self.hear(bytes(data))
        assert items[-1].reason.endswith("the stream ended")  # type: ignore[union-attr]
        assert len(holes(items)) > 5
        assert blocks_of(items)[-1].end_sample / RATE_HZ > 9


class TestChannels:
    @pytest.mark.parametrize(("channel", "hz"), [("left", 440), ("right", 880), (1, 880)])
    def test_one_channel_is_heard(self, tmp_path: Path, channel: str | int, hz: int) -> None:
        path = make_media(
            tmp_path / "stereo.flac", *sine(2), *sine(2, 880), "-filter_complex", "[0:a][1:a]amerge=inputs=2"
        )
        with serving(send(path.read_bytes())) as url:
            items = listen(Stream("porch", url, channel), lost)
        samples = np.concatenate([block.samples for block in blocks_of(items)])
        assert frequency(samples) == pytest.approx(hz, abs=2)

    def test_channels_that_cancel_out_are_warned_of(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        path = make_media(tmp_path / "stereo.flac", *sine(8), "-af", "pan=stereo|c0=c0|c1=-1*c0")
        with serving(send(path.read_bytes())) as url:
            listen(Stream("porch", url), lost)
        assert sum("source porch: its 2 channels cancel each other out" in line for line in caplog.messages) == 1

    def test_a_missing_channel_is_reported(self, tmp_path: Path) -> None:
        path = make_media(tmp_path / "mono.flac", *sine(2))
        with serving(send(path.read_bytes())) as url:
            (item,) = listen(Stream("porch", url, "right"), lost)
        reason = "the sound has 1 channel: there is no channel right; set channel to mix, left or 0"
        assert item == StreamLost(f"{shown_url(url)}: {reason}")

    def test_of_several_tracks_one_that_sends_is_heard(self, tmp_path: Path) -> None:
        """The first and best one, 5.1, has no sound in it."""
        path = make_media(
            tmp_path / "tracks.mkv", *sine(10), "-f", "lavfi", "-i", "anullsrc=cl=5.1:d=10", "-map", "1:a", "-map",
            "0:a", "-c:a", "ac3", "-filter:a:0", "atrim=start=60",
        )  # fmt: skip
        with serving(send(path.read_bytes())) as url:
            items = listen(Stream("porch", url), lost)
        assert frequency(blocks_of(items)[-10].samples) == pytest.approx(440, abs=20)


@pytest.mark.slow
class TestLiveServers:
    def test_audio_that_begins_late_is_heard_with_its_true_time(self, tmp_path: Path) -> None:
        late = (*VIDEO, "-itsoffset", "6", *sine(20), "-map", "0:v", "-map", "1:a", "-c:a", "aac")
        flv = make_media(tmp_path / "late.flv", *late, "-c:v", "flv")
        ts = make_media(tmp_path / "late.ts", *late, "-c:v", "mpeg2video")

        async def both(*urls: str) -> list[list[SourceItem]]:
            return await asyncio.gather(*(collect(Stream("porch", url), heard(1.5)) for url in urls))

        with serving_live(flv, "flv") as flv_server, serving_live(ts, "mpegts") as ts_server:
            heard_items = asyncio.run(both(flv_server.url, ts_server.url))
        for items, server in zip(heard_items, (flv_server, ts_server), strict=True):
            assert isinstance(items[0], StreamOpened)
            assert len(server.began) == 1
            assert items[0].started.timestamp() - server.began[0] == pytest.approx(6, abs=1.0)

    def test_audio_that_stops_or_never_comes_while_video_goes_on(self, tmp_path: Path) -> None:
        path = make_media(tmp_path / "stops.ts", *VIDEO, *sine(4), "-c:v", "mpeg2video", "-c:a", "aac")

        async def all_of(*urls: str) -> list[list[SourceItem]]:
            return await asyncio.gather(*(collect(Stream("porch", url), lost) for url in urls))

        with serving_live(path, "mpegts") as stops, serving_live(path, "mpegts", without_pid=0x101) as never:
            stopped, unheard = asyncio.run(all_of(stops.url, never.url))
        assert stopped[-1] == StreamLost(f"{shown_url(stops.url)}: no audio received for 5 s")
        assert blocks_of(stopped)[-1].end_sample / RATE_HZ == pytest.approx(4, abs=0.3)
        assert unheard == [
            StreamLost(f"{shown_url(never.url)}: no audio received for 10 s on the announced audio track")
        ]

    def test_a_hole_in_the_sound_of_a_live_camera_shifts_no_time(self, tmp_path: Path) -> None:
        parts = [
            make_media(
                tmp_path / f"{offset}.ts", *sine(4), *VIDEO, "-t", "8", "-c:v", "mpeg2video", "-c:a", "aac", *TS,
                "-output_ts_offset", str(offset),
            ).read_bytes()
            for offset in (0, 8)
        ]  # fmt: skip
        path = tmp_path / "hole.ts"
        path.write_bytes(b"".join(parts))
        with serving_live(path, "mpegts") as server:
            items = listen(Stream("porch", server.url), heard(9))
            passed = time.time() - server.began[0]
        ((begin, end),) = holes(items)
        assert (begin, end) == (pytest.approx(4, abs=0.3), pytest.approx(8, abs=0.3))
        assert passed == pytest.approx(blocks_of(items)[-1].end_sample / RATE_HZ, abs=2.0)

    def test_segments_come_evenly_and_the_wait_for_the_next_is_no_loss(self, tmp_path: Path) -> None:
        """HLS with segments of 6 s: three at once, then one each 6 s."""
        folder = tmp_path / "hls"
        folder.mkdir()
        make_media(
            folder / "all.m3u8", *sine(48), "-c:a", "aac", "-f", "hls", "-hls_time", "6", "-hls_list_size", "0",
        )  # fmt: skip
        whole = (folder / "all.m3u8").read_text().splitlines()
        first = next(number for number, line in enumerate(whole) if line.startswith("#EXTINF"))
        began = time.monotonic()

        def answer(request: http.server.BaseHTTPRequestHandler) -> None:
            name = request.path.rpartition("/")[2]
            if name.endswith(".ts"):
                return send((folder / name).read_bytes())(request)
            segments = 3 + int((time.monotonic() - began) / 6)
            return send("\n".join([*whole[: first + 2 * segments], ""]).encode())(request)

        with serving(answer) as url:
            items = listen(Stream("porch", url.replace("/sound", "/live.m3u8")), heard(10))
        assert time.monotonic() - began > 8
        assert holes(items) == []
        assert [type(item) for item in items if not isinstance(item, Block)] == [StreamOpened]


@pytest.mark.slow
class TestRtsp:
    def test_only_the_sound_is_asked_for(self, tmp_path: Path) -> None:
        with serving_rtsp(tmp_path) as camera:
            items = listen(Stream("porch", camera.url), heard(2))
            assert camera.log == ["ready", "SETUP /camera/stream=1", "PLAY 1"]
        assert holes(items) == []
        assert frequency(blocks_of(items)[-5].samples) == pytest.approx(440, abs=20)

    @pytest.mark.parametrize("transport", ["auto", "udp"])
    def test_a_camera_that_only_knows_udp(self, tmp_path: Path, transport: str) -> None:
        with serving_rtsp(tmp_path, protocols="udp") as camera:
            items = listen(Stream("porch", camera.url, transport=transport), heard(1))  # type: ignore[arg-type]
        assert isinstance(items[0], StreamOpened)

    def test_tcp_alone_can_be_asked_for(self, tmp_path: Path) -> None:
        with serving_rtsp(tmp_path, protocols="udp") as camera:
            assert listen(Stream("porch", camera.url, transport="tcp"), lost) == [
                StreamLost(f"{shown_url(camera.url)}: Protocol not supported")
            ]

    def test_no_camera(self, tmp_path: Path) -> None:
        with serving_rtsp(tmp_path) as camera:
            url = camera.url
        assert listen(Stream("porch", url), lost) == [StreamLost(f"{shown_url(url)}: Connection refused")]

    def test_a_camera_that_refuses_to_send_sound_alone_is_asked_for_all(self, tmp_path: Path) -> None:
        with serving_rtsp(tmp_path, refuses_audio_alone=True) as camera:
            items = listen(Stream("porch", camera.url), heard(1))
            assert camera.log[-1] == "PLAY 2"
        assert isinstance(items[0], StreamOpened)

    @pytest.mark.parametrize(
        ("muted", "setups"),
        [
            pytest.param(1, ["1", "0", "1"], id="at first, it is asked for all"),
            pytest.param(2, ["1", "1", "1"], id="later, it is asked as before"),
        ],
    )
    def test_a_camera_that_lets_in_but_sends_no_sound(self, tmp_path: Path, muted: int, setups: list[str]) -> None:
        def opened_after_silence(items: list[SourceItem]) -> bool:
            return sum(isinstance(item, StreamOpened) for item in items) == muted

        with serving_rtsp(tmp_path, audio="num-buffers=100", muted=muted) as camera:
            listen(Stream("porch", camera.url, backoff=Backoff(0.0, 0.0)), opened_after_silence)
            asked = [line.rpartition("=")[2] for line in camera.log if line.startswith("SETUP")]
        assert asked == setups

    def test_a_camera_whose_sound_ends(self, tmp_path: Path) -> None:
        """With its video, of a camera that does not send the sound alone: nothing but video goes on."""
        with serving_rtsp(tmp_path, audio="num-buffers=300", refuses_audio_alone=True) as camera:
            items = listen(Stream("porch", camera.url, backoff=Backoff(0.0, 0.0)), lost)
        assert items[-1] == StreamLost(f"{shown_url(camera.url)}: no audio received for 5 s")
        assert blocks_of(items)[-1].end_sample / RATE_HZ == pytest.approx(3, abs=0.5)
