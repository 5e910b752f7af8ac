"""Websockets, TLS and passwords with a real mosquitto, and how aiomqtt ends a connection that cannot be written."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from support.real_broker import Broker, Certificates, free_port, run_openssl
from support.sink_bench import BASE, QUICK, Bench, run, started, wait_for

from clapstream.config import MqttSettings, TlsSettings
from clapstream.sinks.mqtt.connector import Connector


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize("secure", [False, True])
def test_websockets(
    make_broker: Callable[..., Broker], certificates: Certificates, protocol: str, secure: bool
) -> None:
    async def scenario() -> None:
        port = free_port()
        lines = [f"listener {port} 127.0.0.1", "protocol websockets", "allow_anonymous true"]
        options: dict[str, Any] = {"host": "127.0.0.1"}
        if secure:
            lines += [f"certfile {certificates.broker}", f"keyfile {certificates.broker_key}"]
            options["tls"] = TlsSettings(ca_file=certificates.authority)
        broker = make_broker("allow_anonymous true", *lines)
        await asyncio.to_thread(broker.start)
        live = broker.listen()
        bench = Bench(port, transport="websockets", websocket_path="/mqtt", protocol=protocol, **options)
        async with bench.running():
            await bench.until_state("online")
            for number in range(20):
                bench.sink.offer(started(f"{number}"))
            await wait_for(live, lambda it: len(it.on(f"{BASE}/kitchen/detection")) == 20)
            await asyncio.to_thread(broker.kill)
            await bench.until_state("offline")
            await asyncio.to_thread(broker.start)
            await bench.until_state("online")

    run(scenario())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paho drops its socket unclosed
def test_a_broker_without_websockets_is_logged(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        bench = Bench(broker.port, transport="websockets")
        async with bench.running():
            await bench.until(lambda: "cannot connect to broker at 127.0.0.1:" in caplog.text)

    run(scenario())
    gc.collect()


@pytest.fixture
def other_name(certificates: Certificates) -> tuple[Path, Path]:
    """A certificate of the same authority for the name broker.example."""
    folder = certificates.authority.parent
    (folder / "other.cnf").write_text("subjectAltName=DNS:broker.example\n")
    run_openssl(folder, "req -newkey rsa:2048 -nodes -keyout other.key -out other.csr -subj /CN=other")
    run_openssl(
        folder, "x509 -req -in other.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out other.pem -extfile other.cnf"
    )
    return folder / "other.pem", folder / "other.key"


def test_a_certificate_of_another_name(
    make_broker: Callable[..., Broker],
    certificates: Certificates,
    other_name: tuple[Path, Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        broker = make_broker("allow_anonymous true", f"certfile {other_name[0]}", f"keyfile {other_name[1]}")
        await asyncio.to_thread(broker.start)
        refused = Bench(broker.port, tls=TlsSettings(ca_file=certificates.authority))
        async with refused.running():
            await refused.until(lambda: "set mqtt.tls.server_name" in caplog.text)
        assert "online" not in refused.states
        named = Bench(broker.port, tls=TlsSettings(ca_file=certificates.authority, server_name="broker.example"))
        async with named.running():
            await named.until_state("online")
        assert "insecure_skip_host_check" not in caplog.text
        unchecked = TlsSettings(ca_file=certificates.authority, insecure_skip_host_check=True)
        for _ in range(2):
            careless = Bench(broker.port, tls=unchecked)
            async with careless.running():
                await careless.until_state("online")
        loud = [record for record in caplog.records if "insecure_skip_host_check is on" in record.getMessage()]
        assert [record.levelno for record in loud] == [logging.WARNING] * 2
        # The authority is checked all the same.
        stranger = Bench(broker.port, tls=TlsSettings(insecure_skip_host_check=True))
        async with stranger.running():
            await stranger.until_state("offline")
        assert "online" not in stranger.states

    run(scenario())


def test_an_error_while_writing_ends_the_connection(broker: Broker) -> None:
    """What is overridden of aiomqtt must convert errors as aiomqtt does, else the connection hangs unseen."""

    async def scenario() -> None:
        connector = Connector(MqttSettings(host="127.0.0.1", port=broker.port), QUICK, "status")
        async with connector.connect_without_session("writer") as connection:

            def broken(*_: object) -> None:
                raise RuntimeError("broken while writing")

            connection._paho.on_publish = broken
            connection._paho.publish("topic", "payload", qos=0)
            with pytest.raises(aiomqtt.MqttError) as raised:
                async with asyncio.timeout(5):
                    await anext(aiter(connection.messages))
        assert "broken while writing" in str(raised.value.__cause__)

    run(scenario())


def test_a_refused_password_is_logged_once_and_a_corrected_one_is_read(
    make_broker: Callable[..., Broker], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        # mosquitto's own format for "correct horse": PBKDF2 is made by mosquitto_passwd.
        passwords = tmp_path / "passwords"
        passwords.write_text("home:correct horse\n")
        passwords.chmod(0o600)
        convert = await asyncio.create_subprocess_exec("mosquitto_passwd", "-U", passwords)
        assert await convert.wait() == 0
        broker = make_broker("allow_anonymous false", f"password_file {passwords}")
        await asyncio.to_thread(broker.start)
        password_file = tmp_path / "password"
        password_file.write_text("wrong battery\n")
        bench = Bench(broker.port, username="home", password_file=password_file)
        async with bench.running():
            await bench.until(lambda: broker.log.count("not authorised") >= 3)
            assert bench.sink.state == "offline"
            password_file.write_text("correct horse\n")
            await bench.until_state("online")
        warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert len(warnings) == 1 and "authorized" in warnings[0]
        assert "wrong battery" not in caplog.text and "correct horse" not in caplog.text

    run(scenario())


def test_tls_with_a_client_certificate(
    make_broker: Callable[..., Broker], certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        broker = make_broker(
            "allow_anonymous true",
            f"cafile {certificates.authority}",
            f"certfile {certificates.broker}",
            f"keyfile {certificates.broker_key}",
            "require_certificate true",
        )
        await asyncio.to_thread(broker.start)
        ours = TlsSettings(
            ca_file=certificates.authority, cert_file=certificates.client, key_file=certificates.client_key
        )
        bench = Bench(broker.port, host="localhost", tls=ours)
        async with bench.running():
            await bench.until_state("online")
            bench.sink.offer(started("one"))
            await bench.until(lambda: "dog_barking/state" in broker.log)
        for trust, reason in (
            (TlsSettings(ca_file=certificates.authority), ""),
            (TlsSettings(ca_file=None), "certificate verify failed"),
        ):
            stranger = Bench(broker.port, host="localhost", tls=trust)
            async with stranger.running():
                await stranger.until_state("offline")
            assert "online" not in stranger.states
            assert reason in caplog.text

    run(scenario())


def test_tls_refuses_a_broker_under_another_name(
    make_broker: Callable[..., Broker], certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        # The client's certificate is signed by the authority but names no host.
        broker = make_broker(
            "allow_anonymous true", f"certfile {certificates.client}", f"keyfile {certificates.client_key}"
        )
        await asyncio.to_thread(broker.start)
        bench = Bench(broker.port, tls=TlsSettings(ca_file=certificates.authority))
        async with bench.running():
            await bench.until_state("offline")
        assert bench.states == ["offline"]
        assert "certificate is not valid for '127.0.0.1'" in caplog.text

    run(scenario())
