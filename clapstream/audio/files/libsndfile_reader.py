"""Reads sound files with libsndfile."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

import soundfile

from clapstream.audio.files.file_reader import BrokenFileError, NotReadableError, Sound, cut_short
from clapstream.audio.files.libsndfile import FilePart, cause, open_sound_file, open_through_pipe
from clapstream.audio.files.ogg_parts import ogg_parts
from clapstream.audio.source import BLOCK_SECONDS

MOST_SAMPLES_READ = 2**20
"""At a time, all channels together: a file with a thousand channels must not cost gigabytes."""

SHORTEST_READ_SECONDS = 0.01

MISSING_SECONDS = 0.1
"""A file that ends this much before its header says is damaged: less is rounding, or a decoder's delay."""

UNKNOWN_BYTES = 2**31 - 2**16
"""Programs that write into a pipe put at least this size into the header, because they do not know it yet."""

UNKNOWN_SAMPLES = 2**62
"""libsndfile's number for a stream of unknown length is about this."""


class LibsndfileReader:
    """A file in a format of libsndfile: WAV, FLAC, Ogg, MP3, AIFF and others."""

    def __init__(self, path: Path) -> None:
        """Open the file; NotReadableError if it is in no format of libsndfile, OSError if it cannot be read."""
        self._path = path
        self._file = open_sound_file(
            os.fsencode(path.absolute())
        )  # soundfile takes no text for names that are not Unicode
        if not self._file.frames:  # a recorder that was interrupted leaves a header without a length
            self._file.close()
            raise NotReadableError("its header says that it is empty")
        self._guessed_seconds = 0.0
        if self._file.format == "MP3":
            self._guessed_seconds = self._known_seconds
            self._file.close()
            # From a file, libsndfile reads only as many samples as it guesses from the bit rate at the beginning.
            self._file = open_through_pipe(path)

    @property
    def claimed_seconds(self) -> float:
        """How long the file says that it is, or is guessed to be from its beginning; 0.0 if unknown."""
        return self._known_seconds or self._guessed_seconds

    def sounds(self) -> Iterator[Sound]:
        """Give the file's sound from front to back; BrokenFileError where it is damaged."""
        if self._file.format == "OGG":
            yield from self._ogg_sounds()
            return
        seconds = 0.0
        for sound in _sounds(self._file):
            yield sound
            seconds += len(sound.samples) / sound.rate_hz
        missing = self._missing_seconds(seconds)
        if missing > MISSING_SECONDS and self._file.format == "MP3":
            raise BrokenFileError(
                f"damaged: {missing:.1f} of {seconds + missing:.1f} s could not be decoded; "
                "times after the damage are too early"
            )
        if missing > MISSING_SECONDS:
            raise cut_short(seconds, seconds + missing)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def _known_seconds(self) -> float:
        """How long the file says that it is, 0.0 if it does not say."""
        sample_count = self._file.frames
        return float(sample_count / self._file.samplerate) if sample_count < UNKNOWN_SAMPLES else 0.0

    def _missing_seconds(self, seconds: float) -> float:
        """How much longer the file should be than the `seconds` that were read."""
        missing = max(0.0, self._known_seconds - seconds)
        # libsndfile corrects a header that claims more than the file has, and notes it only in its log.
        for claimed, present in re.findall(r": (\d+) \(should be (\d+)\)", self._file.extra_info):
            if 0 < int(present) < int(claimed) < UNKNOWN_BYTES:
                missing = max(missing, seconds * (int(claimed) / int(present) - 1.0))
        return missing

    def _ogg_sounds(self) -> Iterator[Sound]:
        """Give the sound of each of the streams that may follow each other in an Ogg file.

        libsndfile ends with the first one, and skips damaged pages silently.
        """
        seconds = 0.0
        with self._path.open("rb") as raw:
            for part in ogg_parts(raw):
                try:
                    with open_sound_file(FilePart(raw, part)) as file:
                        for sound in _sounds(file, seconds):
                            yield sound
                            seconds += len(sound.samples) / sound.rate_hz
                except NotReadableError as error:
                    raise BrokenFileError(f"broken after {seconds:.1f} s: {error}") from error
                if part.damaged:
                    raise BrokenFileError(f"broken after {seconds:.1f} s: a damaged or missing page")


def _sounds(file: soundfile.SoundFile, start_seconds: float = 0.0) -> Iterator[Sound]:
    """Yield the sound of an open file to its real end, not the one in its header, from `start_seconds` on."""
    shortest = math.ceil(file.samplerate * SHORTEST_READ_SECONDS)
    block_samples = max(shortest, min(round(file.samplerate * BLOCK_SECONDS), MOST_SAMPLES_READ // file.channels))
    position = 0
    while True:
        try:
            samples = file.read(block_samples, dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            seconds = start_seconds + position / file.samplerate
            raise BrokenFileError(f"broken after {seconds:.1f} s: {cause(error)}") from error
        if not len(samples):
            return
        position += len(samples)
        yield Sound(samples, file.samplerate)
