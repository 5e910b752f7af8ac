"""The command line as users see it: exit codes, and messages instead of tracebacks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from clapstream.cli import main

DATA = Path(__file__).parent / "data"

CONFIG_WITH_ERRORS = """\
node: home
sources:
  - {name: yard, type: recording, path: yard.flac, pace: quick}
window: {seconds: 10.0, hop_seconds: 12}
model: {chekpoint: bundled}
mqtt: {port: 99999}
labels: labels.yaml
"""

LABELS_WITH_ERRORS = """\
labels:
  - {name: doorbell, start: 0.3, stop: 0.5}
  - {name: Doorbell!}
  - {name: knock, confirm_windows: 5}
"""


@pytest.fixture(autouse=True)
def own_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the tests away from the user's own files."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def clapstream(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it in a separate process."""
    return subprocess.run(
        [sys.executable, "-m", "clapstream", *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        env={**os.environ, **environment},
        check=False,
    )


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for command in ("run", "demo", "tag", "devices", "check", "forget", "bench", "eval"):
        assert f"\n    {command} " in text


def test_an_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["listen"])
    assert caught.value.code == 2


@pytest.mark.parametrize("label", ["", " ", "rtsp://user:hunter2@camera"])
def test_an_empty_label_or_a_url_is_a_usage_error(label: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["tag", "--label", label, "a.wav"])
    assert caught.value.code == 2
    assert "hunter2" not in capsys.readouterr().err


def test_a_file_that_is_named_like_a_url_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "12:30@porch.yaml").write_text("node: home")
    assert main(["check", "-c", str(tmp_path / "12:30@porch.yaml")]) == 0
    assert main(["check", "-c", str(tmp_path / ("a" * 300))]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_check_accepts_the_packaged_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    assert capsys.readouterr().out.startswith("OK: listens to microphone")


def test_check_shows_what_the_configuration_means(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("av", reason="network streams need the package av")
    soundfile.write(tmp_path / "yard.wav", np.zeros(48_000, dtype=np.float32), 48_000)
    (tmp_path / "clapstream.yaml").write_text(f"""
node: My Home
mqtt:
  {{host: broker, port: 8883, username: secretuser, transport: websockets, websocket_path: /hunter2,
   tls: {{ca_file: system}}}}
state_directory: {tmp_path}/state
cache_directory: {tmp_path}/cache
sources:
  - {{name: yard, type: recording, path: yard.wav, loop: true}}
  - {{name: bedroom, type: microphone, device: 3, channel: left, listening: off}}
  - {{name: pipe, type: pcm, channels: 2, live: true}}
  - {{name: porch, type: stream, url: 'rtsp://secretuser:hunter2@camera:554/hunter2', transport: udp}}
""")
    assert main(["check", "-c", str(tmp_path / "clapstream.yaml")]) == 0
    found = capsys.readouterr().out
    assert [" ".join(line.split()) for line in found.splitlines()] == [
        "OK: listens to yard, bedroom, pipe, porch",
        "node My Home",
        f"sources yard recording {tmp_path}/yard.wav, in a loop, the common labels",
        "bedroom microphone device 3, channel left, off until it is switched on, the common labels",
        "pipe pcm standard input, 48000 Hz, 2 channels, live, the common labels",
        "porch stream rtsp://camera:554, over UDP, the common labels",
        "labels 33, against 21 background prompts",
        "window 10 s, a new one every 2.5 s",
        "checkpoint bundled, on device auto",
        "broker broker:8883, websockets, TLS, MQTT 5, topics clapstream/my_home/...",
        f"state {tmp_path}/state",
        f"cache {tmp_path}/cache",
    ]


def test_check_warns_of_a_source_that_cannot_be_switched_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "clapstream.yaml"
    for mqtt, noted in (("null", True), ("{host: broker}", False)):
        path.write_text(f"mqtt: {mqtt}\nsources: [{{name: hall, type: microphone, listening: false}}]")
        assert main(["check", "-c", str(path)]) == 0
        assert ("hall does not listen and cannot be switched on" in capsys.readouterr().err) == noted


def test_check_prints_every_error_of_both_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "clapstream.yaml").write_text(CONFIG_WITH_ERRORS)
    (tmp_path / "labels.yaml").write_text(LABELS_WITH_ERRORS)
    assert main(["check", "-c", str(tmp_path / "clapstream.yaml")]) == 2
    lines = capsys.readouterr().err.splitlines()
    for file, field in (
        ("clapstream.yaml", "sources[0].path"),
        ("clapstream.yaml", "sources[0].pace"),
        ("clapstream.yaml", "window.hop_seconds"),
        ("clapstream.yaml", "model.chekpoint"),
        ("clapstream.yaml", "mqtt.port"),
        ("labels.yaml", "labels[0].stop"),
        ("labels.yaml", "labels[1].name"),
    ):
        assert any(file in line and f"{field}:" in line for line in lines), (field, lines)


def test_more_confirmation_windows_than_can_overlap_a_sound_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "clapstream.yaml").write_text("labels: labels.yaml\n")
    (tmp_path / "labels.yaml").write_text("labels: [{name: knock, confirm_windows: 5}]\n")
    assert main(["check", "-c", str(tmp_path / "clapstream.yaml")]) == 2
    message = capsys.readouterr().err
    assert "labels[0].confirm_windows" in message
    assert "4" in message


