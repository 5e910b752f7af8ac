"""Shutdown on signals and crashes, also while a device hangs: real processes, real signals."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.clapstream_process import ClapstreamProcess
from support.faulty_process import FAULT_VARIABLE
from support.real_broker import Broker
from support.scene import write_scene

TESTS = Path(__file__).parent.parent
AT_ONCE_SECONDS = 1.5
HOP_SECONDS = 1.0
WATCHDOG_SECONDS = 4.0
BASE = "clapstream/home"
STATE = f"{BASE}/yard/dog_barking/state"


class FaultyDaemon:
    """A daemon that hears a dog again and again, on a device that fails as the test chooses."""

    def __init__(self, folder: Path, broker: Broker) -> None:
        write_scene(folder / "scene.wav", 20.0, {"dog_barking": 2.0})
        labels = folder / "labels.yaml"
        labels.write_text("labels: [dog barking]\nbackground: [a quiet room, traffic in the distance]\n")
        self._fault = folder / "fault"
        self.set_fault("")
        recording = {"type": "recording", "path": str(folder / "scene.wav"), "loop": True}
        self.notifications = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notifications.bind(str(folder / "notify"))
        self.notifications.setblocking(False)
        self.process = ClapstreamProcess(
            folder,
            {
                "sources": [{"name": "yard", **recording}],
                "labels": str(labels),
                "mqtt": {"host": "127.0.0.1", "port": broker.port},
                "window": {"hop_seconds": HOP_SECONDS},
            },
            environment={
                FAULT_VARIABLE: str(self._fault),
                "NOTIFY_SOCKET": str(folder / "notify"),
                "WATCHDOG_USEC": str(round(WATCHDOG_SECONDS * 1e6)),
            },
            program=(str(TESTS / "support" / "faulty_process.py"),),
        )

    def set_fault(self, fault: str) -> None:
        """Fail in this way from the next batch on."""
        unfinished = self._fault.with_suffix(".unfinished")
        unfinished.write_text(fault)
        unfinished.replace(self._fault)

    def notified(self) -> list[str]:
        """The notifications to systemd since the last call."""
        messages = []
        while True:
            try:
                messages.append(self.notifications.recv(200).decode())
            except BlockingIOError:
                return messages

    def close(self) -> None:
        self.process.close()
        self.notifications.close()


@pytest.fixture
def daemon(tmp_path: Path, broker: Broker) -> Iterator[FaultyDaemon]:
    daemon = FaultyDaemon(tmp_path, broker)
    yield daemon
    daemon.close()


@pytest.mark.slow
def test_a_hung_device_stops_the_watchdog_messages_but_not_a_clean_shutdown(
    daemon: FaultyDaemon, broker: Broker
) -> None:
    listener = broker.listen()
    daemon.process.start()
    listener.wait(lambda heard: heard.on(STATE)[-1:] == ["ON"], "the dog")
    assert "WATCHDOG=1" in daemon.notified()
    daemon.set_fault("hang")
    time.sleep(HOP_SECONDS + WATCHDOG_SECONDS + 0.5)  # one window to hang in, and the watchdog's interval
    daemon.notified()
    time.sleep(WATCHDOG_SECONDS / 2)  # it is reset three times per interval
    assert "WATCHDOG=1" not in daemon.notified()
    code, seconds = daemon.process.stop()
    assert (code, seconds < 5.0) == (0, True), f"{seconds:.1f} s: {daemon.process.log}"
    listener.wait(lambda heard: heard.on(f"{BASE}/status")[-1:] == ["offline"], "the offline status")
    assert listener.on(STATE)[-1] == "OFF", "an active event must end"
    assert listener.on(f"{BASE}/yard/availability")[-1] == "offline"


@pytest.mark.slow
def test_a_crash_of_the_model_prints_one_traceback_and_exits_with_1(daemon: FaultyDaemon, broker: Broker) -> None:
    listener = broker.listen()
    daemon.process.start()
    listener.wait(lambda heard: heard.on(STATE)[-1:] == ["ON"], "the dog")
    daemon.set_fault("crash")
    assert daemon.process.wait() == 1
    listener.wait(lambda heard: heard.on(f"{BASE}/status")[-1:] == ["offline"], "the offline status")
    assert listener.on(STATE)[-1] == "OFF"
    log = daemon.process.log
    assert log.count("Traceback") == 1
    assert log.strip().endswith("RuntimeError: CUDA error: an illegal memory access was encountered")


def test_a_second_signal_stops_it_at_once(daemon: FaultyDaemon, broker: Broker) -> None:
    listener = broker.listen()
    daemon.process.start()
    listener.wait(lambda heard: heard.on(f"{BASE}/status")[-1:] == ["online"], "the daemon")
    broker.pause()  # so that the shutdown after the first signal takes a while
    daemon.process.send(signal.SIGTERM)
    daemon.process.wait_for_log("SIGTERM: stopping")
    code, seconds = daemon.process.stop(signal.SIGTERM)
    assert (code, seconds < AT_ONCE_SECONDS) == (0, True), f"{seconds:.1f} s"


@pytest.mark.slow
def test_a_signal_that_arrives_twice_stops_it_cleanly(daemon: FaultyDaemon, broker: Broker) -> None:
    """`timeout` sends its signal to the process and then to its group."""
    listener = broker.listen()
    daemon.process.start()
    listener.wait(lambda heard: heard.on(STATE)[-1:] == ["ON"], "the dog")
    broker.pause()  # so that both arrive during the shutdown
    daemon.process.send(signal.SIGTERM)
    daemon.process.wait_for_log("SIGTERM: stopping")
    daemon.process.send(signal.SIGTERM)
    broker.resume()
    assert daemon.process.wait() == 0
    assert daemon.process.log.strip().endswith("stopped")
    listener.wait(lambda heard: heard.on(f"{BASE}/status")[-1:] == ["offline"], "the offline status")
    assert listener.on(STATE)[-1] == "OFF"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_imports_stops_it_at_once(tmp_path: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "clapstream", "demo", "--no-dashboard"], stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 20.0
        while not catches(process.pid, number):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.005)
        os.kill(process.pid, number)
        _, said = process.communicate(timeout=20.0)
    finally:
        process.kill()
    assert (process.returncode, said) == (0, "")


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process handles a signal and SIGTERM; Python itself handles SIGINT from the start."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return all(int(status["SigCgt"], 16) >> (each - 1) & 1 for each in (number, signal.SIGTERM))


@pytest.mark.slow
def test_memory_does_not_grow_while_the_model_is_too_slow(daemon: FaultyDaemon, broker: Broker) -> None:
    """A backlog of one minute, 60 windows, would take 110 MB."""
    listener = broker.listen()
    daemon.process.start()
    listener.wait(lambda heard: len(heard.on(f"{BASE}/yard/heard")) > 10, "the first windows")
    before = resident_mb(daemon.process.pid)
    daemon.set_fault(f"slow {3 * HOP_SECONDS}")
    time.sleep(60.0)
    during = resident_mb(daemon.process.pid)
    daemon.notified()
    time.sleep(WATCHDOG_SECONDS)
    assert "WATCHDOG=1" in daemon.notified(), "a slow device is not hung"
    daemon.set_fault("")
    daemon.process.wait_for_log("keeps up again")
    assert during < before + 30.0, f"{before:.0f} MB before, {during:.0f} MB after a minute"
    assert "cannot keep up" in daemon.process.log
    assert daemon.process.stop()[0] == 0


def resident_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(dict(line.split(":", 1) for line in lines)["VmRSS"].split()[0]) / 1024
