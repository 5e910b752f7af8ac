"""A connection to PulseAudio, or to PipeWire through its pulse server: its sources, and which is the default.

Through ALSA's plugin PortAudio would see one device that claims 32 channels, and the server would mix the source's
channels into the number that is asked for.
"""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from clapstream.audio.microphone import libpulse

ANSWER_SECONDS = 3.0
"""How long a server may take to answer: one that hangs must not keep other microphones from being opened."""


class SoundServerError(Exception):
    """The server cannot be reached or stopped answering; the message says why."""


@dataclass(frozen=True, slots=True)
class ServerSource:
    """A source: the server knows it by its `name`, a `monitor` hears what a sink plays.

    `server` is PulseAudio or PipeWire; `channel_positions` are libpulse's (front left, rear right and so on).
    """

    server: str
    name: str
    description: str
    channels: int
    channel_positions: tuple[int, ...]
    rate_hz: int
    monitor: bool
    default: bool


class SoundServer:
    """A connection to the server that libpulse finds, as every client does: $PULSE_SERVER, else the user's own."""

    def __init__(self) -> None:
        """Connect, without starting a server; SoundServerError if there is none."""
        try:
            self.library = libpulse.load_libpulse()
        except OSError as error:
            raise SoundServerError("libpulse is not installed") from error
        self._loop = self.library.pa_mainloop_new()
        self.context = self.library.pa_context_new(self.library.pa_mainloop_get_api(self._loop), b"clapstream")
        self._callbacks: list[Any] = []  # libpulse may still call them after a timeout
        try:
            self._connect()
            self.kind, self.default_source_name = self._server_info()
        except SoundServerError:
            self.close()
            raise

    def _connect(self) -> None:
        if self.library.pa_context_connect(self.context, None, libpulse.CONTEXT_NOAUTOSPAWN, None) < 0:
            raise SoundServerError(self.error_text())
        ended = (libpulse.CONTEXT_FAILED, libpulse.CONTEXT_TERMINATED)
        self.wait_until(lambda: self._state() in (libpulse.CONTEXT_READY, *ended))
        if self._state() in ended:
            raise SoundServerError(self.error_text())

    @property
    def connected(self) -> bool:
        """Whether the connection is open."""
        return self._state() == libpulse.CONTEXT_READY

    def sources(self) -> list[ServerSource]:
        """List the sources, monitors of sinks last; SoundServerError if the server does not answer."""
        found: list[ServerSource] = []

        def take(_context: Any, info: Any, end: int, _data: Any) -> None:
            if not end:
                found.append(self._source(info.contents))

        self._call(self.library.pa_context_get_source_info_list, libpulse.SourceCallback(take))
        return sorted(found, key=lambda source: source.monitor)

    def on_change(self, changed: Callable[[], None]) -> None:
        """Call `changed` from `iterate` whenever the server's defaults change."""
        event = libpulse.EventCallback(lambda *_: changed())
        self._callbacks.append(event)
        self.library.pa_context_set_subscribe_callback(self.context, event, None)
        mask = libpulse.SUBSCRIPTION_MASK_SERVER
        self._finish(self.library.pa_context_subscribe(self.context, mask, None, None))

    def current_default_source_name(self) -> str:
        """Return the default source's name as it is now; SoundServerError if the server does not answer."""
        return self._server_info()[1]

    def iterate(self, seconds: float) -> None:
        """Handle what the server sends, and wait at most so many seconds for it."""
        library = self.library
        if (
            library.pa_mainloop_prepare(self._loop, round(seconds * 1e6)) < 0
            or library.pa_mainloop_poll(self._loop) < 0
            or library.pa_mainloop_dispatch(self._loop) < 0
        ):
            raise SoundServerError("the main loop of libpulse failed")

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Handle what the server sends until the condition holds; SoundServerError after `ANSWER_SECONDS`."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while not condition():
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise SoundServerError(f"no answer from the sound server within {ANSWER_SECONDS:g} s")
            self.iterate(remaining)

    def error_text(self) -> str:
        """Return libpulse's text for the last error."""
        return str(self.library.pa_strerror(self.library.pa_context_errno(self.context)).decode(errors="replace"))

    def close(self) -> None:
        """Disconnect."""
        self.library.pa_context_disconnect(self.context)
        self.library.pa_context_unref(self.context)
        self.library.pa_mainloop_free(self._loop)

    def _state(self) -> int:
        return int(self.library.pa_context_get_state(self.context))

    def _server_info(self) -> tuple[str, str]:
        answers: list[tuple[str, str]] = []

        def take(_context: Any, info: Any, _data: Any) -> None:
            if info:
                kind = "PipeWire" if "PipeWire" in _text(info.contents.server_name) else "PulseAudio"
                answers.append((kind, _text(info.contents.default_source_name)))

        self._call(self.library.pa_context_get_server_info, libpulse.ServerCallback(take))
        if not answers:
            raise SoundServerError(self.error_text())
        return answers[0]

    def _source(self, info: Any) -> ServerSource:
        name = _text(info.name)
        return ServerSource(
            server=self.kind,
            name=name,
            description=_text(info.description),
            channels=info.sample_spec.channels,
            channel_positions=tuple(info.channel_map.positions[: info.sample_spec.channels]),
            rate_hz=info.sample_spec.rate,
            monitor=info.monitor_of_sink != libpulse.INVALID_INDEX,
            default=name == self.default_source_name,
        )

    def _call(self, function: Any, callback: Any) -> None:
        self._callbacks.append(callback)
        self._finish(function(self.context, callback, None))
        self._callbacks.remove(callback)

    def _finish(self, operation: Any) -> None:
        if not operation:
            raise SoundServerError(self.error_text())
        state = self.library.pa_operation_get_state
        try:
            self.wait_until(lambda: state(operation) != libpulse.OPERATION_RUNNING or not self.connected)
        except SoundServerError:
            self.library.pa_operation_cancel(operation)
            raise
        finally:
            self.library.pa_operation_unref(operation)
        if not self.connected:
            raise SoundServerError(self.error_text())


def _text(value: bytes | None) -> str:
    """Return text without control characters: some comes from devices, and could change a terminal."""
    text = (value or b"").decode(errors="replace")
    return "".join(" " if unicodedata.category(character) == "Cc" else character for character in text)
