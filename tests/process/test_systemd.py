"""Notifications to systemd."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from clapstream.process.systemd import SystemdNotifier


def test_notifications_reach_the_socket(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        notifier = SystemdNotifier({"NOTIFY_SOCKET": address})
        notifier.ready("listening")
        notifier.alive()
        notifier.stopping()
        assert [listener.recv(100) for _ in range(3)] == [
            b"READY=1\nSTATUS=listening",
            b"WATCHDOG=1",
            b"STOPPING=1",
        ]


def test_an_address_in_the_abstract_namespace() -> None:
    name = f"clapstream-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name)
        SystemdNotifier({"NOTIFY_SOCKET": "@" + name}).status("here")
        assert listener.recv(100) == b"STATUS=here"


def test_a_missing_socket_is_no_error(tmp_path: Path) -> None:
    SystemdNotifier({}).ready("alone")
    SystemdNotifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).alive()


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "60000000"}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, 60.0),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
    ],
)
def test_watchdog_interval(environment: dict[str, str], seconds: float | None) -> None:
    assert SystemdNotifier(environment).watchdog_seconds == seconds
