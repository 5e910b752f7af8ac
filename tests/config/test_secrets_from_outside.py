"""Secrets from the environment, from files and from systemd's credentials."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.configuration import load, refusal

from clapstream.cli import main
from clapstream.config import LabelSettings, MqttSettings, StreamSettings

URL = "rtsp://user:hunter2@camera/1"


def url_of(folder: Path, source: str, **environment: str) -> str:
    """URL of the only source, which is a stream."""
    (found,) = load(folder, f"sources:\n  - name: porch\n    type: stream\n    {source}", **environment).sources
    assert isinstance(found, StreamSettings)
    return found.url.get_secret_value()


def mqtt_of(folder: Path, text: str, **environment: str) -> MqttSettings:
    mqtt = load(folder, f"mqtt:\n  {text}", **environment).mqtt
    assert mqtt is not None
    return mqtt


class TestVariables:
    @pytest.mark.parametrize(
        "written",
        [
            "${URL}",
            '"${URL}"',
            "'${URL}'",
            "rtsp://user:${PASSWORD}@camera/1",
            "${SCHEME}://user:${PASSWORD}@camera/1",
        ],
    )
    def test_in_urls(self, tmp_path: Path, written: str) -> None:
        assert url_of(tmp_path, f"url: {written}", URL=URL, PASSWORD="hunter2", SCHEME="rtsp") == URL

    def test_in_every_kind_of_value(self, tmp_path: Path) -> None:
        text = """
node: ${ROOM}
mqtt: {host: "${HOST}", port: "${PORT}", username: "${USER_NUMBER}", tls: null}
window: {seconds: "${SECONDS}"}
gate:
  enabled: ${GATE}
