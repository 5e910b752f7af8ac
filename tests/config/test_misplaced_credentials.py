"""Credentials in the wrong place: never repeated, and it is said what to write instead."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.configuration import LABELS, refusal
from support.sections import PLACES, yaml_line

from clapstream.cli import main
from clapstream.config import load_settings
from clapstream.config.yaml_reader import UnreadableError, parse_yaml

URL = "rtsp://secretuser:hunter2@camera:554/1"
BROKER = "mqtt://secretuser:hunter2@broker:1883"
STREAM = "type: stream, url: URL}"
MAPPING = "write mqtt: {host: HOST, port: 1883, username: USER, password_file: FILE}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"mqtt: {BROKER}", f"mqtt: must be a mapping of keys to values; {MAPPING}"),
        ("mqtt: hunter2", MAPPING),
        (f"mqtt: {{host: '{BROKER}'}}", "mqtt.host: must be the broker's name or address alone"),
        ("mqtt: {host: 'secretuser:hunter2@broker'}", "mqtt.host: must be the broker's name or address alone"),
        ("mqtt: {host: 'secretuser:hunter2'}", "mqtt.host: must be the broker's name or address alone"),
        ("mqtt: {host: 'hunter2 broker'}", "mqtt.host: must be the broker's name or address"),
        (f"mqtt: {{port: '{BROKER}'}}", "mqtt.port: must be a whole number; the host goes into mqtt.host"),
        (f"mqtt: {{username: '{BROKER}'}}", "mqtt.username: must be the user name alone, not a URL"),
        ("mqtt: {username: [hunter2]}", "mqtt.username: must be text"),
        ("mqtt: {username: a, password_file: hunter2}", "mqtt.password_file: does not exist"),
        (f"mqtt: {{username: a, password_file: '{BROKER}'}}", "name a file that holds the password"),
        ("mqtt: {password: hunter2}", "did you mean password_file? it names a file that holds the password"),
        (f"mqtt: {{url: '{BROKER}'}}", "mqtt.url: is not known; did you mean host?"),
        (f"mqtt: {{'{BROKER}': 1}}", "mqtt.***: is not known"),
        (f"mqtt: {{base_topic: '{BROKER}/home'}}", "mqtt.base_topic: must be a topic, not a URL; the broker goes"),
        (f"mqtt: {{discovery_prefix: '{BROKER}#'}}", "mqtt.discovery_prefix: must be a topic, not a URL"),
        (f"mqtt: {{protocol: '{BROKER}'}}", "mqtt.protocol: must be '5' or '3.1.1'"),
        (f"mqtt: {{tls: '{BROKER}'}}", "mqtt.tls: must name ca_file"),
        (f"mqtt: {{tls: {{ca_file: '{BROKER}'}}}}", "mqtt.tls.ca_file: must be a path, not a URL"),
        (f"mqtt: {{spool: '{BROKER}'}}", "mqtt.spool: must be a mapping"),
        ("mqtt: {base_topic: 'secretuser:hunter2@broker'}", "mqtt.base_topic: must be a topic, not a URL"),
        (f"mqtt: {{transport: '{BROKER}'}}", "mqtt.transport: must be 'tcp' or 'websockets'"),
        (f"mqtt: {{websocket_path: '{BROKER}'}}", "such as /mqtt; the broker goes into mqtt.host"),
        (f"mqtt: {{tls: {{server_name: '{BROKER}'}}}}", "mqtt.tls.server_name: must be the broker's name"),
        (f"mqtt: {{tls: {{insecure_skip_host_check: '{BROKER}'}}}}", "must be true or false"),
        (f"sources: {URL}", "sources: must be a list; write each source as - {name: porch,"),
        (f"sources: ['{URL}']", "sources[0]: must be a mapping of keys to values; write a network stream as - {na"),
        (f"sources:\n  - {URL}", STREAM),
        (f"sources: {{'{URL}': porch}}", "sources: must be a list"),
        (f"sources: [{{porch: '{URL}'}}]", "sources[0].type: has no type; known are 'microphone', 'recording'"),
        (f"sources: [{{name: porch, url: '{URL}'}}]", STREAM),
        (f"sources: [{{name: porch, type: rtsp, url: '{URL}'}}]", "did you mean stream?"),
        (f"sources: [{{name: porch, type: '{URL}'}}]", STREAM),
        (f"sources: [{{name: porch, type: recording, path: '{URL}'}}]", STREAM),
        ("sources: [{name: porch, type: recording, path: 'secretuser:hunter2@camera'}]", STREAM),
        (f"sources: [{{name: porch, type: recording, url: '{URL}'}}]", "a source with a URL is of type: stream"),
        (f"sources: [{{name: porch, type: microphone, device: '{URL}'}}]", STREAM),
        (f"sources: [{{name: porch, type: microphone, channel: '{URL}'}}]", "sources[0].channel: must be mix"),
        ("sources: [{name: porch, type: microphone, device: 'secretuser:hunter2@camera'}]", STREAM),
        (f"sources: [{{name: porch, type: microphone, listening: '{URL}'}}]", "must be true or false"),
        (f"sources: [{{name: porch, type: pcm, live: '{URL}'}}]", "sources[0].live: must be true or false"),
        (f"sources: [{{name: porch, type: pcm, channel: '{URL}'}}]", "sources[0].channel: must be mix"),
        (f"sources: [{{name: a, type: stream, url: '{URL}', transport: '{URL}'}}]", "must be 'auto', 'tcp' or"),
        (f"sources: [{{name: a, type: stream, url: '{URL}', channel: '{URL}'}}]", "must be mix, left, right or"),
        (f"sources: [{{name: '{URL}', type: pcm}}]", "the URL of a stream goes into the key url"),
        ("sources: [{name: 'secretuser:hunter2@camera', type: pcm}]", "sources[0].name: must not hold a URL"),
        (f"sources: [{{name: '{URL}', type: pcm}}, {{name: '{URL}', type: microphone}}]", "sources[1].name: gives"),
        (f"sources: [{{name: porch, type: stream, uri: '{URL}'}}]", "did you mean url?"),
        ("sources: [{name: porch, type: stream, url: 'secretuser:hunter2@camera'}]", "must be a URL such as"),
        (
            "sources: [{name: porch, type: stream, url: 'rtsp://secretuser:hun/ter2@camera'}]",
            "/ must be written as %2F",
        ),
        (f"sources: [{{name: porch, type: stream, url_file: '{URL}'}}]", "the URL itself goes into the key url"),
        ("sources: [{name: porch, type: stream, url_file: hunter2}]", "sources[0].url_file: does not exist"),
        (f"node: {URL}", "node: must not hold a URL or a password"),
        (f"labels: {URL}", "labels: must be a path, not a URL"),
        (f"model: {URL}", "model: must be a mapping"),
        (f"model: {{checkpoint: '{URL}'}}", "model.checkpoint: must be a path, not a URL"),
        ("model: {checkpoint: 'secretuser:hunter2@hub'}", "model.checkpoint: is not a directory"),
        (f"model: {{device: '{URL}'}}", "model.device: must be auto, cpu,"),
        (f"model: {{precision: '{URL}'}}", "model.precision: must be 'auto'"),
        (f"model: {{revision: '{URL}'}}", "model.revision: must be a branch"),
        (f"window: {{seconds: '{URL}'}}", "window.seconds: must be a number"),
        (f"gate: '{URL}'", "gate: must be a mapping"),
        (f"cache_directory: '{URL}'", "cache_directory: must be a path, not a URL"),
        (f"'{URL}': 1", "***: is not known"),
        (f"- {URL}  # labels:", "must be a mapping of keys to values at the top"),
        (f"{URL}  # labels:", "must be a mapping of keys to values at the top"),
        ("mqtt: {password: *hunter2}", "put text that begins with * in quotes"),
        ("mqtt: {username: !hunter2 a}", "put text that begins with ! in quotes"),
        ("mqtt: {username: !hunter2!a b}", "put text that begins with ! in quotes"),
        ("mqtt: {username: !secret hunter2}", "!secret is not known here; write ${NAME}"),
        ("mqtt: {username: @hunter2}", "no value can begin with @"),
        ("a: &hunter2 1\nb: &hunter2 2", "two values have the same anchor; put text that begins with & in quotes"),
        (f"mqtt: {URL}: 1", "is not valid YAML"),
        (f'mqtt: "{URL}', "is not valid YAML"),
        (f"mqtt:\n\t- {URL}", "a tab is used"),
    ],
)
def test_it_is_not_repeated(tmp_path: Path, text: str, said: str) -> None:
    found = refusal(tmp_path, text if "labels:" in text else f"labels: labels.yaml\n{text}")
    assert "hunter2" not in found and "hun/ter2" not in found and "secretuser" not in found
    assert said in found


@pytest.mark.parametrize(
    "labels",
    [
        f"labels: ['{URL}']",
        f"labels: [{{name: '{URL}'}}]",
        f"labels: [{{name: a, prompts: ['{URL}']}}]",
        f"labels: [{{name: a, start: '{URL}'}}]",
        f"labels: {URL}",
        f"labels: [a]\nbackground: ['{URL}']",
        f"labels: [a]\ndefaults: {{stop: '{URL}'}}",
        f"labels: [a]\n'{URL}': b",
        URL,
    ],
)
def test_it_is_not_repeated_in_the_labels_file(tmp_path: Path, labels: str) -> None:
    assert "hunter2" not in refusal(tmp_path, "", labels)


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("CLAPSTREAM_MQTT_HOST", "environment: CLAPSTREAM_MQTT_HOST: must be the broker's name or address alone"),
        ("CLAPSTREAM_MQTT_PORT", "environment: CLAPSTREAM_MQTT_PORT: must be a whole number; the host goes"),
        ("CLAPSTREAM_MQTT_USERNAME", "environment: CLAPSTREAM_MQTT_USERNAME: must be the user name alone"),
        ("CLAPSTREAM_MODEL_DEVICE", "environment: CLAPSTREAM_MODEL_DEVICE: must be auto, cpu,"),
    ],
)
def test_overrides_are_not_repeated(tmp_path: Path, variable: str, said: str) -> None:
    found = refusal(tmp_path, "", **{variable: BROKER})
    assert "hunter2" not in found
    assert said in found


@pytest.mark.parametrize("value", [URL, "secretuser:hunter2@camera", f"['{URL}']", f"{{a: '{URL}'}}"])
@pytest.mark.parametrize(("section", "key"), PLACES)
def test_no_setting_repeats_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], section: str, key: str, value: str
) -> None:
    """Whether a setting takes it or refuses it, nothing that `check` prints holds it."""
    entry = yaml_line(section, key, value if value[0] in "[{" else f"'{value}'")
    (tmp_path / "labels.yaml").write_text(LABELS)
    (tmp_path / "clapstream.yaml").write_text(entry if key == "labels" else f"labels: labels.yaml\n{entry}\n")
    code = main(["check", "-v", "-c", str(tmp_path / "clapstream.yaml")])
    captured = capsys.readouterr()
    assert code in (0, 2)
    assert "hunter2" not in captured.out + captured.err


@given(
    st.text(alphabet="ab:/@{}[]*&!%#?'\"\n -", max_size=12), st.text(alphabet="ab:/@{}[]*&!%#?'\"\n -", max_size=12)
)
def test_no_syntax_error_quotes_a_secret(before: str, after: str) -> None:
    try:
        parse_yaml(f"mqtt: {before}xhunter2x{after}", {})
    except UnreadableError as error:
        assert "hunter2" not in str(error)
        assert error.__context__ is None


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", URL],
        ["check", "-c", URL],
        ["check", "--config=secretuser:hunter2@camera"],
        ["check", "-c", "hunter2@camera"],
        ["run", f"--url={URL}"],
        ["tag", URL],
        ["eval", "a.csv", "--checkpoint", URL],
        [URL],
    ],
)
def test_arguments_are_not_repeated(arguments: list[str]) -> None:
    found = subprocess.run(
        [sys.executable, "-m", "clapstream", *arguments], capture_output=True, text=True, check=False
    )
    assert found.returncode == 2
    assert "hunter2" not in found.stdout + found.stderr
    assert "Traceback" not in found.stderr


def test_settings_do_not_show_secrets(tmp_path: Path) -> None:
    (tmp_path / "url").write_text(URL)
    (tmp_path / "password").write_text("hunter2")
    (tmp_path / "labels.yaml").write_text(LABELS)
    (tmp_path / "clapstream.yaml").write_text(
        f"labels: labels.yaml\nmqtt: {{username: secretuser, password_file: password}}\n"
        f"sources: [{{name: a, type: stream, url: '{URL}'}}, {{name: b, type: stream, url_file: url}}]"
    )
    settings = load_settings(tmp_path / "clapstream.yaml", {})
    shown = (repr(settings), str(settings), repr(settings.sources[0]), str(settings.mqtt))
    assert not any("hunter2" in text or "secretuser" in text for text in shown)
    assert "hunter2" not in settings.model_dump_json()
