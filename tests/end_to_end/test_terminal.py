"""Terminals that close, cannot show the dashboard or lack characters: real terminals, shells and a real broker."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from rich.cells import cell_len
from support.pseudo_terminal import PseudoTerminal
from support.real_broker import Broker, Listener
from support.scene import write_scene
from support.sound_system import SoundSystem

BASE = "clapstream/home"
ENTER_SCREEN, LEAVE_SCREEN, SHOW_CURSOR = "\x1b[?1049h", "\x1b[?1049l", "\x1b[?25h"
STATE = f"{BASE}/yard/dog_barking/state"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration with a dog that barks again and again, and no broker."""
    write_scene(tmp_path / "scene.wav", 20.0, {"dog_barking": 2.0})
    return write_config(tmp_path, {"mqtt": None})


def write_config(folder: Path, settings: dict[str, object]) -> Path:
    source = {"name": "yard", "type": "recording", "path": str(folder / "scene.wav"), "loop": True}
    (folder / "labels.yaml").write_text("labels: [dog barking]\nbackground: [a quiet room]\n")
    path = folder / "clapstream.yaml"
    whole: dict[str, object] = {
        "node": "home",
        "sources": [source],
        "labels": "labels.yaml",
        "cache_directory": str(folder / "cache"),
        "state_directory": str(folder / "state"),
        **settings,
    }
    path.write_text(yaml.safe_dump(whole, allow_unicode=True), encoding="utf-8")
    return path


@pytest.fixture
def barking(config: Path, broker: Broker) -> Listener:
    """The same with a broker; returns a listener on it."""
    write_config(config.parent, {"mqtt": {"host": "127.0.0.1", "port": broker.port}})
    return broker.listen()


def environment(**changes: str) -> dict[str, str]:
    """The environment with a fixed terminal type and locale, without the COLUMNS and LINES of pytest-xdist."""
    set_here = ("LC_", "LANG", "PYTHONIO", "COLUMNS", "LINES")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(set_here)}
    return {
        **kept,
        "TERM": "xterm-256color",
        "LC_ALL": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "HISTFILE": "",
        **changes,
    }


def command(config: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "clapstream", "run", "-c", str(config), *options]


def line(config: Path, *options: str) -> str:
    return shlex.join(command(config, *options))


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60.0
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.parametrize("options", [[], ["--no-dashboard"]], ids=["dashboard", "log lines"])
def test_a_closed_terminal_stops_the_daemon_cleanly(config: Path, barking: Listener, options: list[str]) -> None:
    with PseudoTerminal(command(config, *options), environment()) as terminal:
        terminal.wait(lambda: barking.on(STATE)[-1:] == ["ON"], "the dog")
        terminal.close()
        assert terminal.wait_for_end() == 0
    barking.wait(lambda heard: heard.on(f"{BASE}/status")[-1:] == ["offline"], "the end")
    assert barking.on(STATE)[-1] == "OFF", "an active event must end"
    assert barking.on(f"{BASE}/yard/availability")[-1] == "offline"


@pytest.mark.slow
@pytest.mark.parametrize("shell", [["sh", "-i"], ["bash", "--norc", "-i"]], ids=lambda shell: shell[0])
def test_a_background_job_stops_with_its_terminal_under_any_shell(
    config: Path, tmp_path: Path, shell: list[str]
) -> None:
    """Debian's `sh` does not pass SIGHUP on to jobs in the background."""
    if shutil.which(shell[0]) is None:
        pytest.skip(f"needs the package {shell[0]}")
    log = tmp_path / "log"
    with PseudoTerminal(shell, environment()) as terminal:
        terminal.type(f"{line(config)} >{log} 2>&1 & echo pid=$! end\n")
        terminal.wait(lambda: " end" in terminal.output.rpartition("pid=")[2] and pid_in(terminal) > 0, "a pid")
        pid = pid_in(terminal)
        terminal.wait(lambda: "dog barking started" in text_of(log), "the dog")
        terminal.close()
        wait_until(lambda: not running(pid), "it is still running without a terminal")
    assert "terminal closed" in text_of(log)
    assert text_of(log).strip().endswith("stopped")


def pid_in(terminal: PseudoTerminal) -> int:
    number = terminal.output.rpartition("pid=")[2].partition(" ")[0]
    return int(number) if number.isdigit() else 0


def text_of(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def test_under_nohup_it_survives_its_terminal_and_reloads_on_sighup(config: Path, tmp_path: Path) -> None:
    if shutil.which("nohup") is None:
        pytest.skip("needs the package coreutils")
    log = tmp_path / "log"
    with PseudoTerminal(["sh", "-i"], environment()) as terminal:
        terminal.type(f"nohup {line(config)} >{log} 2>&1 & echo pid=$! end\n")
        terminal.wait(lambda: " end" in terminal.output.rpartition("pid=")[2] and pid_in(terminal) > 0, "a pid")
        pid = pid_in(terminal)
        try:
            terminal.wait(lambda: "listening to" in text_of(log), "the start")
            terminal.close()
            terminal.wait_for_end()
            os.kill(pid, signal.SIGHUP)
            wait_until(lambda: "reloaded" in text_of(log), "a reload")
            said = text_of(log).count("dog barking")
            wait_until(lambda: text_of(log).count("dog barking") > said, "it still hears")
        finally:
            os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not running(pid), "the end")


