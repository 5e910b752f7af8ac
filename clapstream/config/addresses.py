"""Hosts and URLs that can work; for others, what is wrong, without repeating them: they may hold a password."""

from __future__ import annotations

import ipaddress
import re

from clapstream.urls import authority, host_after_path

STREAM_SCHEMES = (
    "rtsp", "rtsps", "rtmp", "rtmps", "rtmpt", "rtmpts", "rtmpe", "rtmpte", "http", "https", "hls", "hls+http",
    "hls+https", "udp", "udplite", "rtp", "srtp", "srt", "rist", "sctp", "tcp", "tls", "mms", "mmsh", "mmst",
    "satip", "ftp", "sftp",
)  # fmt: skip
"""Network protocols that FFmpeg reads; which of them a build has is known only when it opens the stream."""

_LISTENING = {"udp", "udplite", "rtp", "srtp", "srt", "rist", "sctp", "tcp", "rtmp", "http"}
"""Schemes whose URL may leave the host out: FFmpeg then waits on the port for the sender."""

_WITHOUT_USUAL_PORT = {"udp", "udplite", "rtp", "srtp", "srt", "rist", "sctp", "tcp", "tls"}

_LONGEST_URL = 4_000
"""FFmpeg's own buffers hold 4096 bytes."""

_ENCODE = (
    "in a user name or password / must be written as %2F, ? as %3F, # as %23, @ as %40, : as %3A, % as %25 "
    "and a space as %20 (percent-encoding)"
)


def check_broker_host(host: str) -> str:
    """Return the host, an IPv6 address without its brackets; ValueError says what is wrong."""
    if re.search(r"[/@?#\\]", host) or re.fullmatch(r"[^:\[]*:[^:]*[^:0-9][^:]*", host):
        raise ValueError(
            "must be the broker's name or address alone, such as 192.168.1.10; "
            "port, username and password_file are keys of their own, and TLS is tls: {ca_file: system}"
        )
    if re.fullmatch(r"(\[.*\]|[^:]*):[0-9]*", host):
        raise ValueError("must be a name or address without the port; the port is a key of its own: port: 1883")
    if fault := _host_fault(host):
        raise ValueError(f"must be the broker's name or address, such as 192.168.1.10: {fault}")
    return host[1:-1] if host.startswith("[") else host


def check_stream_url(url: str) -> str:
    """Return the URL with its scheme in lower case, as FFmpeg needs it; ValueError says what is wrong."""
    url = url.strip()
    if not url:
        raise ValueError("must not be empty")
    if len(url) > _LONGEST_URL:
        raise ValueError(f"must be at most {_LONGEST_URL} characters long")
    if re.search(r"[\s\x00-\x1f\x7f]", url):
        raise ValueError(f"must not hold spaces or control characters; {_ENCODE}")
    scheme, separator, rest = url.partition("://")
    if not separator or not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme, re.IGNORECASE):
        raise ValueError("must be a URL such as rtsp://camera/1")
    scheme = scheme.lower()
    if scheme in ("file", "unix"):
        return f"{scheme}://{rest}"
    if scheme not in STREAM_SCHEMES:
        raise ValueError(f"begins with an unknown scheme; known are {', '.join(STREAM_SCHEMES)}")
    if fault := _authority_fault(scheme, rest):
        raise ValueError(fault)
    return f"{scheme}://{rest}"


def _authority_fault(scheme: str, rest: str) -> str:
    """What is wrong with user, password, host and port in the part of a URL after `://`, empty if nothing is."""
    front = authority(rest)
    address = front.rpartition("@")[2]
    fault = _address_fault(scheme, address)
    if host_after_path(rest) or (fault and "@" in rest[len(front) :]):
        return f"has no usable host before the first /, ? or #; {_ENCODE}"
    if fault and re.search(r"%|:[^:]*[^:0-9]", address.rpartition("]")[2]):
        return f"{fault}; a password needs an @ between it and the host, and {_ENCODE}"
    return fault


def _address_fault(scheme: str, address: str) -> str:
    """What is wrong with `host:port`, empty if nothing is."""
    match = re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]*)(:([^:]*))?", address)
    if match is None:
        return "has no usable host: an IPv6 address stands in brackets, as in [fe80::1]:554"
    host, port = match[1], match[3]
    if port is not None and not (re.fullmatch(r"[0-9]{1,5}", port) and 1 <= int(port) <= 65_535):
        return "has no usable port: after the host's colon a number from 1 to 65535 is allowed"
    if port is None and scheme in _WITHOUT_USUAL_PORT:
        return f"has no port, and {scheme} has no usual one: write it after the host, as in camera:5004"
    if not host:
        return "" if port is not None and scheme in _LISTENING else "has no host"
    fault = _host_fault(host)
    return f"has no usable host: {fault}" if fault else ""


def _host_fault(host: str) -> str:
    """Why a name or address can never be a host, empty if it can."""
    if not host:
        return "it is empty"
    if ":" in host or host.startswith("["):
        bare = re.sub(r"^\[(.*)\]$", r"\1", host)
        return "" if _is_address(bare, ipaddress.IPv6Address) else "this is no IPv6 address"
    if re.fullmatch(r"[0-9.]+", host):
        fault = "an IPv4 address is four numbers from 0 to 255, without leading zeros"
        return "" if _is_address(host, ipaddress.IPv4Address) else fault
    if len(host) > 253:
        return "it is longer than 253 characters"
    for part in host.removesuffix(".").split("."):
        if not re.fullmatch(r"(?!-)[\w-]{1,63}(?<!-)", part):
            return "a name is made of letters, digits, - and _, up to 63 between its dots and no - at their ends"
    return ""


def _is_address(text: str, kind: type[ipaddress.IPv4Address] | type[ipaddress.IPv6Address]) -> bool:
    try:
        kind(text.replace("%25", "%", 1))  # the zone of an IPv6 address, as URLs have it
    except ValueError:
        return False
    return True
