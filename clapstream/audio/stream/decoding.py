"""Sound out of a network stream's container, as FFmpeg's libraries (PyAV) read and decode it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clapstream.audio.channel_choice import ChannelChoice
from clapstream.audio.live.recovery import StreamBrokenError
from clapstream.audio.pyav import float_samples
from clapstream.audio.samples import sane_samples
from clapstream.audio.stream.opening import SEGMENT_SECONDS, is_segmented

if TYPE_CHECKING:
    import av

FIRST_SOUND_SECONDS = 10.0
"""How long an open stream may take to its first sound: in recordings of events it may begin late."""

OTHER_TRACK_SECONDS = 2.0
"""The first track that is heard for this long is taken if the best one is not heard at all."""


@dataclass(frozen=True, slots=True, eq=False)
class DecodedSound:
    """Mono samples, float32 `(samples,)`, at `rate_hz`; `pts` is their time stamp, in samples, None if unknown."""

    rate_hz: int
    samples: NDArray[np.float32]
    pts: int | None


def decoded_sound(
    container: av.container.InputContainer, channel: ChannelChoice, received: Callable[[], None]
) -> Iterator[DecodedSound]:
    """Give the sound of one audio track, as it is decoded; raises StreamBrokenError and av.FFmpegError.

    Calls `received` for each packet, of video too. A packet that cannot be decoded is left out.
    """
    tracks = _TrackChoice(container)
    opened = time.monotonic()
    for packet in _packets(container):
        received()
        if tracks.chosen is None and time.monotonic() - opened > FIRST_SOUND_SECONDS:
            raise StreamBrokenError(f"no audio received for {FIRST_SOUND_SECONDS:g} s on the announced audio track")
        if tracks.may_take(packet.stream.index):
            for frame in _decode(packet):
                if tracks.takes(packet.stream.index, frame):
                    yield DecodedSound(frame.sample_rate, _mono(frame, channel), _pts(frame))


class _TrackChoice:
    """Chooses one of several audio tracks: the best one that is heard at all."""

    def __init__(self, container: av.container.InputContainer) -> None:
        """StreamBrokenError if there is no track, or no decoder for any."""
        if not container.streams.audio:
            raise StreamBrokenError("the stream has no audio track")
        decodable = [track.index for track in container.streams.audio if track.codec_context is not None]
        if not decodable:
            raise StreamBrokenError("FFmpeg has no decoder for the audio of the stream")
        best = container.streams.best("audio")  # None until FFmpeg has seen some of it
        self.chosen: int | None = None
        self._best = decodable[0] if best is None else best.index
        self._heard_seconds = dict.fromkeys(decodable, Fraction(0))

    def may_take(self, track: int) -> bool:
        """Whether packets of a track are worth decoding."""
        return track in self._heard_seconds if self.chosen is None else track == self.chosen

    def takes(self, track: int, frame: av.AudioFrame) -> bool:
        """Whether a decoded frame of a track is of the chosen one."""
        if self.chosen is None:
            self._heard_seconds[track] += Fraction(frame.samples, frame.sample_rate)
            if track == self._best or self._heard_seconds[track] >= OTHER_TRACK_SECONDS:
                self.chosen = track
        return track == self.chosen


def _packets(container: av.container.InputContainer) -> Iterator[av.Packet[Any]]:
    """Give packets until the end; those of a segmented format may take as long as a segment."""
    import av

    newest = time.monotonic()
    while True:
        try:
            for packet in container.demux():
                newest = time.monotonic()
                yield packet
            return
        except av.ExitError:
            if not is_segmented(container) or time.monotonic() - newest > SEGMENT_SECONDS:
                raise


def _decode(packet: av.Packet[av.AudioStream]) -> list[av.AudioFrame]:
    """Return what is in a packet, nothing if it is damaged: the next time stamp leaves a hole."""
    import av

    try:
        return [frame for frame in packet.decode() if frame.samples and frame.sample_rate]
    except av.FFmpegError:
        return []


def _pts(frame: av.AudioFrame) -> int | None:
    if frame.pts is None or frame.time_base is None:
        return None
    return round(frame.pts * frame.time_base * frame.sample_rate)


def _mono(frame: av.AudioFrame, channel: ChannelChoice) -> NDArray[np.float32]:
    """Return mono samples `(samples,)` of what a decoder gave; StreamBrokenError if that is impossible."""
    try:
        sound, _ = sane_samples(float_samples(frame))
        return channel.mono(sound, frame.sample_rate)
    except (LookupError, ValueError) as error:
        raise StreamBrokenError(str(error)) from error
