"""A real broker lets in a user and a password that are made of digits, wherever they come from."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from pathlib import Path

import aiomqtt
from support.configuration import load
from support.real_broker import Broker

from clapstream.config import MqttSettings


async def log_in(mqtt: MqttSettings, environment: dict[str, str]) -> None:
    """Raises MqttError when the broker refuses."""
    user, password = mqtt.user(environment), mqtt.password(environment)
    async with aiomqtt.Client(mqtt.host, mqtt.port, username=user, password=password, timeout=10):
        pass


def test_digits_from_everywhere(tmp_path: Path, make_broker: Callable[..., Broker]) -> None:
    users = tmp_path / "users"
    users.write_text("0042:0123456\n")
    users.chmod(0o600)
    subprocess.run(["mosquitto_passwd", "-U", users], check=True)  # comes with mosquitto
    broker = make_broker("allow_anonymous false", f"password_file {users}")
    broker.start()
    (tmp_path / "password").write_text("0123456\n")
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "mqtt_username").write_text("0042\n")
    (credentials / "mqtt_password").write_text("0123456\n")
    for login, environment in (
        ("username: 0042, password_file: password", {}),
        ('username: "${USERNAME}", password_file: "${FILE}"', {"USERNAME": "0042", "FILE": "password"}),
        ("password_file: password", {"CLAPSTREAM_MQTT_USERNAME": "0042"}),
        ("username: 0042", {"CLAPSTREAM_MQTT_PASSWORD": "0123456"}),
        ("keepalive_seconds: 30", {"CREDENTIALS_DIRECTORY": str(credentials)}),
    ):
        settings = load(tmp_path, f"mqtt: {{host: 127.0.0.1, port: {broker.port}, {login}}}", **environment)
        assert settings.mqtt is not None
        asyncio.run(log_in(settings.mqtt, environment))
