"""The end of the process, whatever goes on when it is asked to leave or has to: real processes, real signals."""

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
    """A daemon that hears a dog over and over, on a device whose fault the test can choose."""

    def __init__(self, folder: Path, broker: Broker) -> None:
        write_scene(folder / "scene.wav", 20.0, {"dog_barking": 2.0})
        labels = folder / "labels.yaml"
        labels.write_text("labels: [dog barking]\nbackground: [a quiet room, traffic in the distance]\n")
        self._fault = folder / "fault"
        self.inflict("")
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

    def inflict(self, fault: str) -> None:
        """From the next batch on."""
        unfinished = self._fault.with_suffix(".unfinished")
        unfinished.write_text(fault)
        unfinished.replace(self._fault)

    def notified(self) -> list[str]:
        """What systemd was told since the last call."""
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


def test_a_hung_device_starves_the_watchdog_and_delays_no_goodbye(daemon: FaultyDaemon, broker: Broker) -> None:
    listener = broker.listen()
    daemon.process.start()
    listener.wait(lambda heard: heard.on(STATE)[-1:] == ["ON"], "the dog")
    assert "WATCHDOG=1" in daemon.notified()
    daemon.inflict("hang")
    time.sleep(HOP_SECONDS + WATCHDOG_SECONDS + 0.5)  # one window to hang in, and the watchdog's own patience
    daemon.notified()
    time.sleep(WATCHDOG_SECONDS / 2)  # it is fed three times in its own time
    assert "WATCHDOG=1" not in daemon.notified()
    code, seconds = daemon.process.stop()
    assert (code, seconds < 5.0) == (0, True), f"{seconds:.1f} s: {daemon.process.log}"
    listener.wait(lambda heard: heard.on(f"{BASE}/status")[-1:] == ["offline"], "the goodbye")
    assert listener.on(STATE)[-1] == "OFF", "what went on has ended"
    assert listener.on(f"{BASE}/yard/availability")[-1] == "offline"


def test_a_crash_of_the_model_is_one_cause_and_exit_code_1(daemon: FaultyDaemon, broker: Broker) -> None:
    listener = broker.listen()
    daemon.process.start()
    listener.wait(lambda heard: heard.on(STATE)[-1:] == ["ON"], "the dog")
    daemon.inflict("crash")
    assert daemon.process.wait() == 1
    listener.wait(lambda heard: heard.on(f"{BASE}/status")[-1:] == ["offline"], "the goodbye")
    assert listener.on(STATE)[-1] == "OFF"
    log = daemon.process.log
    assert log.count("Traceback") == 1
    assert log.strip().endswith("RuntimeError: CUDA error: an illegal memory access was encountered")


def test_a_second_signal_ends_it_at_once(daemon: FaultyDaemon, broker: Broker) -> None:
    listener = broker.listen()
    daemon.process.start()
    listener.wait(lambda heard: heard.on(f"{BASE}/status")[-1:] == ["online"], "the daemon")
    broker.pause()  # so that the first signal takes a while
    daemon.process.send(signal.SIGTERM)
    daemon.process.wait_for_log("SIGTERM: stopping")
    code, seconds = daemon.process.stop(signal.SIGTERM)
    assert (code, seconds < AT_ONCE_SECONDS) == (0, True), f"{seconds:.1f} s"


def test_one_signal_that_arrives_twice_ends_it_cleanly(daemon: FaultyDaemon, broker: Broker) -> None:
    """As under `timeout`, which signals the process and then its group."""
    listener = broker.listen()
    daemon.process.start()
    listener.wait(lambda heard: heard.on(STATE)[-1:] == ["ON"], "the dog")
    broker.pause()  # so that both come while it goes down
    daemon.process.send(signal.SIGTERM)
    daemon.process.wait_for_log("SIGTERM: stopping")
    daemon.process.send(signal.SIGTERM)
    broker.resume()
    assert daemon.process.wait() == 0
    assert daemon.process.log.strip().endswith("stopped")
    listener.wait(lambda heard: heard.on(f"{BASE}/status")[-1:] == ["offline"], "the goodbye")
    assert listener.on(STATE)[-1] == "OFF"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_modules_load_ends_it_at_once(tmp_path: Path, number: signal.Signals) -> None:
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
    """Whether a process handles a signal itself, and SIGTERM too: Python handles SIGINT from its first moment."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return all(int(status["SigCgt"], 16) >> (each - 1) & 1 for each in (number, signal.SIGTERM))


@pytest.mark.slow
def test_a_minute_of_a_model_three_times_too_slow_costs_no_memory(daemon: FaultyDaemon, broker: Broker) -> None:
    """A backlog of the 60 windows of a minute would take 110 MB."""
    listener = broker.listen()
    daemon.process.start()
    listener.wait(lambda heard: len(heard.on(f"{BASE}/yard/heard")) > 10, "the first windows")
    before = resident_mb(daemon.process.pid)
    daemon.inflict(f"slow {3 * HOP_SECONDS}")
    time.sleep(60.0)
    during = resident_mb(daemon.process.pid)
    daemon.notified()
    time.sleep(WATCHDOG_SECONDS)
    assert "WATCHDOG=1" in daemon.notified(), "slow is not hung"
    daemon.inflict("")
    daemon.process.wait_for_log("keeps up again")
    assert during < before + 30.0, f"{before:.0f} MB before, {during:.0f} MB at last"
    assert "cannot keep up" in daemon.process.log
    assert daemon.process.stop()[0] == 0


def resident_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(dict(line.split(":", 1) for line in lines)["VmRSS"].split()[0]) / 1024
