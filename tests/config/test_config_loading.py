from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.configuration import LABELS

from clapstream.config import (
    ConfigError,
    LabelSettings,
    MicrophoneSettings,
    MqttSettings,
    PcmSettings,
    RecordingSettings,
    Settings,
    StreamSettings,
    TlsSettings,
    WindowSettings,
    default_config_directory,
    load_settings,
)
from clapstream.config.settings import MainFile, host_name_when_null
from clapstream.urls import shown_url


def write(folder: Path, main: str = "", labels: str = LABELS) -> Path:
    """A configuration in `folder`; its main file names its labels file unless it says otherwise."""
    (folder / "labels.yaml").write_text(labels, encoding="utf-8")
    path = folder / "clapstream.yaml"
    path.write_text(main if "labels:" in main else f"labels: labels.yaml\n{main}", encoding="utf-8")
    return path


def load(folder: Path, main: str = "", labels: str = LABELS, **environment: str) -> Settings:
    return load_settings(write(folder, main, labels), environment)


def problems(folder: Path, main: str = "", labels: str = LABELS, **environment: str) -> dict[str, str]:
    """Messages by field of a configuration that must be refused."""
    with pytest.raises(ConfigError) as raised:
        load(folder, main, labels, **environment)
    return {problem.field: problem.message for problem in raised.value.problems}


def only_problem(folder: Path, main: str = "", labels: str = LABELS) -> tuple[str, str]:
    ((field, message),) = problems(folder, main, labels).items()
    return field, message