@pytest.mark.slow
def test_under_nohup_the_microphone_stays_online_when_the_terminal_closes(
    config: Path, tmp_path: Path, sound_system: SoundSystem
) -> None:
    write_config(tmp_path, {"mqtt": None, "sources": [{"name": "hall", "type": "microphone", "device": "pulse"}]})
    log = tmp_path / "log"
    with PseudoTerminal(["bash", "--norc", "-i"], {**environment(), **sound_system.environment}) as terminal:
        # bash sends SIGHUP to the whole job, which includes the recording process.
        terminal.type(f"nohup {line(config)} >{log} 2>&1 & echo pid=$! end\n")
        terminal.wait(lambda: " end" in terminal.output.rpartition("pid=")[2] and pid_in(terminal) > 0, "a pid")
        pid = pid_in(terminal)
        try:
            terminal.wait(lambda: "source hall: online" in text_of(log), "the microphone")
            terminal.close()
            terminal.wait_for_end()
            time.sleep(2.0)  # longer than it takes to detect a lost microphone
            assert "offline" not in text_of(log), text_of(log)
        finally:
            os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not running(pid), "still running")


def test_sighup_during_the_start_reloads_later(config: Path) -> None:
    process = subprocess.Popen(
        command(config), stderr=subprocess.PIPE, text=True, env=environment(), start_new_session=True
    )
    assert process.stderr is not None
    try:
        blocked = 1 << (signal.SIGHUP - 1)
        wait_until(lambda: bool(mask_of(process.pid) & blocked), "SIGHUP is not blocked during imports")
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGHUP)
        lines = []
        for each in process.stderr:
            lines.append(each)
            if "reloaded" in each:
                break
        assert process.poll() is None, lines
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0


def mask_of(pid: int) -> int:
    status = dict(each.split(":", 1) for each in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status["SigBlk"], 16)


def test_it_stops_when_the_reader_of_its_log_has_exited(config: Path) -> None:
    process = subprocess.Popen(
        command(config), stderr=subprocess.PIPE, text=True, env=environment(), start_new_session=True
    )
    assert process.stderr is not None
    try:
        for each in process.stderr:
            if "listening to" in each:
                break
        process.stderr.close()
        assert process.wait(30) == 0
    finally:
        process.kill()


@pytest.mark.parametrize("explicitly", [False, True])
def test_a_terminal_that_cannot_show_the_dashboard_gets_log_lines(config: Path, explicitly: bool) -> None:
    options = ["--dashboard"] if explicitly else []
    with PseudoTerminal(command(config, *options), environment(TERM="dumb")) as terminal:
        terminal.wait_for("listening to yard")
        terminal.type("\x03")
        assert terminal.wait_for_end() == 0
        assert "\x1b" not in terminal.output
        assert ("cannot show the dashboard: terminal type 'dumb'" in terminal.output) == explicitly


@pytest.mark.parametrize(
    ("name", "draws"),
    [("xterm-256color", True), ("linux", True), ("xterm-newer-than-terminfo", True), ("", False), ("dumb", False),
     ("unknown", False), ("vt52", False), ("nonsense", False)],
)  # fmt: skip
def test_which_terminals_can_show_the_dashboard(name: str, draws: bool) -> None:
    """Each in a separate process, because curses looks up only one type in a process."""
    probe = (
        "import sys; from clapstream.process.terminal import full_screen_problem as why; "
        "print(why(sys.stdout) or 'draws')"
    )
    with PseudoTerminal([sys.executable, "-c", probe], environment(TERM=name)) as terminal:
        terminal.wait_for("\n")
        assert ("draws" in terminal.output) == draws, terminal.output
        assert draws or "TERM" in terminal.output


