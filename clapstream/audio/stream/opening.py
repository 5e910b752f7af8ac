"""Opens a network stream with FFmpeg's libraries (PyAV), in each way that the server may accept."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import av

CONNECT_SECONDS = 15.0
"""How long connecting may take, and how long finding out what is in the stream: FFmpeg takes 5 to 7 s of it."""

READ_SECONDS = 5.0
"""A server that sends nothing for this long is lost."""

SEGMENTED_FORMATS = ("hls", "dash")
SEGMENT_SECONDS = 30.0
"""How long servers of these formats may take for the next segment, which is 6 s long as a rule."""

UNREACHABLE = (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT)

Transport = Literal["auto", "tcp", "udp"]

TRANSPORT_OPTIONS = {
    "auto": {"rtsp_flags": "prefer_tcp"},  # over UDP packets are lost; it comes second, if the server wants it
    "tcp": {"rtsp_transport": "tcp"},
    "udp": {"rtsp_transport": "udp"},
}
AUDIO_ONLY = {"allowed_media_types": "audio"}


def ways_to_open(url: str, transport: Transport) -> list[dict[str, str]]:
    """Return FFmpeg's options for each way to ask for a stream, the best first.

    An RTSP camera is asked for its sound alone, because its video is a hundred times as much; some refuse that.
    """
    if url.partition("://")[0].lower() not in ("rtsp", "rtsps"):
        return [{}]
    ways = [TRANSPORT_OPTIONS[transport] | media for media in (AUDIO_ONLY, {})]
    if transport == "auto":  # for servers that refuse TCP without the standard's status code
        ways += [TRANSPORT_OPTIONS["udp"] | media for media in (AUDIO_ONLY, {})]
    return ways


def may_open_another_way(error: av.FFmpegError) -> bool:
    """Whether the server refused this way of asking: not where it cannot be reached, or the password is wrong."""
    import av

    return not isinstance(error, (av.ExitError, av.HTTPUnauthorizedError)) and error.errno not in UNREACHABLE


def open_stream(url: str, options: dict[str, str]) -> av.container.InputContainer:
    """Open a URL; raises av.FFmpegError."""
    import av

    # As `options`, PyAV before 18 would apply them to tracks that are found later, and crash on FLV and MPEG-TS.
    return av.open(url, timeout=(CONNECT_SECONDS, READ_SECONDS), container_options=options)


def is_segmented(container: av.container.InputContainer) -> bool:
    """Whether sound comes a segment at a time."""
    return any(name in SEGMENTED_FORMATS for name in container.format.name.split(","))
