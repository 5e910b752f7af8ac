"""Finds the streams in an Ogg file, and where it is damaged, by its pages (RFC 3533)."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

HEADER = struct.Struct("<4sBBqIIIB")
"""Capture pattern, version, type, granule position, serial number, sequence number, checksum, segments."""

CHECKSUM = slice(22, 26)
FIRST_PAGE = 2
"""The flag of a stream's first page."""

REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
"""Each byte with its bits in reverse order."""


@dataclass(frozen=True, slots=True)
class OggPart:
    """Bytes from `start` to before `end`: a stream up to its end, or up to where it is `damaged`."""

    start: int
    end: int
    damaged: bool = False


@dataclass(frozen=True, slots=True)
class _Page:
    flags: int
    granule: int
    serial: int
    sequence: int
    end: int


def ogg_parts(file: BinaryIO) -> Iterator[OggPart]:
    """Give the streams that follow each other in an Ogg file, up to the first damage."""
    start = position = 0
    only_first_pages = True
    expected: dict[int, int] = {}  # by serial number, the sequence number of the next page
    while (page := _read_page(file, position)) is not None:
        if page.flags & FIRST_PAGE and not only_first_pages:
            yield OggPart(start, position)
            start, expected = position, {}
        only_first_pages = bool(page.flags & FIRST_PAGE)
        if page.sequence != expected.get(page.serial, page.sequence):
            yield OggPart(start, position, damaged=True)
            return
        # Before the first sound pages may be missing: who records a running stream gets its headers, then a jump.
        if page.granule > 0 or page.serial in expected:
            expected[page.serial] = page.sequence + 1
        position = page.end
    if not position:  # something comes before the first page, which libsndfile skips
        position = file.seek(0, os.SEEK_END)
    yield OggPart(start, position, damaged=_has_page_behind(file, position))


def _read_page(file: BinaryIO, position: int) -> _Page | None:
    """Read the page at `position`; None if there is no whole one with a right checksum."""
    file.seek(position)
    header = file.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    pattern, _, flags, granule, serial, sequence, checksum, segments = HEADER.unpack(header)
    if pattern != b"OggS":
        return None
    sizes = file.read(segments)
    content = file.read(sum(sizes))
    if len(content) < sum(sizes) or _checksum(header, sizes + content) != checksum:
        return None
    return _Page(flags, granule, serial, sequence, position + len(header) + len(sizes) + len(content))


def _has_page_behind(file: BinaryIO, position: int) -> bool:
    """Whether there is a page, damaged or cut short, from `position` on: other bytes may be a tag or padding."""
    file.seek(position)
    before = b""
    while data := file.read(2**16):
        if b"OggS" in before + data:
            return True
        before = data[-3:]
    return False


def _checksum(header: bytes, rest: bytes) -> int:
    """Return a page's checksum (RFC 3533, section 6): zlib's with bits reversed, from 0, not inverted."""
    page = bytearray(header + rest)
    page[CHECKSUM] = bytes(4)
    least_first = zlib.crc32(page.translate(REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{least_first:032b}"[::-1], 2)