class TestDefaults:
    def test_every_key_has_a_default(self, tmp_path: Path) -> None:
        settings = load(tmp_path)
        assert settings.node and settings.node == host_name_when_null(None)
        assert settings.sources == (MicrophoneSettings(name="microphone"),)
        assert settings.window == WindowSettings(seconds=10.0, hop_seconds=2.5)
        assert settings.mqtt == MqttSettings(host="localhost", port=1883, base_topic="clapstream")

    def test_the_packaged_file_says_the_defaults(self, tmp_path: Path) -> None:
        packaged, empty = load_settings(), load(tmp_path)
        assert packaged.model_copy(update={"labels": empty.labels}) == empty

    def test_the_packaged_file_names_every_setting(self) -> None:
        written = yaml.safe_load((default_config_directory() / "clapstream.yaml").read_text(encoding="utf-8"))
        assert set(written) == set(MainFile.model_fields)
        for section in ("model", "window", "mqtt"):
            fields = type(getattr(load_settings(), section)).model_fields
            assert set(written[section]) == set(fields), section

    def test_commented_out_sections_are_defaults(self, tmp_path: Path) -> None:
        assert load(tmp_path, "window:\n  # seconds: 5\nmodel:\n") == load(tmp_path)

    def test_mqtt_null_is_no_mqtt(self, tmp_path: Path) -> None:
        assert load(tmp_path, "mqtt: null").mqtt is None

    def test_labels_inherit_the_defaults_of_their_file(self, tmp_path: Path) -> None:
        text = (
            "defaults: {start: 0.8, confirm_windows: 2}\n"
            "labels: [a, {name: b, start: 0.5, prompts: [one, two]}]\nbackground: [c]"
        )
        a, b = load(tmp_path, labels=text).labels.labels
        assert a == LabelSettings(name="a", start=0.8, stop=0.4, confirm_windows=2, hold_seconds=5.0)
        assert b == LabelSettings(name="b", prompts=("one", "two"), start=0.5, confirm_windows=2)

    def test_background_defaults_to_the_packaged_one(self, tmp_path: Path) -> None:
        assert load(tmp_path, labels="labels: [a]").labels.background == load_settings().labels.background

    def test_directories_follow_systemd_then_xdg_then_home(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("CACHE_DIRECTORY", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HOME", "/home/user")
        assert load(tmp_path).cache_directory == Path("/home/user/.cache/clapstream")
        monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
        assert load(tmp_path).cache_directory == Path("/xdg/clapstream")
        monkeypatch.setenv("CACHE_DIRECTORY", "/var/cache/clapstream:/second")
        assert load(tmp_path).cache_directory == Path("/var/cache/clapstream")
        assert load(tmp_path, "cache_directory: here").cache_directory == tmp_path / "here"


class TestSources:
    def test_the_contract(self, tmp_path: Path) -> None:
        (tmp_path / "yard.flac").write_bytes(b"")
        text = """
sources:
  - {name: kitchen, type: microphone, device: USB, channel: mix}
  - {name: yard, type: recording, path: yard.flac, pace: realtime, loop: false}
  - {name: pipe, type: pcm, rate_hz: 48000, channels: 1}
  - {name: porch, type: stream, url: "rtsp://camera/1"}
"""
        kitchen, yard, pipe, porch = load(tmp_path, text).sources
        assert kitchen == MicrophoneSettings(name="kitchen", device="USB")
        assert yard == RecordingSettings(name="yard", path=tmp_path / "yard.flac")
        assert pipe == PcmSettings(name="pipe")
        assert isinstance(porch, StreamSettings)
        assert porch.url.get_secret_value() == "rtsp://camera/1"

    @pytest.mark.parametrize("device", ["null", "3", "USB"])
    def test_devices(self, tmp_path: Path, device: str) -> None:
        (source,) = load(tmp_path, f"sources: [{{name: a, type: microphone, device: {device}}}]").sources
        assert isinstance(source, MicrophoneSettings)
        assert source.device == yaml.safe_load(device)

    @pytest.mark.parametrize(
        ("written", "listening"),
        [("on", True), ("'Off'", False), ("OFF", False), ("true", True), ("false", False), ("'${SWITCH}'", False)],
    )
    def test_listening_is_also_written_as_on_and_off(self, tmp_path: Path, written: str, listening: bool) -> None:
        text = f"sources: [{{name: a, type: microphone, listening: {written}}}]"
        (source,) = load(tmp_path, text, SWITCH="False").sources
        assert source.listening is listening

    @pytest.mark.parametrize(
        ("source", "field", "message"),
        [
            ("{name: a}", "sources[0].type", "has no type; known are 'microphone'"),
            ("{name: a, type: mic}", "sources[0].type", "unknown type"),
            ("{type: microphone}", "sources[0].name", "is missing"),
            ("{name: ' ', type: microphone}", "sources[0].name", "must not be empty"),
            ('{name: "\\0", type: microphone}', "sources[0].name", "must not be empty"),
            ("{name: a, type: microphone, channel: top}", "sources[0].channel", "mix, left, right or a channel"),
            ("{name: a, type: microphone, device: true}", "sources[0].device", "clapstream devices"),
            ("{name: a, type: recording, path: none.wav}", "sources[0].path", "does not exist"),
            ("{name: a, type: recording, path: .}", "sources[0].path", "is a directory"),
            ('{name: a, type: recording, path: "a\\0b"}', "sources[0].path", "must be a path"),
            ("{name: a, type: pcm, rate_hz: 44.1}", "sources[0].rate_hz", "whole number, not 44.1"),
            ("{name: a, type: pcm, channels: true}", "sources[0].channels", "whole number, not true"),
            ("{name: a, type: stream, url: camera}", "sources[0].url", "must be a URL"),
            ("5", "sources[0]", "must be a mapping"),
        ],
    )
    def test_mistakes(self, tmp_path: Path, source: str, field: str, message: str) -> None:
        found = only_problem(tmp_path, f"sources: [{source}]")
        assert found[0] == field
        assert message in found[1]

    def test_an_empty_list_of_sources_is_refused(self, tmp_path: Path) -> None:
        assert only_problem(tmp_path, "sources: []") == ("sources", "needs at least one entry")

    def test_two_names_with_one_slug(self, tmp_path: Path) -> None:
        text = "sources: [{name: Front door, type: microphone}, {name: front-door, type: microphone}]"
        field, message = only_problem(tmp_path, text)
        assert field == "sources[1].name"
        assert "front_door" in message and "sources[0]" in message

    def test_one_standard_input(self, tmp_path: Path) -> None:
        field, message = only_problem(tmp_path, "sources: [{name: a, type: pcm}, {name: b, type: pcm}]")
        assert (field, "standard input" in message) == ("sources[1].type", True)

    def test_transport_and_channel_of_a_stream_and_a_live_pipe(self, tmp_path: Path) -> None:
        text = (
            "sources: [{name: a, type: stream, url: 'rtsp://camera/1', transport: udp, channel: right},"
            " {name: b, type: pcm, live: true}]"
        )
        stream, pipe = load(tmp_path, text).sources
        assert isinstance(stream, StreamSettings)
        assert isinstance(pipe, PcmSettings)
        assert (stream.transport, stream.channel, pipe.live) == ("udp", "right", True)

    @pytest.mark.parametrize(
        ("keys", "field", "message"),
        [
            ("url: 'rtsp://camera/1', transport: http", "transport", "'auto', 'tcp' or 'udp'"),
            ("url: 'http://camera/1', transport: tcp", "transport", "rtsp:// URLs only"),
            ("url: 'http://camera/1', channel: centre", "channel", "mix, left, right or a channel index"),
        ],
    )
    def test_streams_that_cannot_work(self, tmp_path: Path, keys: str, field: str, message: str) -> None:
        found = only_problem(tmp_path, f"sources: [{{name: a, type: stream, {keys}}}]")
        assert found[0] == f"sources[0].{field}"
        assert message in found[1]


class TestWindowAndLabels:
    @pytest.mark.parametrize(
        ("window", "field", "message"),
        [
            ("{seconds: 10.1}", "window.seconds", "at most 10"),
            ("{seconds: 0.2, hop_seconds: 0.2}", "window.seconds", "at least 0.5"),
            ("{seconds: 2, hop_seconds: 3}", "window.hop_seconds", "0.1 to 2"),
            ("{seconds: 2}", "window.hop_seconds", "2.5 is above window.seconds"),
            ("{hop_seconds: 0}", "window.hop_seconds", "at least 0.1"),
            ("{seconds: .nan}", "window.seconds", "must be a number"),
            ("{seconds: 1e999}", "window.seconds", "must be a finite number"),
            ("{secnds: 5}", "window.secnds", "did you mean seconds?"),
        ],
    )
    def test_windows_that_cannot_work(self, tmp_path: Path, window: str, field: str, message: str) -> None:
        found = only_problem(tmp_path, f"window: {window}")
        assert found[0] == field
        assert message in found[1]

    @pytest.mark.parametrize(
        ("seconds", "hop_seconds", "windows"),
        [(10.0, 2.5, 4), (10.0, 3.0, 4), (10.0, 10.0, 1), (0.6, 0.2, 3), (1.2, 0.4, 3), (10.0, 0.1, 100)],
    )
    def test_windows_per_sound(self, seconds: float, hop_seconds: float, windows: int) -> None:
        assert WindowSettings(seconds=seconds, hop_seconds=hop_seconds).windows_per_sound == windows

    def test_more_confirmation_than_a_sound_can_give(self, tmp_path: Path) -> None:
        def labels(count: int) -> str:
            return f"labels: [{{name: a, confirm_windows: {count}}}]\nbackground: [b]"

        load(tmp_path, "window: {hop_seconds: 3.0}", labels(4))
        field, message = only_problem(tmp_path, "window: {hop_seconds: 3.0}", labels(5))
        assert field == "labels[0].confirm_windows"
        assert "at most 4, not 5" in message

    def test_confirmation_in_the_defaults_is_one_problem(self, tmp_path: Path) -> None:
        text = "defaults: {confirm_windows: 9}\nlabels: [a, b, c]\nbackground: [d]"
        assert only_problem(tmp_path, labels=text)[0] == "defaults.confirm_windows"

    @pytest.mark.parametrize(
        ("labels", "field", "message"),
        [
            ("labels: []\nbackground: [b]", "labels", "at least one"),
            ("background: [b]", "labels", "is missing"),
            ("labels: [a]\nbackground: []", "background", "at least one"),
            ("labels: [a, A!]\nbackground: [b]", "labels[1].name", "labels[0] has already"),
            ("labels: [{name: a, start: 0.3}]\nbackground: [b]", "labels[0].stop", "must be below start (0.3)"),
            (
                "defaults: {start: 0.2}\nlabels: [a, b]\nbackground: [c]",
                "defaults.stop",
                "must be below start (0.2)",
            ),
            ("labels: [{name: a, start: 60}]\nbackground: [b]", "labels[0].start", "at most 1"),
            ("labels: [{name: a, confirm_windows: 0}]\nbackground: [b]", "labels[0].confirm_windows", "at least 1"),
            ("labels: [{name: a, hold_seconds: -1}]\nbackground: [b]", "labels[0].hold_seconds", "at least 0"),
            ("labels: [{name: a, prompts: one}]\nbackground: [b]", "labels[0].prompts", "must be a list"),
            ("labels: [{name: a, prompt: [b]}]\nbackground: [b]", "labels[0].prompt", "did you mean prompts?"),
            ("labels: [5]\nbackground: [b]", "labels[0]", "must be a mapping"),
            ("label: [a]\nlabels: [a]\nbackground: [b]", "label", "did you mean labels?"),
            ("- a", "", "must be a mapping"),
        ],
    )
    def test_mistakes_in_the_labels_file(self, tmp_path: Path, labels: str, field: str, message: str) -> None:
        found = problems(tmp_path, labels=labels)
        assert message in found[field]

    @pytest.mark.parametrize("name", ["a/b", "a#b", "+", "🔔", "x" * 300, "犬"])
    def test_any_name_is_safe(self, tmp_path: Path, name: str) -> None:
        (label,) = load(tmp_path, labels=f"labels: ['{name}']\nbackground: [b]").labels.labels
        assert label.name == name
        assert re.fullmatch("[a-z0-9_]{1,64}", label.slug)

    def test_control_characters_do_not_reach_the_terminal(self, tmp_path: Path) -> None:
        (label,) = load(tmp_path, labels='labels: ["\\e[2Jdog\\0 bark\\n"]\nbackground: [b]').labels.labels
        assert label.name == "[2Jdog bark"

    @pytest.mark.parametrize(("labels", "reason"), [("nowhere.yaml", "does not exist"), (".", "is a directory")])
    def test_labels_file_that_is_none(self, tmp_path: Path, labels: str, reason: str) -> None:
        field, message = only_problem(tmp_path, f"labels: {labels}")
        assert field == "labels"
        assert reason in message


class TestMqtt:
    @pytest.mark.parametrize(
        ("mqtt", "field", "message"),
        [
            ("{port: 0}", "mqtt.port", "at least 1"),
            ("{host: 'mqtt://a'}", "mqtt.host", "name or address alone"),
            ("{base_topic: 'a/#'}", "mqtt.base_topic", "without spaces"),
            ("{base_topic: /a}", "mqtt.base_topic", "a slash at either end"),
            ("{base_topic: $SYS}", "mqtt.base_topic", "leading $"),
            ("{protocol: 4}", "mqtt.protocol", "'5' or '3.1.1'"),
            ("{tls: {}}", "mqtt.tls", "ca_file"),
            ("{tls: {ca_file: system, cert_file: clapstream.yaml}}", "mqtt.tls.key_file", "together"),
            ("{tls: {ca_file: nowhere.pem}}", "mqtt.tls.ca_file", "does not exist"),
            ("{password_file: clapstream.yaml}", "mqtt.password_file", "without a username"),
            ("{username: a, password_file: nowhere}", "mqtt.password_file", "does not exist"),
            ("{spool: {max_messages: -1}}", "mqtt.spool.max_messages", "at least 0"),
            ("{websocket_path: /ws}", "mqtt.websocket_path", "needs transport: websockets, and transport is tcp"),
            ("{websocket_path: ws, transport: websockets}", "mqtt.websocket_path", "must be a path"),
        ],
    )
    def test_mistakes(self, tmp_path: Path, mqtt: str, field: str, message: str) -> None:
        found = only_problem(tmp_path, f"mqtt: {mqtt}")
        assert found[0] == field
        assert message in found[1]

    def test_all_null_tls_is_no_tls_and_system_trusts_the_system(self, tmp_path: Path) -> None:
        def tls(text: str) -> TlsSettings | None:
            mqtt = load(tmp_path, f"mqtt: {{tls: {text}}}").mqtt
            assert mqtt is not None
            return mqtt.tls

        assert tls("{ca_file: null, cert_file: null, key_file: null}") is None
        assert tls("{ca_file: system}") == TlsSettings(ca_file=None)
        assert tls("{ca_file: clapstream.yaml}") == TlsSettings(ca_file=tmp_path / "clapstream.yaml")

    def test_a_path_is_for_websockets_and_the_default_may_be_written_out(self, tmp_path: Path) -> None:
        for mqtt, path in (
            ("{transport: websockets, websocket_path: /ws}", "/ws"),
            ("{transport: tcp, websocket_path: /mqtt}", "/mqtt"),
        ):
            settings = load(tmp_path, f"mqtt: {mqtt}")
            assert settings.mqtt is not None and settings.mqtt.websocket_path == path

    def test_protocol_as_a_number(self, tmp_path: Path) -> None:
        mqtt = load(tmp_path, "mqtt: {protocol: 5}").mqtt
        assert mqtt is not None and mqtt.protocol == "5"

    def test_where_the_password_comes_from(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("from file\n", encoding="utf-8")
        (tmp_path / "mqtt_password").write_text("from systemd\n", encoding="utf-8")
        credentials = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
        variable = {"CLAPSTREAM_MQTT_PASSWORD": "from variable"}
        with_file = MqttSettings(username="a", password_file=tmp_path / "secret")
        assert with_file.password({**variable, **credentials}) == "from file"
        assert MqttSettings().password({**variable, **credentials}) == "from variable"
        assert MqttSettings().password(credentials) == "from systemd"
        assert MqttSettings().password({}) is None

    def test_where_the_username_comes_from(self, tmp_path: Path) -> None:
        (tmp_path / "mqtt_username").write_text("from systemd\n", encoding="utf-8")
        credentials = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
        assert MqttSettings(username="from file").user(credentials) == "from file"
        assert MqttSettings().user(credentials) == "from systemd"
        assert MqttSettings().user({}) is None

    def test_a_password_that_cannot_be_read_is_a_problem(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_bytes(b"\xff\xfe")
        field, message = only_problem(tmp_path, "mqtt: {username: a, password_file: secret}")
        assert (field, message) == ("mqtt.password_file", "is not UTF-8 text")


class TestSourcesThatMayFail:
    """`run` goes on without what one source lacks; `check` and every other command name it."""

    TEXT = """
sources:
  - {name: yard, type: recording, path: yard.flac}
  - {name: porch, type: stream, url_file: url, transport: udp}
  - {name: hall, type: microphone}
"""

    def test_the_others_are_there_and_each_says_what_it_lacks(self, tmp_path: Path) -> None:
        assert list(problems(tmp_path, self.TEXT)) == ["sources[0].path", "sources[1].url_file"]
        yard, porch, hall = load_settings(tmp_path / "clapstream.yaml", {}, sources_may_fail=True).sources
        assert [source.name for source in (yard, porch, hall)] == ["yard", "porch", "hall"]
        assert isinstance(porch, StreamSettings)
        for content, said in (
            (None, "url_file cannot be read"),
            ("", "url_file is empty"),
            ("rtsp://u:hun/ter2@c", "%2F"),
        ):
            if content is not None:
                (tmp_path / "url").write_text(content)
            with pytest.raises(ValueError, match=said) as raised:
                porch.read_url()
            assert "ter2" not in str(raised.value)
        (tmp_path / "url").write_text("rtsp://user:hunter2@camera/1")
        assert porch.read_url() == "rtsp://user:hunter2@camera/1", "once the file is there"

    @pytest.mark.parametrize(
        ("old", "new", "said"),
        [
            ("type: microphone", "type: microfone", "has an unknown type"),
            ("yard.flac", "yard.flac, pace: slow", "sources[0].pace"),
            ("url_file: url", "url_file: url, url: rtsp://camera/1", "keep one of them"),
            ("url_file: url", "url_file: null", "url: is missing"),
            ("type: microphone", "type: recording, path: none.flac", "sources[2].path: "),
        ],
    )
    def test_what_else_is_wrong_is_refused_and_so_is_a_configuration_without_a_source_that_works(
        self, tmp_path: Path, old: str, new: str, said: str
    ) -> None:
        problems(tmp_path, self.TEXT.replace(old, new))
        with pytest.raises(ConfigError) as raised:
            load_settings(tmp_path / "clapstream.yaml", {}, sources_may_fail=True)
        assert said in str(raised.value)


class TestSecrets:
    def test_secrets_show_nowhere(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("hunter2", encoding="utf-8")
        text = """
mqtt: {username: a, password_file: secret}
sources: [{name: porch, type: stream, url: "rtsp://user:hunter2@camera:554/1?token=hunter2#hunter2"}]
"""
        settings = load(tmp_path, text)
        shown = [repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json()]
        assert not any("hunter2" in text for text in shown)
        (porch,) = settings.sources
        assert isinstance(porch, StreamSettings)
        assert shown_url(porch.read_url()) == "rtsp://camera:554"

    @pytest.mark.parametrize(
        "address", ["user:hun/ter2@camera/1", "user:hun?ter2@camera/1", "user:h#nter2@camera/1"]
    )
    def test_secrets_that_are_not_escaped(self, address: str) -> None:
        source = StreamSettings.model_validate({"name": "porch", "url": f"rtsp://{address}"})
        assert shown_url(source.read_url()) == "rtsp://camera"

    def test_mistakes_do_not_repeat_secrets(self, tmp_path: Path) -> None:
        text = "mqtt: {password: hunter2}\nsources: [{name: a, type: stream, url: 'user:hunter2@camera'}]"
        with pytest.raises(ConfigError) as raised:
            load(tmp_path, text)
        assert len(raised.value.problems) == 2
        assert "hunter2" not in str(raised.value)
        assert "did you mean password_file?" in str(raised.value)


class TestEnvironment:
    def test_overrides_win(self, tmp_path: Path) -> None:
        overrides: dict[str, Any] = {
            "CLAPSTREAM_MODEL_DEVICE": "cpu",
            "CLAPSTREAM_MQTT_HOST": "broker",
            "CLAPSTREAM_MQTT_PORT": "1234",
            "CLAPSTREAM_MQTT_USERNAME": "me",
        }
        settings = load(tmp_path, "mqtt: {host: other}", **overrides)
        assert settings.mqtt is not None
        assert (settings.mqtt.host, settings.mqtt.port, settings.mqtt.username) == ("broker", 1234, "me")
        assert settings.model.device == "cpu"

    def test_a_wrong_override_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError) as raised:
            load(tmp_path, CLAPSTREAM_MQTT_PORT="many")
        (problem,) = raised.value.problems
        assert str(problem) == "environment: CLAPSTREAM_MQTT_PORT: must be a whole number, not 'many'"

    def test_mqtt_null_stays_null(self, tmp_path: Path) -> None:
        assert load(tmp_path, "mqtt: null", CLAPSTREAM_MQTT_HOST="broker").mqtt is None


class TestProblems:
    def test_five_mistakes_in_one_go_each_with_file_line_and_field(self, tmp_path: Path) -> None:
        main = """\
labels: labels.yaml
sources:
  - {name: kitchen, type: microphone}
  - name: yard
    type: pcm
    pace: slow
window: {seconds: 20}
mqtt: {port: high}
"""
        labels = "labels:\n  - {name: a, start: 0.2}\n  - b\n  - B\nbackground: [c]\n"
        with pytest.raises(ConfigError) as raised:
            load(tmp_path, main, labels)
        main_file, labels_file = tmp_path / "clapstream.yaml", tmp_path / "labels.yaml"
        assert str(raised.value).splitlines() == [
            f"{main_file}:6: sources[1].pace: is not known; "
            "known here: channel, channels, labels, listening, live, name, rate_hz, type",
            f"{main_file}:7: window.seconds: must be at most 10, not 20",
            f"{main_file}:8: mqtt.port: must be a whole number, not 'high'",
            f"{labels_file}:2: labels[0].stop: must be below start (0.2), not 0.4",
            f"{labels_file}:4: labels[2].name: gives the topic name 'b', which labels[1] has already; "
            "rename one of them",
        ]

    def test_a_hostile_key_stays_on_its_line(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError) as raised:
            load(tmp_path, '"a\\nb\\e[2J": 1')
        assert str(raised.value).isprintable()

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError) as raised:
            load_settings(tmp_path / "none.yaml", {})
        assert str(raised.value) == f"{tmp_path / 'none.yaml'}: does not exist"

    def test_syntax_in_one_file_and_mistake_in_the_other(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError) as raised:
            load(tmp_path, "window: {seconds: 0}", "labels:\n\t- a")
        assert [Path(problem.file).name for problem in raised.value.problems] == ["clapstream.yaml", "labels.yaml"]

    def test_paths_that_cannot_be_reached(self, tmp_path: Path) -> None:
        name = "x" * 300
        found = problems(tmp_path, f"model: {{checkpoint: {name}}}\nlabels: {name}")
        assert set(found) == {"model.checkpoint", "labels"}
        assert all("cannot be reached" in message for message in found.values())

    def test_no_home_directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("CACHE_DIRECTORY", "XDG_CACHE_HOME", "STATE_DIRECTORY", "XDG_STATE_HOME"):
            monkeypatch.delenv(name, raising=False)

        def homeless() -> Path:
            raise RuntimeError

        monkeypatch.setattr(Path, "home", homeless)
        found = problems(tmp_path)
        assert set(found) == {"cache_directory", "state_directory"}
        assert all("name a directory" in message for message in found.values())

    def test_checkpoints(self, tmp_path: Path) -> None:
        (tmp_path / "my").mkdir()
        for written, meant in [("my", str(tmp_path / "my")), ("a/b", "a/b"), ("bundled", "bundled")]:
            assert load(tmp_path, f"model: {{checkpoint: {written}}}").model.checkpoint == meant
        field, message = only_problem(tmp_path, "model: {checkpoint: nowhere}")
        assert field == "model.checkpoint"
        assert "bundled, a directory or a hub id" in message
