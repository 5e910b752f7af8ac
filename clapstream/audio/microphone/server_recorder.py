"""Records a source of PulseAudio or PipeWire as it is: its own rate and channels, nothing mixed or resampled."""

from __future__ import annotations

import ctypes
import threading
import time
from typing import Any

from clapstream.audio.channels import check_channel_exists
from clapstream.audio.microphone import libpulse
from clapstream.audio.microphone.sound_queue import SoundQueue
from clapstream.audio.microphone.sound_server import ServerSource, SoundServer, SoundServerError
from clapstream.audio.source import BLOCK_SECONDS

FLOAT32_BYTES = 4
FIRST_SOUND_SECONDS = 8.0
"""How long the first sound may take: a source that has to wake up takes seconds."""
STREAM_FLAGS = (
    libpulse.STREAM_DONT_MOVE  # when the source is removed, the stream ends and does not move to another microphone
    | libpulse.STREAM_ADJUST_LATENCY
    | libpulse.STREAM_INTERPOLATE_TIMING
    | libpulse.STREAM_AUTO_TIMING_UPDATE
)


class ServerRecorder:
    """An open source of the sound server, read in a thread of its own, so that the server never has to wait."""

    def __init__(
        self,
        server: SoundServer,
        source: ServerSource,
        channel: str | int,
        *,
        follow_default: bool,
        sound: SoundQueue,
    ) -> None:
        """Start recording into `sound`; with `follow_default` the stream ends when another source is the default.

        SoundServerError if the server refuses, LookupError if the source has no such channel.
        """
        check_channel_exists(source.name, source.channels, channel)
        self.rate_hz, self.channels = source.rate_hz, source.channels
        self._bytes_per_sample = FLOAT32_BYTES * source.channels
        self._server = server
        self._library = server.library
        self._source = source
        self._sound = sound
        self._defaults_changed = threading.Event()
        if follow_default:
            server.on_change(self._defaults_changed.set)
        self._stream = self._open()
        self._wait_for_sound()
        self.latency_seconds = self._latency_seconds()
        threading.Thread(target=self._read, daemon=True).start()

    def _open(self) -> Any:
        """Open a stream with the source's own rate, channels and channel map: nothing is mixed or reordered."""
        source, library = self._source, self._library
        spec = libpulse.SampleSpec(libpulse.SAMPLE_FLOAT32, source.rate_hz, source.channels)
        positions = libpulse.ChannelPositions(*source.channel_positions)
        channel_map = libpulse.ChannelMap(source.channels, positions)
        stream = library.pa_stream_new(self._server.context, b"clapstream", spec, channel_map)
        unset = 0xFFFFFFFF
        fragment = round(source.rate_hz * BLOCK_SECONDS) * self._bytes_per_sample
        attributes = libpulse.BufferAttributes(unset, unset, unset, unset, fragment)
        if (
            not stream
            or library.pa_stream_connect_record(stream, source.name.encode(), attributes, STREAM_FLAGS) < 0
        ):
            raise SoundServerError(self._server.error_text())
        self._server.wait_until(lambda: self._state(stream) == libpulse.STREAM_READY or self._ended(stream))
        if self._ended(stream):
            raise SoundServerError(self._server.error_text())
        return stream

    def _wait_for_sound(self) -> None:
        deadline = time.monotonic() + FIRST_SOUND_SECONDS
        while not self._library.pa_stream_readable_size(self._stream):
            if self._ended(self._stream):
                raise SoundServerError(self._end_reason())
            if time.monotonic() > deadline:
                raise SoundServerError(f"no audio received for {FIRST_SOUND_SECONDS:g} s")
            self._server.iterate(BLOCK_SECONDS)

    def _latency_seconds(self) -> float:
        """How long ago the end of the sound that can be read was heard; 0 if the server does not know."""
        microseconds, negative = ctypes.c_uint64(), ctypes.c_int()
        if self._library.pa_stream_get_latency(self._stream, microseconds, negative) < 0 or negative.value:
            return 0.0
        readable_bytes = int(self._library.pa_stream_readable_size(self._stream))
        return max(0.0, microseconds.value / 1e6 - readable_bytes / self._bytes_per_sample / self.rate_hz)

    def _read(self) -> None:
        """Queue sound until the stream ends."""
        try:
            while not self._ended(self._stream):
                while self._library.pa_stream_readable_size(self._stream):
                    self._read_fragment()
                if self._defaults_changed.is_set():
                    self._defaults_changed.clear()
                    self._check_default()
                self._server.iterate(1.0)
            reason = self._end_reason()
        except SoundServerError as error:
            reason = str(error)
        self._sound.end(reason)

    def _read_fragment(self) -> None:
        data, size = ctypes.c_void_p(), ctypes.c_size_t()
        if self._library.pa_stream_peek(self._stream, data, size) < 0:
            raise SoundServerError(self._server.error_text())
        sample_count = size.value // self._bytes_per_sample
        if data.value:
            self._sound.put(sample_count, ctypes.string_at(data.value, size.value))
        else:
            self._sound.skip(sample_count)  # the server lost as much
        if size.value:
            self._library.pa_stream_drop(self._stream)

    def _check_default(self) -> None:
        default = self._server.current_default_source_name()
        if default != self._source.name:
            raise SoundServerError(f"the default source changed from {self._source.name} to {default or 'none'}")

    def _ended(self, stream: Any) -> bool:
        return self._state(stream) in (libpulse.STREAM_FAILED, libpulse.STREAM_TERMINATED)

    def _state(self, stream: Any) -> int:
        return int(self._library.pa_stream_get_state(stream))

    def _end_reason(self) -> str:
        if not self._server.connected:
            return f"lost connection to the sound server: {self._server.error_text()}"
        return f"{self._source.name} was removed"
