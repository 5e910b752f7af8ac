"""What may be shown of a URL or of any text that may hold a user name and a password."""

from __future__ import annotations

import ipaddress
import re

HIDDEN = "***"
"""Stands for what may hold a secret."""

_SCHEME = re.compile(r"\s*([a-z][a-z0-9+.-]{0,19})://", re.IGNORECASE)
_ADDRESS = re.compile(r"(\[[0-9a-f:.]+(?:%[\w.-]+)?\]|[\w.-]*)(?::([0-9]{1,5}))?", re.IGNORECASE)
_END_OF_AUTHORITY = re.compile(r"[/?#]")
_CREDENTIALS = re.compile(r"[@\uFF20]|:/|%40|%3a%2f|(pass(word|wd)?|pwd|secret|token)\w{0,40}[=:]", re.IGNORECASE)


def shown_url(url: str) -> str:
    """Return scheme, host and port of a URL, which is all of it that may be logged; `***` for what is not certain.

    The host stands after the last `@`, because a password may hold any character that should be percent-encoded.
    """
    match = _SCHEME.match(url)
    rest = (url[match.end() :] if match else url).rstrip()
    address = _shown_address(rest) if match or "@" in rest else None
    return (f"{match[1].lower()}://" if match else "") + (address or HIDDEN)


def may_hold_credentials(text: str) -> bool:
    """Whether a text may be, or hold, a URL or a password: then it is not repeated in a message."""
    return _CREDENTIALS.search(text) is not None


def authority(rest: str) -> str:
    """Return what a library takes for user, password, host and port: all up to the first `/`, `?` or `#`.

    `rest` is the part of a URL after `://`.
    """
    return _END_OF_AUTHORITY.split(rest, maxsplit=1)[0]


def host_after_path(rest: str) -> bool:
    """Whether the host that was meant is behind the first `/`, `?` or `#`, as in `user:1/2@camera:554/name`."""
    front = authority(rest)
    path, at, after = rest[len(front) :].rpartition("@")
    is_password = at and ":" in front and "@" not in front and re.fullmatch(r"[/?#][^/=]*", path)
    return bool(is_password) and _is_certain(_address(authority(after)))


def _shown_address(rest: str) -> str | None:
    """Return `host:port` of the part after `://`, None where a piece of a password could be taken for it."""
    front = authority(rest)
    first = _address(front.rpartition("@")[2])
    path, at, after = rest[len(front) :].rpartition("@")
    if not at:
        return first
    if first is not None and _is_ip_address(first) and "@" not in front:  # no user name looks so
        return first
    last = _address(authority(after))
    if first is None or _is_certain(last) or ("@" in front and "=" not in path):
        return last
    return None  # `camera/name@word`: either may be the host, either a secret


def _address(text: str) -> str | None:
    """Return the text if it is a host, a port or both."""
    match = _ADDRESS.fullmatch(text)
    return text if text and match and int(match[2] or 0) <= 65_535 else None


def _is_certain(address: str | None) -> bool:
    """Whether this is a host beyond doubt: it has a port or is an IP address."""
    if address is None:
        return False
    host, colon, port = address.rpartition(":")
    return bool(host and colon and port.isdecimal()) or _is_ip_address(address)


def _is_ip_address(address: str) -> bool:
    """Whether the host, with or without a port, is an IP address."""
    host = re.sub(r":[0-9]+$", "", address) if "]" in address or address.count(":") == 1 else address
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
