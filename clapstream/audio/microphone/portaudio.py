"""The inputs that PortAudio sees, and recording from one. Imports sounddevice only when asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clapstream.audio.channels import channel_index, check_channel_exists
from clapstream.audio.microphone.sound_queue import SoundQueue
from clapstream.audio.source import BLOCK_SECONDS, SourceError

PREFERRED_RATE_HZ = 48_000


@dataclass(frozen=True, slots=True)
class Device:
    """One input: `index` is PortAudio's and may change when devices come and go, `rate_hz` its default."""

    index: int
    name: str
    host_api: str
    channels: int
    rate_hz: int
    default: bool


def load_portaudio() -> Any:
    """Import and return the sounddevice module; SourceError where PortAudio is missing.

    The import asks every driver for its devices, once: a process never learns of devices that come later.
    """
    try:
        import sounddevice
    except OSError as error:
        raise SourceError(
            f"microphones need the PortAudio library: {error}; on Debian and Ubuntu: apt install libportaudio2"
        ) from error
    return sounddevice


def devices() -> list[Device]:
    """List the inputs; SourceError where PortAudio is missing."""
    portaudio = load_portaudio()
    host_apis = portaudio.query_hostapis()
    default_index = host_apis[portaudio.default.hostapi]["default_input_device"] if host_apis else None
    return [
        Device(
            index=index,
            name=entry["name"],
            host_api=host_apis[entry["hostapi"]]["name"],
            channels=entry["max_input_channels"],
            rate_hz=round(entry["default_samplerate"]),
            default=index == default_index,
        )
        for index, entry in enumerate(portaudio.query_devices())
        if entry["max_input_channels"] > 0
    ]


def channels_needed(device: Device, channel: str | int) -> int:
    """Return how many channels to record; LookupError if the device has no such channel.

    Never one alone of several: ALSA's conversions would mix the others into it.
    """
    check_channel_exists(device.name, device.channels, channel)
    return min(device.channels, max(2, channel_index(channel) + 1))


class PortAudioRecorder:
    """An open microphone: the callback of PortAudio's thread copies into a queue."""

    def __init__(self, device: Device, channel: str | int, sound: SoundQueue) -> None:
        """Start recording into `sound`; LookupError if the device cannot be opened or has no such channel."""
        self._sound = sound
        portaudio = load_portaudio()
        try:
            self._stream = self._open(portaudio, device, channels_needed(device, channel))
            self._stream.start()
        except portaudio.PortAudioError as error:
            raise LookupError(f"cannot open {device.name}: {error}") from error
        self.rate_hz, self.channels = round(self._stream.samplerate), int(self._stream.channels)
        self.latency_seconds = float(self._stream.latency)

    def _open(self, portaudio: Any, device: Device, channels: int) -> Any:
        """Open the device at 48 kHz if it can, else at its own rate, with as few channels as it allows.

        48 kHz comes first because ALSA's own devices take any rate and would resample to PortAudio's default of
        44.1 kHz, badly; nearly all hardware runs at 48 kHz.
        """
        attempts = [
            (rate_hz, count)
            for rate_hz in dict.fromkeys((PREFERRED_RATE_HZ, device.rate_hz))
            for count in dict.fromkeys((channels, device.channels))
        ]
        failure = None
        for rate_hz, count in attempts:
            try:
                return portaudio.RawInputStream(
                    device=device.index,
                    samplerate=rate_hz,
                    channels=count,
                    dtype="float32",
                    blocksize=round(rate_hz * BLOCK_SECONDS),
                    latency="high",
                    callback=self._copy,
                    finished_callback=lambda: self._sound.end("the device stopped"),
                )
            except portaudio.PortAudioError as error:
                failure = failure or error
        assert failure is not None
        raise failure

    def _copy(self, samples: Any, frames: int, _time: Any, status: Any) -> None:
        """Queue one block; runs in PortAudio's thread."""
        if status.input_overflow:
            self._sound.skip(frames)  # an unknown number was lost
        self._sound.put(frames, bytes(samples))
