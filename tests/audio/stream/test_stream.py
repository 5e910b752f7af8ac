"""Network streams from a real HTTP server, through every way it can fail."""

from __future__ import annotations

import asyncio
import gc
import http.server
import io
import itertools
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from clapstream.audio.block import RATE_HZ, Block, SourceItem, StreamLost, StreamOpened
from clapstream.audio.stream.stream import QUEUED_BLOCKS, Stream
from clapstream.process.backoff import Backoff
from clapstream.urls import shown_url

av = pytest.importorskip("av", reason="needs the extra stream")

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


def tone(seconds: float, rate_hz: int = RATE_HZ) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def frequency(samples: np.ndarray) -> float:
    """The strongest one, in Hz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 4 * RATE_HZ))
    return float(np.argmax(spectrum)) / 4


def encoded(samples: np.ndarray, rate_hz: int, container: str, subtype: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format=container, subtype=subtype)
    return file.getvalue()


WAV = encoded(tone(1.0), RATE_HZ, "WAV", "FLOAT")


def send(data: bytes, claimed: int | None = None) -> Answer:
    """Answer with data; a larger claimed length makes the connection break early."""

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(claimed or len(data)))
        request.end_headers()
        request.wfile.write(data)

    return answer


def refuse(code: int) -> Answer:
    return lambda request: request.send_error(code)


@contextmanager
def serving(*answers: Answer) -> Iterator[str]:
    """An HTTP server that gives one answer after the other, the last one for ever; gives its URL."""
    remaining = list(answers)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = remaining.pop(0) if len(remaining) > 1 else remaining[0]
            answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that leave are no news
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/sound"
        finally:
            server.shutdown()
            thread.join()


def listen(source: Stream, until: Callable[[list[SourceItem]], bool]) -> list[SourceItem]:
    async def run() -> list[SourceItem]:
        items: list[SourceItem] = []
        async with asyncio.timeout(60), aclosing(source.items()) as stream:
            async for item in stream:
                items.append(item)
                if until(items):
                    break
        return items

    return asyncio.run(run())


def lost(items: list[SourceItem]) -> bool:
    return isinstance(items[-1], StreamLost)


def lost_item(item: SourceItem) -> bool:
    return isinstance(item, StreamLost)


def joined(items: list[SourceItem]) -> np.ndarray:
    blocks = [item for item in items if isinstance(item, Block)]
    assert all(later.first_sample == earlier.end_sample for earlier, later in itertools.pairwise(blocks))
    return np.concatenate([block.samples for block in blocks])


class TestSound:
    def test_a_wave_file_comes_through_unchanged(self) -> None:
        with serving(send(WAV)) as url:
            items = listen(Stream("porch", url), lost)
        assert isinstance(items[0], StreamOpened)
        assert items[-1] == StreamLost(f"{shown_url(url)}: the stream ended")
        np.testing.assert_array_equal(joined(items), tone(1.0))

    def test_compressed_stereo_at_another_rate(self) -> None:
        stereo = np.stack([tone(1.0, 44_100)] * 2, axis=1)
        with serving(send(encoded(stereo, 44_100, "OGG", "VORBIS"))) as url:
            samples = joined(listen(Stream("porch", url), lost))
        assert abs(len(samples) - RATE_HZ) < 200
        middle = samples[12_000:36_000]
        spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
        assert np.argmax(spectrum) == 440 * len(middle) // RATE_HZ
        assert np.abs(middle).max() == pytest.approx(0.5, abs=0.05)

    @pytest.mark.parametrize(
        ("container", "subtype", "error"),
        [
            ("WAV", "PCM_U8", 1 / 127),
            ("WAV", "PCM_24", 1e-6),
            ("WAV", "PCM_32", 1e-6),
            ("WAV", "DOUBLE", 1e-6),
            ("FLAC", "PCM_16", 1e-4),
        ],
    )
    def test_samples_of_any_kind_have_the_same_scale(self, container: str, subtype: str, error: float) -> None:
        stereo = np.stack([tone(0.3), np.zeros_like(tone(0.3))], axis=1)
        with serving(send(encoded(stereo, RATE_HZ, container, subtype))) as url:
            samples = joined(listen(Stream("porch", url), lost))
        np.testing.assert_allclose(samples, tone(0.3) / 2, atol=error)


class TestFaults:
    @pytest.mark.parametrize(
        ("fault", "reason"),
        [
            (refuse(404), "Server returned 404 Not Found"),
            (refuse(401), "Server returned 401 Unauthorized (authorization failed)"),
            (send(b"this is no sound" * 100), "Invalid data found when processing input"),
        ],
    )
    def test_reports_why_and_retries(self, fault: Answer, reason: str) -> None:
        with serving(fault, fault, send(WAV)) as url:
            source = Stream("porch", url, backoff=Backoff(0.0, 0.0))
            items = listen(source, lambda items: isinstance(items[-1], Block))
        assert items[0] == StreamLost(f"{shown_url(url)}: {reason}")
        assert isinstance(items[1], StreamOpened)
        assert source.reconnects == 0

    def test_no_server(self) -> None:
        with serving(refuse(404)) as url:
            pass
        assert listen(Stream("porch", url), lost) == [StreamLost(f"{shown_url(url)}: Connection refused")]

    def test_a_broken_connection_is_lost_and_opened_again(self) -> None:
        with serving(send(WAV[: len(WAV) // 2], claimed=len(WAV)), send(WAV)) as url:
            source = Stream("porch", url, backoff=Backoff(0.0, 0.0))
            items = listen(source, lambda items: sum(isinstance(item, StreamOpened) for item in items) == 2)
        assert items[-2] == StreamLost(f"{shown_url(url)}: the server closed the connection")
        assert source.reconnects == 1

    def test_many_reconnects_leave_no_thread_behind(self) -> None:
        """Without the garbage collector's help: it may not come by for hours."""
        sound = encoded(np.stack([tone(0.3, 44_100)] * 2, axis=1), 44_100, "WAV", "PCM_16")

        def threads() -> int:
            return sum(1 for _ in Path("/proc/self/task").iterdir())

        with serving(send(sound[: len(sound) // 2], claimed=len(sound))) as url:
            source = Stream("porch", url, backoff=Backoff(0.0, 0.0))
            gc.disable()
            try:
                listen(source, lambda items: sum(map(lost_item, items)) == 2)
                before = threads()
                listen(source, lambda items: sum(map(lost_item, items)) == 10)
                assert threads() <= before + 2
            finally:
                gc.enable()

    def test_a_rate_that_changes_in_mid_stream_leaves_a_hole(self) -> None:
        parts = [encoded(tone(1.0, rate_hz), rate_hz, "MP3", "MPEG_LAYER_III") for rate_hz in (RATE_HZ, 32_000)]
        with serving(send(b"".join(parts))) as url:
            source = Stream("porch", url)
            items = listen(source, lost)
        assert items[-1] == StreamLost(f"{shown_url(url)}: the stream ended")
        blocks = [item for item in items if isinstance(item, Block)]
        holes = [
            (a.end_sample, b.first_sample) for a, b in itertools.pairwise(blocks) if a.end_sample != b.first_sample
        ]
        assert len(holes) == source.dropped_blocks >= 1
        for part in (
            [block.samples for block in blocks if block.end_sample <= holes[-1][0]],
            [block.samples for block in blocks if block.first_sample >= holes[-1][1]],
        ):
            assert frequency(np.concatenate(part)) == pytest.approx(440, abs=2)

    def test_an_absurd_rate_is_reported(self) -> None:
        with serving(send(encoded(tone(1.0), 100, "WAV", "PCM_16"))) as url:
            (item,) = listen(Stream("porch", url), lost)
        assert item == StreamLost(f"{shown_url(url)}: a sample rate of 100 Hz is not between 1000 and 768000 Hz")

    def test_a_video_without_sound(self) -> None:
        file = io.BytesIO()
        with av.open(file, "w", format="matroska") as container:
            video = container.add_stream("mpeg4", rate=10)
            video.width = video.height = 16
            black = av.VideoFrame(16, 16, "yuv420p")
            container.mux([*video.encode(black), *video.encode(None)])
        with serving(send(file.getvalue())) as url:
            (item,) = listen(Stream("porch", url), lost)
        assert item == StreamLost(f"{shown_url(url)}: the stream has no audio track")

    @pytest.mark.slow
    def test_a_server_that_falls_silent_is_lost(self) -> None:
        released = threading.Event()
        sound = encoded(tone(8.0), RATE_HZ, "WAV", "PCM_16")

        def hang(request: http.server.BaseHTTPRequestHandler) -> None:
            send(sound, claimed=2 * len(sound))(request)
            released.wait(60)

        with serving(hang) as url:
            items = listen(Stream("porch", url), lost)
            released.set()
        assert items[-1] == StreamLost(f"{shown_url(url)}: no data received for 5 s")
        assert len(joined(items)) > 3 * RATE_HZ


class TestOverload:
    def test_overflow_is_counted_and_warned_of_once(self, caplog: pytest.LogCaptureFixture) -> None:
        sound = encoded(tone(12.0), RATE_HZ, "WAV", "PCM_16")
        dropped = []

        async def run(url: str) -> list[Block]:
            source = Stream("porch", url)
            blocks = []
            async with asyncio.timeout(60), aclosing(source.items()) as stream:
                async for item in stream:
                    if isinstance(item, StreamLost):
                        break
                    if isinstance(item, Block):
                        blocks.append(item)
                    if len(blocks) == 1:
                        await asyncio.sleep(2)  # the burst comes in meanwhile
            dropped.append(source.dropped_blocks)
            return blocks

        with serving(send(sound)) as url:
            blocks = asyncio.run(run(url))
        assert len(blocks) <= QUEUED_BLOCKS + 2
        assert dropped[0] > 0
        missing = 12 * RATE_HZ - sum(len(block.samples) for block in blocks)
        assert missing > 0.9 * dropped[0] * RATE_HZ // 10
        assert (
            caplog.messages.count("source porch: audio buffer overflow: audio is lost, the computer is too busy")
            == 1
        )


class TestSecrets:
    def test_nothing_secret_is_logged_or_reported(
        self, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
    ) -> None:
        with serving(refuse(403)) as url, caplog.at_level(logging.DEBUG):
            secret_url = url.replace("://", "://user:hunter2@") + "?token=hunter2"
            source = Stream("porch", secret_url)
            (item,) = listen(source, lost)
        assert isinstance(item, StreamLost)
        for text in (item.reason, caplog.text, repr(source), *capfd.readouterr()):
            assert "hunter2" not in text
        assert "403" in item.reason