sources: [{name: "${ROOM} door", type: "${TYPE}", device: "${DEVICE}"}]
"""
        variables = {
            "ROOM": "12",
            "HOST": "broker",
            "PORT": "8883",
            "USER_NUMBER": "007",
            "SECONDS": "5",
            "GATE": "false",
        }
        settings = load(tmp_path, text, TYPE="microphone", DEVICE="3", **variables)
        assert settings.mqtt is not None
        assert (settings.node, settings.mqtt.host, settings.mqtt.port) == ("12", "broker", 8883)
        assert (settings.mqtt.username, settings.window.seconds, settings.gate.enabled) == ("007", 5.0, False)
        assert [(source.name, source.type, source.device) for source in settings.sources] == [  # type: ignore[union-attr]
            ("12 door", "microphone", 3)
        ]

    def test_in_the_labels_file_and_its_path(self, tmp_path: Path) -> None:
        labels = 'labels: ["${ROOM} door", {name: b, start: "${START}"}]\nbackground: [c]'
        one, two = load(
            tmp_path, "labels: ${FILE}.yaml", labels, ROOM="cellar", START="0.7", FILE="labels"
        ).labels.labels
        assert one == LabelSettings(name="cellar door")
        assert two == LabelSettings(name="b", start=0.7)

    @pytest.mark.parametrize(
        ("written", "meant"),
        [
            ("five $ bill", "five $ bill"),
            ("$HOME", "$HOME"),
            ("$$", "$$"),
            ("a $", "a $"),
            ("$(x)", "$(x)"),
            ("$${NAME}", "${NAME}"),
            ("$${", "${"),
            ("{NAME}", "{NAME}"),
            ("${NAME}${NAME}", "knockknock"),
            ("${INNER}", "${NAME}"),
        ],
    )
    def test_a_plain_dollar_stays(self, tmp_path: Path, written: str, meant: str) -> None:
        labels = f"labels: ['{written}']\nbackground: [b]"
        (label,) = load(tmp_path, "", labels, NAME="knock", INNER="${NAME}").labels.labels
        assert label.name == meant

    def test_keys_and_comments_are_left_alone(self, tmp_path: Path) -> None:
        load(tmp_path, "node: home # ${NOTHING}")
        assert "${node}" in refusal(tmp_path, '"${node}": home')

    def test_one_that_is_not_set_is_named_with_file_line_and_field(self, tmp_path: Path) -> None:
        text = (
            "node: home\nmqtt:\n  port: ${PORT}\nsources:\n  - {name: a, type: stream, url: 'rtsp://u:${PASS}@c'}\n"
        )
        labels = "labels:\n  - {name: a, start: '${START}'}\nbackground: [b]"
        assert refusal(tmp_path, text, labels).splitlines() == [
            f"clapstream.yaml:3: mqtt.port: needs the environment variable PORT, which is not set; {ESCAPED}",
            f"clapstream.yaml:5: sources[0].url: needs the environment variable PASS, which is not set; {ESCAPED}",
            f"labels.yaml:2: labels[0].start: needs the environment variable START, which is not set; {ESCAPED}",
        ]

    @pytest.mark.parametrize("written", ["${}", "${", "${a b}", "${1}", "${A:-b}", "${hunter2@camera}", "${a.b}"])
    def test_one_without_a_name(self, tmp_path: Path, written: str) -> None:
        found = refusal(tmp_path, f"node: '{written}'")
        assert found.startswith("clapstream.yaml:1: node: has ${ without the name of an environment variable")
        assert "hunter2" not in found

    def test_in_braces_without_quotes(self, tmp_path: Path) -> None:
        for text in ("mqtt: {host: ${HOST}}", "sources: [${SOURCE}]", "mqtt: {host: a${HOST}}"):
            assert "in { } and [ ] a value with ${NAME} must stand in quotes" in refusal(tmp_path, text, HOST="a")

    def test_its_value_is_not_repeated_as_a_topic(self, tmp_path: Path) -> None:
        for labels in ("labels: ['${X}', '${X}']", "labels: [{name: '${X}'}, {name: '${X}'}]"):
            found = refusal(tmp_path, "", f"{labels}\nbackground: [b]", X="hunter2")
            assert "labels[1].name: gives the topic name ***" in found
            assert "hunter2" not in found

    @pytest.mark.parametrize(
        "setting", ["mqtt: {port: '${X}'}", "model: {device: '${X}'}", "model: {checkpoint: '${X}'}"]
    )
    def test_its_value_is_not_repeated(self, tmp_path: Path, setting: str) -> None:
        found = refusal(tmp_path, setting, X="hunter2")
        assert found.startswith("clapstream.yaml:1: m")
        assert "hunter2" not in found

    def test_an_empty_one_is_an_empty_text(self, tmp_path: Path) -> None:
        assert "sources[0].url: must not be empty" in refusal(
            tmp_path, "sources: [{name: a, type: stream, url: '${URL}'}]", URL=""
        )

    def test_bytes_that_are_no_text(self, tmp_path: Path) -> None:
        assert "variable X, which is not UTF-8 text" in refusal(tmp_path, "node: ${X}", X="a\udcff")

    def test_empty_overrides_are_none(self, tmp_path: Path) -> None:
        mqtt = mqtt_of(tmp_path, "host: broker", CLAPSTREAM_MQTT_HOST="", CLAPSTREAM_MQTT_USERNAME="")
        assert (mqtt.host, mqtt.username) == ("broker", None)

    def test_an_override_of_a_section_that_is_commented_out(self, tmp_path: Path) -> None:
        assert load(tmp_path, "model:\n  # device: x", CLAPSTREAM_MODEL_DEVICE="cpu").model.device == "cpu"


ESCAPED = "write $${ for the characters ${"


class TestUrlFiles:
    @pytest.mark.parametrize(
        "content",
        [URL, f"{URL}\n", f"{URL}\r\n", f"\ufeff{URL}\n", f"  {URL} \n\n", URL.replace("rtsp", "RTSP")],
    )
    def test_what_a_file_may_hold(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "url").write_bytes(content.encode())
        assert url_of(tmp_path, "url_file: url") == URL

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"", "is empty"),
            (b"\n \n", "is empty"),
            (f"{URL}\n{URL}\n".encode(), "must hold one line of text"),
            (f"# camera\r{URL}".encode(), "must hold one line of text"),
            (URL.encode() + b"\0", "must hold one line of text"),
            (URL.encode("utf-16"), "is not UTF-8 text"),
            (b"hunter2" * 10_000, "is larger than 64 KiB"),
            (b"hunter2", "must be a URL such as"),
            (b"rtsp://user:hun/ter2@camera", "/ must be written as %2F"),
            (b"rtsp://${USER}:hunter2@camera:0", "a number from 1 to 65535"),
        ],
    )
    def test_what_a_file_may_not_hold(self, tmp_path: Path, content: bytes, said: str) -> None:
        (tmp_path / "url").write_bytes(content)
        found = refusal(tmp_path, "sources: [{name: a, type: stream, url_file: url}]")
        assert found.startswith("clapstream.yaml:1: sources[0].url_file: ")
        assert said in found
        assert "ter2" not in found
        assert len(found.splitlines()) == 1

    @pytest.mark.parametrize(
        ("source", "said"),
        [
            ("url_file: nowhere", "url_file: does not exist"),
            ("url_file: .", "url_file: is a directory; a file is needed"),
            ("url_file: /dev/null", "url_file: is not a regular file"),
            (f"url_file: labels.yaml, url: '{URL}'", "url_file: must hold one line of text"),
            (f"url_file: good, url: '{URL}'", "url: is given together with url_file; keep one of them"),
            ("url_file: web, transport: udp", "transport: udp is for rtsp:// URLs only"),
            ("url_file: null", "url: is missing; give url, or url_file: a file that holds it"),
            ("url: null", "url: is missing; give url, or url_file"),
        ],
    )
    def test_mistakes(self, tmp_path: Path, source: str, said: str) -> None:
        (tmp_path / "good").write_text(URL)
        (tmp_path / "web").write_text("http://camera/1")
        found = refusal(tmp_path, f"sources: [{{name: a, type: stream, {source}}}]")
        assert said in found
        assert len(found.splitlines()) == 1

    def test_systemd_credentials(self, tmp_path: Path) -> None:
        credentials = tmp_path / "credentials"
        credentials.mkdir()
        (credentials / "porch_url").write_text(f"{URL}\n")
        directory = {"CREDENTIALS_DIRECTORY": str(credentials)}
        assert url_of(tmp_path, "url_file: ${CREDENTIALS_DIRECTORY}/porch_url", **directory) == URL

    @pytest.mark.parametrize(("mode", "noted"), [(0o644, True), (0o640, False), (0o600, False)])
    def test_files_that_everyone_can_read_are_noted(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: int, noted: bool
    ) -> None:
        for name, content in (("url", URL), ("password", "hunter2")):
            (tmp_path / name).write_text(content)
            (tmp_path / name).chmod(mode)
        load(tmp_path, TWO_FILES)
        assert main(["check", "-c", str(tmp_path / "clapstream.yaml")]) == 0
        captured = capsys.readouterr()
        assert captured.err.count("every user of this machine can read") == 2 * noted
        assert captured.out.startswith("OK")
        assert "hunter2" not in captured.out + captured.err


TWO_FILES = "mqtt: {username: a, password_file: password}\nsources: [{name: a, type: stream, url_file: url}]"


class TestLogins:
    @pytest.mark.parametrize(
        "digits", ["1234", "007", "0", "+4912345", "1e5", "1.50", "-5", "9" * 60, "0x10", ".5", "1_000"]
    )
    def test_digits_from_everywhere(self, tmp_path: Path, digits: str) -> None:
        """Digit by digit: unquoted and quoted, from variables, files and credentials."""
        (tmp_path / "password").write_text(f"{digits}\n")
        (tmp_path / "mqtt_username").write_text(f"{digits}\n")
        (tmp_path / "mqtt_password").write_text(f"{digits}\n")
        credentials = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
        for text, environment in (
            (f"username: {digits}", {}),
            (f"username: '{digits}'", {}),
            ("username: ${LOGIN}", {"LOGIN": digits}),
            ("username: '${LOGIN}'", {"LOGIN": digits}),
            ("port: 1883", {"CLAPSTREAM_MQTT_USERNAME": digits}),
            ("port: 1883", credentials),
        ):
            assert mqtt_of(tmp_path, text, **environment).user(environment) == digits, text
        for text, environment in (
            ("{username: a, password_file: password}", {}),
            ("{username: a}", {"CLAPSTREAM_MQTT_PASSWORD": digits}),
            ("{username: a}", credentials),
        ):
            assert mqtt_of(tmp_path, text, **environment).password(environment) == digits, text

    def test_names_and_topics_of_digits(self, tmp_path: Path) -> None:
        settings = load(
            tmp_path,
            "node: 12\nsources: [{name: 007, type: microphone}, {name: 8, type: pcm}]\nmqtt: {base_topic: 1}",
            "labels: [{name: 112, prompts: [911]}]\nbackground: [1.0]",
        )
        assert settings.mqtt is not None
        assert (settings.node, settings.mqtt.base_topic) == ("12", "1")
        assert [source.name for source in settings.sources] == ["007", "8"]
        assert settings.labels.labels == (LabelSettings(name="112", prompts=("911",)),)
        assert settings.labels.background == ("1.0",)

    def test_a_number_and_a_text_can_be_one_name(self, tmp_path: Path) -> None:
        text = "sources: [{name: 8, type: microphone}, {name: '8', type: pcm}]"
        assert "sources[1].name: gives the topic name '8', which sources[0] has already" in refusal(tmp_path, text)

    @pytest.mark.parametrize(
        ("content", "said"),
        [(b"", "is empty"), (b"user\nhunter2\n", "must hold one line"), (b"hunter2\xff", "is not UTF-8 text")],
    )
    def test_password_files_that_are_none(self, tmp_path: Path, content: bytes, said: str) -> None:
        (tmp_path / "password").write_bytes(content)
        found = refusal(tmp_path, "mqtt: {username: a, password_file: password}")
        assert found.startswith("clapstream.yaml:1: mqtt.password_file: ")
        assert said in found and "hunter2" not in found

    def test_a_byte_order_mark_is_no_part_of_a_password(self, tmp_path: Path) -> None:
        (tmp_path / "password").write_bytes(b"\xef\xbb\xbf hunter2 \r\n")
        assert mqtt_of(tmp_path, "{username: a, password_file: password}").password({}) == " hunter2 "

    def test_a_password_file_goes_with_a_user_from_anywhere(self, tmp_path: Path) -> None:
        (tmp_path / "password").write_text("hunter2")
        (tmp_path / "mqtt_username").write_text("me\n")
        text = "mqtt: {password_file: password}"
        assert "is given without a username" in refusal(tmp_path, text)
        assert load(tmp_path, text, CREDENTIALS_DIRECTORY=str(tmp_path)).mqtt is not None
        assert load(tmp_path, text, CLAPSTREAM_MQTT_USERNAME="me").mqtt is not None

    @pytest.mark.parametrize(
        ("username", "said"),
        [
            ("''", "must not be empty"),
            ('"a\\nb"', "control characters"),
            ("true", "must be text"),
            ("[a]", "must be text"),
        ],
    )
    def test_users_that_are_none(self, tmp_path: Path, username: str, said: str) -> None:
        assert said in refusal(tmp_path, f"mqtt: {{username: {username}}}")
