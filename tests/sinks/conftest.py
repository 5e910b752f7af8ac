"""Fixtures: brokers and certificates."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from real_broker import Broker, Certificates, find_mosquitto, run_openssl


@pytest.fixture
def make_broker(tmp_path: Path) -> Iterator[Callable[..., Broker]]:
    """Makes brokers (not started) from lines of configuration."""
    find_mosquitto()
    with contextlib.ExitStack() as stack:

        def make(*lines: str) -> Broker:
            broker = Broker(tmp_path, list(lines or ["allow_anonymous true"]))
            stack.callback(broker.close)
            return broker

        yield make


@pytest.fixture
def broker(make_broker: Callable[..., Broker]) -> Broker:
    """A started broker that lets everyone in."""
    broker = make_broker()
    broker.start()
    return broker


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates of the tests' own, made with openssl."""
    folder = tmp_path_factory.mktemp("certificates")
    names = folder / "names.cnf"
    names.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    run_openssl(folder, "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 30 -subj /CN=authority")
    for name in ("broker", "client"):
        run_openssl(folder, f"req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}")
        sign = f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out {name}.pem -days 30"
        run_openssl(folder, f"{sign} -extfile names.cnf" if name == "broker" else sign)
    files = ("ca.pem", "broker.pem", "broker.key", "client.pem", "client.key")
    return Certificates(*(folder / name for name in files))
