"""Reads sound files with FFmpeg's libraries: MP4, Matroska, AAC, WMA and everything else that they know."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from clapstream.audio.files.av_gaps import GapFinder
from clapstream.audio.files.file_reader import BrokenFileError, NoAudioError, NotReadableError, Sound, cut_short
from clapstream.audio.files.joined_sounds import joined
from clapstream.audio.pyav import float_samples

if TYPE_CHECKING:
    import av

OPTIONS = {
    "protocol_whitelist": "none",  # playlists and the like must not open what they name
    "analyzeduration": "60000000",  # microseconds in which the audio track may begin, where no header lists it
    "probesize": "50000000",  # bytes, likewise
}

MISSING_SECONDS = 0.5
"""A file that ends this much before its header says is damaged: less is rounding, or an encoder's delay."""

EXACT_FORMATS = ("mov", "asf", "matroska")
"""Formats whose header has the length; for others FFmpeg guesses it from the bit rate."""


class AvReader:
    """The audio track of a file that is marked as default, otherwise its first one.

    Sound that is missing at the beginning or between time stamps is skipped samples, or silence if it is short.
    """

    def __init__(self, path: Path) -> None:
        """Open the file; NotReadableError without a track that FFmpeg decodes, ImportError without PyAV."""
        import av

        with contextlib.ExitStack() as stack:
            file = stack.enter_context(path.open("rb"))
            try:
                # Not as options: with those, PyAV before 18 crashes on formats whose header lists no tracks.
                self._container = av.open(
                    _Nameless(file), mode="r", container_options=OPTIONS, metadata_errors="replace"
                )
            except av.FFmpegError as error:
                raise NotReadableError(_missing_index(path) or error.strerror or "unknown format") from error
            stack.callback(self._container.close)
            self._track = _audio_track(self._container)
            self._close = stack.pop_all().close
        self._gaps = GapFinder(self._container)

    @property
    def claimed_seconds(self) -> float:
        """How long the file says that it is, 0.0 if it does not say."""
        if self._track.duration is not None and self._track.time_base is not None:
            return float(self._track.duration * self._track.time_base)
        return (self._container.duration or 0) / 1_000_000

    def sounds(self) -> Iterator[Sound]:
        """Give the track's sound from front to back; BrokenFileError where it is damaged."""
        yield from joined(self._decoded())
        if self._is_exact and self.claimed_seconds - self._gaps.position > MISSING_SECONDS:
            raise cut_short(float(self._gaps.position), self.claimed_seconds)
        if self._gaps.first_gap is not None:
            raise BrokenFileError(self._gaps.first_gap)

    def close(self) -> None:
        """Close the file."""
        self._close()

    @property
    def _is_exact(self) -> bool:
        """Whether the length that the header has is certainly the audio track's."""
        own = self._track.duration is not None or len(self._container.streams) == 1
        return own and self._container.format.name.startswith(EXACT_FORMATS)

    def _decoded(self) -> Iterator[Sound]:
        """Give the track as it is decoded; what cannot be decoded at its beginning is skipped."""
        import av

        packets = self._container.demux(self._track)
        failure: BrokenFileError | None = None
        while True:
            try:
                packet = next(packets, None)
                decoded = [] if packet is None else [(each, float_samples(each)) for each in packet.decode()]
            except (av.FFmpegError, IndexError, ValueError) as error:  # IndexError: PyAV met a track that is new
                failure = BrokenFileError(f"broken after {float(self._gaps.position):.1f} s: {_cause(error)}")
                if self._gaps.position:
                    raise failure from error
                continue
            for frame, samples in decoded:
                if len(samples):
                    yield from self._gaps.placed(frame, samples)
            if packet is None:
                break
        if failure is not None and not self._gaps.position:
            raise failure


class _Nameless:
    """A file without its name, which can mislead FFmpeg; the methods are what PyAV calls."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.read = file.read
        self.tell = file.tell

    def seek(self, offset: int, whence: int) -> int:
        """Return the new position, -1 where there is none: PyAV would print an exception."""
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):
            return -1


def _audio_track(container: av.container.InputContainer) -> av.AudioStream:
    """Return the track to listen to; NotReadableError if there is none."""
    tracks = container.streams.audio
    if not tracks:
        raise NoAudioError("no audio track" + (", only video" if container.streams.video else ""))
    track = next(filter(_is_default, tracks), tracks[0])
    if track.codec_context is None:
        raise NotReadableError("FFmpeg has no decoder for the audio track")
    return track


def _is_default(track: av.AudioStream) -> bool:
    """Whether a track is marked as default: AV_DISPOSITION_DEFAULT, which old versions of PyAV do not tell."""
    disposition = getattr(track, "disposition", 0)
    return bool(getattr(disposition, "value", disposition) & 1)


def _missing_index(path: Path) -> str | None:
    """Return what is wrong with an MP4 file that FFmpeg does not open; None if it is none."""
    with path.open("rb") as file:
        if file.read(8)[4:] != b"ftyp":
            return None
    return "an MP4 file without its index (moov): it is cut short or damaged"


def _cause(error: Exception) -> str:
    """Return why decoding failed: FFmpeg's decoders fail with errors that say nothing or mislead."""
    if isinstance(error, IndexError):
        return "another track begins"
    return str(error) if type(error) is ValueError else "the data cannot be decoded"
