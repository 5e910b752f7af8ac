"""`clapstream tag` on folders, on standard input, with odd file names and without PyAV; eval and check likewise."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from support.scoring import AlwaysDetects
from support.sound_files import cut_in_half, ffmpeg, make_tone, make_video

from clapstream.audio.block import RATE_HZ, Block
from clapstream.cli import build_parser, main
from clapstream.commands.reporting import FAILURE, OK
from clapstream.commands.tag import tag_blocks, tag_files
from clapstream.config import WindowSettings

DATA = Path(__file__).parents[1] / "data"
DOG = DATA / "dog_barking.ogg"


@pytest.fixture(autouse=True)
def own_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the user's is read or written."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / ".state"))


def tag(*paths: Path, as_json: bool = True) -> int:
    window = WindowSettings(seconds=1.0, hop_seconds=1.0)
    return tag_files(paths, AlwaysDetects(), [("dog", 0.5)], window, as_json=as_json)


def write_wav(path: Path, seconds: float = 1.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    silence = np.zeros(round(seconds * 48_000), dtype=np.float32)
    soundfile.write(os.fsencode(path), silence, 48_000, format="WAV")  # soundfile takes only bytes for some names
    return path


def run_clapstream(
    *arguments: str | Path, stdin: bytes | None = None, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "clapstream", *arguments],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        timeout=120,
        env={**os.environ, **environment},
        check=False,
    )


@pytest.fixture
def without_av(tmp_path: Path) -> dict[str, str]:
    """An environment in which PyAV cannot be imported."""
    package = tmp_path / "without" / "av"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('no PyAV here')\n")
    return {"PYTHONPATH": str(package.parent)}


def test_tags_are_those_above_their_threshold_with_the_times_of_their_window() -> None:
    class Half:
        def score(self, windows: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
            return np.array([[0.5, 0.25] for _ in windows], dtype=np.float32)

    sound = [Block(0, np.zeros(3 * RATE_HZ, dtype=np.float32))]
    window_tags = list(
        tag_blocks(
            "yard.wav", sound, Half(), [("dog", 0.5), ("cat", 0.3)], window_samples=2 * RATE_HZ, hop_samples=RATE_HZ
        )
    )
    assert [[tag.label for tag in tags] for tags in window_tags] == [["dog"], ["dog"]]
    assert [json.loads(tags[0].as_json()) for tags in window_tags] == [
        {"file": "yard.wav", "start": 0.0, "end": 2.0, "label": "dog", "score": 0.5},
        {"file": "yard.wav", "start": 1.0, "end": 3.0, "label": "dog", "score": 0.5},
    ]
    assert "dog" in window_tags[0][0].as_text()


class TestFolders:
    def test_sound_files_are_found_in_order_and_the_rest_is_named(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = tmp_path / "sounds"
        sounds = [folder / name for name in ("-x.wav", "B.WAV", "a.wav", "deep/er/c.wav", "nameless", "z.flac")]
        for path in sounds:
            write_wav(path)
        write_wav(folder / ".hidden.wav")
        write_wav(folder / ".git" / "d.wav")
        (folder / "link").symlink_to(folder)
        os.mkfifo(folder / "pipe.wav")
        (folder / "notes.txt").write_text("no sound")
        (folder / "empty.txt").touch()
        assert tag(folder) == OK
        captured = capsys.readouterr()
        assert [json.loads(line)["file"] for line in captured.out.splitlines()] == [
            str(path) for path in sorted(sounds)
        ]
        (skipped,) = captured.err.splitlines()
        assert skipped.startswith("clapstream: skipped 6 ")
        for name in (".hidden.wav", ".git", "link", "pipe.wav", "notes.txt", "empty.txt"):
            assert str(folder / name) in skipped

    def test_a_broken_file_among_them_is_a_failure(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_wav(tmp_path / "a.wav")
        (tmp_path / "b.wav").write_bytes(b"RIFF no wave")
        (tmp_path / "c.wav").touch()
        assert tag(tmp_path) == FAILURE
        captured = capsys.readouterr()
        assert f"{tmp_path / 'b.wav'}: not a sound file" in captured.err
        assert f"{tmp_path / 'c.wav'}: the file is empty" in captured.err
        assert len(captured.out.splitlines()) == 1

    def test_videos_and_pictures(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        pytest.importorskip("av", reason="needs the extra stream")
        make_video(tmp_path / "silent.mp4", 1)
        make_video(tmp_path / "spoken.mkv", 2, "-c:a", "aac", sound_from=0)
        ffmpeg("-f", "lavfi", "-i", "testsrc=size=64x64", "-frames:v", "1", tmp_path / "cover.png")
        assert tag(tmp_path) == OK
        captured = capsys.readouterr()
        assert {json.loads(line)["file"] for line in captured.out.splitlines()} == {str(tmp_path / "spoken.mkv")}
        assert "skipped 2 " in captured.err
        assert "silent.mp4" in captured.err
        assert tag(tmp_path / "silent.mp4") == FAILURE
        assert "no audio track, only video" in capsys.readouterr().err

    def test_a_folder_without_sound_is_reported(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "notes.txt").write_text("no sound")
        assert tag(tmp_path) == FAILURE
        assert f"{tmp_path}: no sound files in this folder" in capsys.readouterr().err

    def test_a_file_that_was_named_is_tagged_once(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        first, second = write_wav(tmp_path / "b.wav"), write_wav(tmp_path / "a.wav")
        assert tag(first, tmp_path) == OK
        files = [json.loads(line)["file"] for line in capsys.readouterr().out.splitlines()]
        assert files == [str(first), str(second)]

    @pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
    def test_an_unreadable_folder_is_reported(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_wav(tmp_path / "a.wav")
        write_wav(tmp_path / "closed" / "b.wav").parent.chmod(0)
        assert tag(tmp_path) == FAILURE
        assert f"{tmp_path / 'closed'}: cannot be read: Permission denied" in capsys.readouterr().err


class TestNames:
    @pytest.mark.parametrize(
        "name", [b"new\nline.wav", b"\xff\xfe.wav", b"\x1b[2J.wav", b"[red]x[bold.wav", b"-x.wav"]
    )
    def test_any_name_can_be_printed(
        self, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], name: bytes
    ) -> None:
        path = write_wav(tmp_path / os.fsdecode(name))
        broken = tmp_path / os.fsdecode(b"broken " + name)
        broken.write_bytes(b"no sound")
        assert tag(path, broken) == FAILURE
        captured = capfdbinary.readouterr()
        (line,) = captured.out.splitlines()
        assert json.loads(line)["file"] == str(path)
        assert len(captured.err.splitlines()) == 1
        assert tag(path, as_json=False) == OK
        (text,) = capfdbinary.readouterr().out.splitlines()
        assert b"\x1b" not in text and text.endswith(b"1.00  dog")

    @pytest.mark.slow
    def test_an_output_without_the_letters_of_a_label(self) -> None:
        for arguments in (["--json"], []):
            done = run_clapstream(
                "tag", "--all", "--label", "chien énervé 犬", *arguments, DOG, PYTHONIOENCODING="ascii"
            )
            assert done.returncode == OK, done.stderr
            (line,) = done.stdout.decode("ascii").splitlines()
            if arguments:
                assert json.loads(line)["label"] == "chien énervé 犬"

    def test_a_name_that_is_too_long(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = tmp_path / ("a" * 300)
        assert tag(path) == FAILURE
        assert f"clapstream: {path}: cannot be read: File name too long" in capsys.readouterr().err

    def test_a_file_that_is_called_like_standard_input(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert build_parser().parse_args(["tag", "-"]).files == [Path("-")]
        assert build_parser().parse_args(["tag", "./-"]).files == [tmp_path / "-"]


class TestStandardInput:
    def test_a_whole_file_piped_in(self) -> None:
        done = run_clapstream("tag", "--json", "-", stdin=DOG.read_bytes())
        assert done.returncode == OK, done.stderr
        assert {json.loads(line)["file"] for line in done.stdout.splitlines()} == {"-"}
        assert any(json.loads(line)["label"] == "dog barking" for line in done.stdout.splitlines())

    @pytest.mark.parametrize(("content", "said"), [(b"", "the file is empty"), (b"no sound", "not a sound file")])
    def test_what_is_no_sound(
        self,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        content: bytes,
        said: str,
    ) -> None:
        (tmp_path / "input").write_bytes(content)
        with (tmp_path / "input").open() as stream:
            monkeypatch.setattr(sys, "stdin", stream)
            assert tag(Path("-")) == FAILURE
        assert f"clapstream: -: {said}" in capsys.readouterr().err

    def test_a_terminal_is_refused(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        ours, theirs = pty.openpty()
        with os.fdopen(theirs) as terminal:
            monkeypatch.setattr(sys, "stdin", terminal)
            assert tag(Path("-")) == FAILURE
        os.close(ours)
        assert "standard input is a terminal" in capsys.readouterr().err


def test_output_into_a_file_from_a_terminal_goes_into_the_file(tmp_path: Path) -> None:
    """Progress is drawn on the terminal meanwhile, by a library that likes to take over the output."""
    ours, theirs = pty.openpty()
    with (tmp_path / "out.txt").open("wb") as out:
        command = [sys.executable, "-m", "clapstream", "tag", "--all", DOG]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=theirs, env={**os.environ, "TERM": "xterm"}
        )
    os.close(theirs)
    shown = b""
    try:
        while data := os.read(ours, 65_536):
            shown += data
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.wait(timeout=120) == OK
    assert "dog barking" in (tmp_path / "out.txt").read_text()
    assert b"dog barking" not in shown
    assert b"dog_barking.ogg" in shown


class TestWithoutAv:
    """What needs PyAV says so, and how to get it; what does not works."""

    WORD = "needs the package av: pip install 'clapstream[stream]'"

    def test_tag(self, tmp_path: Path, without_av: dict[str, str]) -> None:
        path = make_tone(tmp_path / "a.m4a", 1)
        done = run_clapstream("tag", "--json", path, DOG, **without_av)
        assert done.returncode == FAILURE
        assert f"clapstream: {path}: " in done.stderr.decode()
        assert self.WORD in done.stderr.decode()
        assert {json.loads(line)["file"] for line in done.stdout.splitlines()} == {str(DOG)}

    def test_eval(self, tmp_path: Path, without_av: dict[str, str]) -> None:
        make_tone(tmp_path / "a.m4a", 1)
        (tmp_path / "clips.csv").write_text("file,label\na.m4a,tone\n")
        done = run_clapstream("eval", tmp_path / "clips.csv", **without_av)
        assert done.returncode == 2
        assert f"line 2: {tmp_path / 'a.m4a'}: " in done.stderr.decode()
        assert self.WORD in done.stderr.decode()

    def test_check(self, tmp_path: Path, without_av: dict[str, str]) -> None:
        make_tone(tmp_path / "a.m4a", 1)
        sources = '[{name: a, type: recording, path: a.m4a}, {name: b, type: stream, url: "rtsp://127.0.0.1/b"}]'
        (tmp_path / "clapstream.yaml").write_text(f"sources: {sources}\n")
        done = run_clapstream("check", "-c", tmp_path / "clapstream.yaml", **without_av)
        assert done.returncode == 2
        first, second = done.stderr.decode().splitlines()
        assert f"clapstream.yaml: sources[0].path: {tmp_path / 'a.m4a'}: " in first
        assert self.WORD in first
        assert "clapstream.yaml: sources[1].type: network streams need the package av" in second


class TestCheck:
    def check(self, folder: Path, source: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
        (folder / "clapstream.yaml").write_text(f"sources: [{{name: yard, type: recording, {source}}}]\n")
        code = main(["check", "-c", str(folder / "clapstream.yaml")])
        return code, capsys.readouterr().err

    def test_a_recording_that_is_no_sound(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "a.wav").write_text("no sound")
        code, said = self.check(tmp_path, "path: a.wav", capsys)
        assert code == 2
        assert f"sources[0].path: {tmp_path / 'a.wav'}: not a sound file" in said

    def test_a_recording_that_lost_its_index(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        pytest.importorskip("av", reason="needs the extra stream")
        cut_in_half(make_tone(tmp_path / "a.m4a", 2))
        code, said = self.check(tmp_path, "path: a.m4a", capsys)
        assert code == 2
        assert "cut short or damaged" in said

    def test_a_channel_that_the_recording_lacks(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_wav(tmp_path / "a.wav")
        code, said = self.check(tmp_path, "path: a.wav, channel: right", capsys)
        assert code == 2
        assert f"sources[0].channel: {tmp_path / 'a.wav'}: " in said
        assert "no channel right" in said

    def test_a_good_recording(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_wav(tmp_path / "a.wav")
        assert self.check(tmp_path, "path: a.wav, channel: left", capsys) == (0, "")


def test_eval_of_m4a_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("av", reason="needs the extra stream")
    for name in ("dog_barking", "doorbell"):
        ffmpeg("-i", DATA / f"{name}.ogg", "-c:a", "aac", tmp_path / f"{name}.m4a")
    (tmp_path / "clips.csv").write_text("file,label\ndog_barking.m4a,dog barking\ndoorbell.m4a,doorbell\n")
    assert main(["eval", str(tmp_path / "clips.csv")]) == OK
    assert "top-1       100.0%" in capsys.readouterr().out
