"""What to write instead of what people type first: a URL where a part of it belongs, a key of another program."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from clapstream.config.yaml_reader import Location
from clapstream.slugs import slugify
from clapstream.urls import may_hold_credentials

_BROKER = "write mqtt: {host: HOST, port: 1883, username: USER, password_file: FILE}, or null for no MQTT"
_STREAM = "write a network stream as - {name: porch, type: stream, url: URL}"
_SOURCES = "write each source as - {name: porch, type: microphone}, or type: recording, pcm or stream"

_INSTEAD_OF_URL = {
    "name": "a name is a word or two, such as porch; the URL of a stream goes into the key url",
    "path": _STREAM,
    "device": _STREAM,
    "type": _STREAM,
    "host": "",
    "url": "",
    "username": "the host goes into mqtt.host",
    "base_topic": "the broker goes into mqtt.host and mqtt.port",
    "discovery_prefix": "the broker goes into mqtt.host and mqtt.port",
    "port": "the host goes into mqtt.host",
    "password_file": "name a file that holds the password and nothing else",
    "url_file": "name a file that holds the URL; the URL itself goes into the key url",
    "node": "a node is a word or two, such as home",
    "websocket_path": "the broker goes into mqtt.host and mqtt.port",
}
"""By the field's last key; an empty text where the field's own message says it."""

_MEANT = {
    "address": "host", "broker": "host", "hostname": "host", "server": "host", "user": "username",
    "login": "username", "password": "password_file", "passwd": "password_file", "topic": "base_topic",
    "topic_prefix": "base_topic", "uri": "url", "rtsp": "url", "stream": "url", "file": "path", "filename": "path",
    "microphones": "sources", "cameras": "sources", "streams": "sources", "source": "sources", "ssl": "tls",
    "rate": "rate_hz", "sample_rate": "rate_hz", "threshold": "start", "rtsp_transport": "transport",
    "enabled": "listening", "path": "websocket_path", "ws_path": "websocket_path", "sni": "server_name",
    "ca": "ca_file", "ca_cert": "ca_file", "ca_certs": "ca_file", "cafile": "ca_file", "cert": "cert_file",
    "certificate": "cert_file", "client_cert": "cert_file", "key": "key_file", "client_key": "key_file",
    "insecure": "insecure_skip_host_check", "tls_insecure": "insecure_skip_host_check",
    "insecure_skip_verify": "insecure_skip_host_check",
}  # fmt: skip
"""Keys of other programs, and what they are called here; `url` of a broker is its host."""

_SOURCE_TYPES = {
    "mic": "microphone", "alsa": "microphone", "pulse": "microphone", "audio": "microphone", "file": "recording",
    "rtsp": "stream", "rtmp": "stream", "http": "stream", "url": "stream", "camera": "stream", "stdin": "pcm",
}  # fmt: skip


def advice(location: Location, value: Any) -> str:
    """What to write at a location where `value` was refused, empty if the message about it says enough."""
    if location == ("mqtt",):
        return _BROKER
    if location == ("sources",):
        return "" if isinstance(value, (list, tuple)) else _SOURCES
    if location[:1] == ("sources",) and len(location) == 2:
        return _STREAM if _is_url(value) else _SOURCES
    if location[:1] == ("sources",) and location[-1] == "labels" and isinstance(value, str) and not _is_url(value):
        return "a list names common labels, as in [dog barking, doorbell]"
    if location[:1] == ("sources",) and location[-1] == "type" and isinstance(value, dict):
        kind = value.get("type")
        if isinstance(kind, str) and kind.lower() in _SOURCE_TYPES:
            return f"did you mean {_SOURCE_TYPES[kind.lower()]}?"
        return _STREAM if any(_is_url(item) for item in value.values()) else ""
    if _is_url(value):
        inside = location[0] in ("mqtt", "sources", "node")
        return _INSTEAD_OF_URL.get(str(location[-1]), "") if inside else ""
    return ""


def explain_unknown_key(key: str, known: Sequence[str]) -> str:
    """Message for a key that is not among the known ones."""
    meant = "host" if key in ("url", "uri") and "host" in known else _MEANT.get(key.lower())
    nearest = [meant] if meant in known else difflib.get_close_matches(key, known, n=1)
    suggestion = f"did you mean {nearest[0]}? " if nearest else ""
    if key in ("url", "url_file") and "type" in known:
        suggestion = "a source with a URL is of type: stream; "
    elif meant == "password_file" and meant in known:
        suggestion += "it names a file that holds the password; "
    return f"is not known; {suggestion}known here: {', '.join(known)}"


def explain_unknown_label(name: str, known: Sequence[str]) -> str:
    """What to write instead of a name that is not among those of the common labels."""
    by_slug = {slugify(each): each for each in known}
    slug = slugify(name)
    nearest = difflib.get_close_matches(slug, by_slug, n=1) or [each for each in by_slug if slug in each]
    suggestion = f"did you mean {by_slug[nearest[0]]}? " if nearest else ""
    return f"{suggestion}allowed are {shortened(known)}"


def shortened(names: Sequence[str], most: int = 10) -> str:
    """The names, or the first of them and how many more there are."""
    more = len(names) - most
    return ", ".join(names) if more <= 1 else f"{', '.join(names[:most])} and {more} more"


def _is_url(value: Any) -> bool:
    return isinstance(value, str) and may_hold_credentials(value)
