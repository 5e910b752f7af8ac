"""Messages name what is allowed in words, whatever stands at whichever setting."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.configuration import load, refusal
from support.sections import LABEL_PLACES, PLACES, yaml_line

from clapstream.config import ConfigError

VALUES = [
    "null", "true", "0", "-1", "1.5", "1e300", "1e999", ".nan", ".inf", "9" * 50, "9" * 290, "9" * 3000, "''",
    "' '", "x", "a b", '"\\0"', f"'{'x' * 1001}'", "[]", "['']", "[1]", "[null]", "{}", "{a: 1}", "yes", "1:30",
]  # fmt: skip
LEGIBLE = re.compile(r"([\w .:+-]+ )?(must|is|has|needs|gives|cannot|does) .*")
CODE = re.compile(
    r"Input|Value|valid |instance|pydantic|regular|pattern|[\^]|\bdict|\bstr\b|\bint\b|None|True|False"
)


def messages(folder: Path, main: str, labels: str | None = None) -> list[str]:
    try:
        load(folder, main, *([] if labels is None else [labels]))
    except ConfigError as error:
        return [problem.message.replace(f"{folder}/", "") for problem in error.problems]
    return []


def check(found: list[str], value: str) -> None:
    """Each message is a sentence about the setting, in words."""
    for message in found:
        assert LEGIBLE.fullmatch(message), (value[:50], message)
        assert not CODE.search(message), (value[:50], message)


@pytest.mark.parametrize(("section", "key"), PLACES)
def test_every_setting(tmp_path: Path, section: str, key: str) -> None:
    for value in VALUES:
        check(messages(tmp_path, yaml_line(section, key, value)), value)


@pytest.mark.parametrize(("section", "key"), LABEL_PLACES)
def test_every_setting_of_a_label(tmp_path: Path, section: str, key: str) -> None:
    for value in VALUES:
        line = yaml_line(section, key, value)
        check(messages(tmp_path, "", f"labels: [a]\n{line}" if section == "defaults" else line), value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mqtt: {port: 0}", "mqtt.port: must be at least 1, not 0"),
        ("mqtt: {port: 70000}", "mqtt.port: must be at most 65535, not 70000"),
        ("mqtt: {port: 1e3}", "mqtt.port: must be a whole number, not 1e3"),
        ("mqtt: {port: '1883'}", "mqtt.port: must be a whole number, not '1883'"),
        (f"mqtt: {{port: {'9' * 50}}}", "mqtt.port: must be at most 65535"),
        ("mqtt: {keepalive_seconds: 1}", "mqtt.keepalive_seconds: must be at least 5, not 1"),
        ("mqtt: {protocol: 3.1}", "mqtt.protocol: must be '5' or '3.1.1', not 3.1"),
        (
            "mqtt: {tls: true}",
            "mqtt.tls: must name ca_file: a file, or system for the system's authorities; null",
        ),
        (
            "mqtt: {base_topic: ''}",
            "mqtt.base_topic: must be a topic without spaces, #, +, a leading $",
        ),
        ("mqtt: false", "mqtt: must be a mapping of keys to values, not false; write mqtt: {host: HOST"),
        ("mqtt: {spool: {max_age_seconds: 1e300}}", "must be at most 315360000, not 1e300"),
        ("window: {seconds: .nan}", "window.seconds: must be a number, not '.nan'"),
        ("window: {seconds: 1e999}", "window.seconds: must be a finite number, not 1e999"),
        ("gate: {check_seconds: 86400}", "gate.check_seconds: must be at most 3600, not 86400"),
        ("gate: {enabled: yes}", "gate.enabled: must be true or false, not 'yes'"),
        ("model: {checkpoint: ''}", "model.checkpoint: must be bundled, a directory or a hub id such as"),
        ("model: {revision: 'a b'}", "model.revision: must be a branch, a tag or a commit of the hub, not 'a b'"),
        (
            "sources: [{name: a, type: microphone, device: 1000}]",
            "sources[0].device: must be part of a device's",
        ),
        ("sources: [{name: a, type: microphone, channel: 5000}]", "or a channel index from 0 to 1023, not 5000"),
        (
            "sources: [{name: a, type: pcm, channel: right}]",
            "channel: must be mix or an index below channels, which is 1: the first has index 0, not 'right'",
        ),
        ("sources: [{name: a, type: pcm, channels: 2, channel: 2}]", "below channels, which is 2"),
        ("sources: [{name: a, type: stream, url: 'http://c/1', transport: udp}]", "udp is for rtsp:// URLs only"),
        ("sources: [{name: a, type: microphone, enabled: false}]", "did you mean listening?"),
        ("sources: [{name: a, type: stream, rtsp_transport: udp}]", "did you mean transport?"),
        ("mqtt: {path: /mqtt}", "did you mean websocket_path?"),
        ("mqtt: {tls: {insecure: true}}", "did you mean insecure_skip_host_check?"),
        ("mqtt: {tls: {ca: ca.pem}}", "did you mean ca_file?"),
        ("sources: [{name: a, type: pcm, rate_hz: 0}]", "sources[0].rate_hz: must be at least 1000, not 0"),
        (
            "sources: [{name: a, type: rtmp}]",
            "has an unknown type; known are 'microphone', 'recording', 'pcm', ",
        ),
        ("cache_directory: labels.yaml", "cache_directory: labels.yaml is not a directory"),
        ("state_directory: labels.yaml/below/it", "state_directory: labels.yaml is not a directory"),
        ("node: a: b", "put text with a colon and a space in quotes"),
        ("labels: labels.yaml\nserver: x", "server: is not known; known here: "),
        ("mqtt: {server: x}", "mqtt.server: is not known; did you mean host? known here: "),
    ],
)
def test_messages(tmp_path: Path, text: str, said: str) -> None:
    assert said in refusal(tmp_path, text)