@pytest.mark.slow
@pytest.mark.parametrize("locale", [{"LC_ALL": "C"}, {"LC_ALL": "C.UTF-8"}], ids=str)
def test_wide_characters_keep_the_frame_aligned_in_any_encoding(config: Path, locale: dict[str, str]) -> None:
    if shutil.which("tmux") is None:
        pytest.skip("needs the package tmux")
    folder = config.parent
    scene = {"type": "recording", "path": str(folder / "scene.wav"), "loop": True}
    names = ["寝室 🛏️", "bad 👍🏽", "🇩🇪 Küche"]
    bad = {"type": "recording", "path": str(folder / "labels.yaml")}
    sources = [{"name": name, **(bad if "bad" in name else scene)} for name in names]
    write_config(folder, {"mqtt": None, "sources": sources})
    (folder / "labels.yaml").write_text(
        "labels: [犬の鳴き声 🐕, ❤️ 개 짖는 소리]\nbackground: [a room]\n", encoding="utf-8"
    )
    tmux = ["tmux", "-u", "-S", str(folder / "socket"), "-f", "/dev/null"]

    def screen() -> list[str]:
        captured = subprocess.run([*tmux, "capture-pane", "-p"], capture_output=True, encoding="utf-8", check=True)
        return captured.stdout.splitlines()

    def framed() -> list[str]:
        return [row for row in screen() if row.startswith(tuple("│╭╰|+"))]

    program = f"trap : INT; {line(config)}; echo exit=$?; sleep 60"
    server = environment()
    pane = [f"{name}={value}" for name, value in locale.items()]
    start = [*tmux, "new-session", "-d", "-x", "80", "-y", "24", "env", *pane, "sh", "-c", program]
    subprocess.run(start, check=True, env=server)
    try:
        wait_until(lambda: any("dBFS" in row for row in screen()), f"no picture: {screen()}")
        rows = framed()
        assert len(rows) > 10
        assert {cell_len(row) for row in rows} == {80}, "\n".join(screen())
        assert all(row.endswith(tuple("│╮╯|+")) for row in rows), "\n".join(screen())
        assert all(map(str.isascii, rows)) == (locale["LC_ALL"] == "C"), "\n".join(screen())
        subprocess.run([*tmux, "resize-window", "-x", "9", "-y", "3"], check=True)
        time.sleep(1.5)
        subprocess.run([*tmux, "resize-window", "-x", "100", "-y", "30"], check=True)
        wait_until(lambda: {cell_len(row) for row in framed()} == {100}, "no picture after resizing")
        subprocess.run([*tmux, "send-keys", "C-c"], check=True)
        wait_until(lambda: any("exit=0" in row for row in screen()), f"still running: {screen()}")
        flags = subprocess.run(
            [*tmux, "display", "-p", "#{cursor_flag} #{alternate_on}"], capture_output=True, text=True, check=True
        )
        assert flags.stdout.strip() == "1 0", "the cursor must be visible, the alternate screen left"
    finally:
        subprocess.run([*tmux, "kill-server"], check=False)


def test_ctrl_z_restores_the_terminal_and_fg_draws_again(config: Path) -> None:
    if shutil.which("bash") is None:
        pytest.skip("needs the package bash")
    with PseudoTerminal(["bash", "--norc", "-i"], environment()) as terminal:
        terminal.type(f"{line(config)}\n")
        terminal.wait_for("dBFS")
        before = len(terminal.output)
        terminal.type("\x1a")
        terminal.wait_for("Stopped", before)
        stopped = terminal.output[before:].partition("Stopped")[0]
        assert stopped.rindex(LEAVE_SCREEN) > stopped.rfind(ENTER_SCREEN)
        assert SHOW_CURSOR in stopped
        before = len(terminal.output)
        terminal.type("fg\n")
        terminal.wait_for(ENTER_SCREEN, before)
        terminal.wait_for("dBFS", before)
        terminal.type("\x03")
        terminal.wait_for(LEAVE_SCREEN, before)
        terminal.type("exit\n")
        assert terminal.wait_for_end() == 0


def test_a_second_signal_restores_the_terminal(config: Path, broker: Broker, barking: Listener) -> None:
    with PseudoTerminal(command(config), environment()) as terminal:
        terminal.wait_for("mqtt online")
        broker.pause()  # so that the shutdown after the first signal takes a while
        terminal.type("\x03")
        time.sleep(0.5)
        terminal.type("\x03")
        assert terminal.wait_for_end() == 0
        assert terminal.output.rindex(LEAVE_SCREEN) > terminal.output.rindex(ENTER_SCREEN)
        assert terminal.output.rindex(SHOW_CURSOR) > terminal.output.rindex(ENTER_SCREEN)


@pytest.mark.slow
def test_a_crash_is_reported_on_a_restored_terminal(config: Path, tmp_path: Path) -> None:
    fault = tmp_path / "fault"
    fault.write_text("")
    faulty = [
        sys.executable,
        str(Path(__file__).parent.parent / "support" / "faulty_process.py"),
        "run",
        "-c",
        str(config),
    ]
    with PseudoTerminal(faulty, environment(CLAPSTREAM_FAULT=str(fault))) as terminal:
        terminal.wait_for("dBFS")
        fault.write_text("crash")
        assert terminal.wait_for_end() == 1
        terminal.wait_for("illegal memory access")
        assert "illegal memory access" in terminal.output.rpartition(LEAVE_SCREEN)[2]


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_it_runs_with_closed_standard_streams(config: Path, closed: str) -> None:
    process = subprocess.Popen(
        ["sh", "-c", f"exec {line(config)} {closed}"],
        env=environment(),
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        scene = config.parent / "scene.wav"
        wait_until(lambda: process.poll() is not None or has_open(process.pid, scene), "the recording is not open")
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()


def has_open(pid: int, path: Path) -> bool:
    try:
        return any(link.resolve() == path for link in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False