def test_run_refuses_what_check_refuses(tmp_path: Path) -> None:
    (tmp_path / "clapstream.yaml").write_text("soures: []\n")
    found = clapstream("run", "-c", str(tmp_path / "clapstream.yaml"))
    assert found.returncode == 2
    assert "soures" in found.stderr
    assert "Traceback" not in found.stderr


def write_bad_files(folder: Path) -> dict[str, Path]:
    """Files that cannot be tagged, by their fault."""
    files = {name: folder / f"{name}.wav" for name in ("missing", "corrupt", "empty", "one_sample", "no_samples")}
    files["corrupt"].write_bytes(b"RIFF" + os.urandom(2000))
    files["empty"].write_bytes(b"")
    soundfile.write(files["one_sample"], np.zeros(1, dtype=np.float32), 48_000)
    soundfile.write(files["no_samples"], np.zeros(0, dtype=np.float32), 48_000)
    files["directory"] = folder
    return files


def test_tag_names_each_bad_file_and_tags_the_good_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = write_bad_files(tmp_path)
    arguments = ["tag", "--json", "--all", *map(str, bad.values()), str(DATA / "dog_barking.ogg")]
    assert main(arguments) == 1
    captured = capsys.readouterr()
    for path in bad.values():
        assert sum(f" {path}: " in line for line in captured.err.splitlines()) == 1, captured.err
    assert {json.loads(line)["file"] for line in captured.out.splitlines()} == {str(DATA / "dog_barking.ogg")}


def test_samples_that_are_no_finite_numbers_become_silence_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    samples = np.full(48_000, np.nan, dtype=np.float32)
    samples[::2] = np.inf
    soundfile.write(tmp_path / "nan.wav", samples, 48_000, subtype="FLOAT")
    assert main(["tag", "--json", "--all", str(tmp_path / "nan.wav")]) == 0
    scores = [json.loads(line)["score"] for line in capsys.readouterr().out.splitlines()]
    assert scores
    assert all(0.0 <= score <= 1.0 for score in scores)
    assert "48000 samples are not finite numbers" in caplog.text


def test_tag_recognizes_a_dog_by_any_label(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["tag", "--json", "--all", "--label", "a dog barks", "--label", "a violin concert"]
    assert main([*arguments, str(DATA / "dog_barking.ogg")]) == 0
    scores = {row["label"]: row["score"] for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert scores["a dog barks"] > scores["a violin concert"]


def test_a_closed_pipe_causes_no_traceback() -> None:
    command = f"{sys.executable} -m clapstream tag --all {DATA / 'speech.ogg'} | head -n 1"
    found = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120, check=True)
    assert len(found.stdout.splitlines()) == 1
    assert "Traceback" not in found.stderr
    assert "BrokenPipe" not in found.stderr


def test_a_missing_portaudio_is_reported(tmp_path: Path) -> None:
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')\n")
    found = clapstream("devices", PYTHONPATH=str(tmp_path))
    assert found.returncode == 1
    assert "libportaudio2" in found.stderr
    assert "Traceback" not in found.stderr


def test_a_missing_model_device_is_reported() -> None:
    found = clapstream("run", "--no-dashboard", CLAPSTREAM_MODEL_DEVICE="cuda:99")
    assert found.returncode == 1
    assert "cuda:99" in found.stderr
    assert "Traceback" not in found.stderr


def test_eval_names_the_file_that_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "list.csv").write_text("file,label\nmissing.wav,dog\n")
    assert main(["eval", str(tmp_path / "list.csv")]) == 2
    message = capsys.readouterr().err
    assert "list.csv" in message
    assert "missing.wav" in message
