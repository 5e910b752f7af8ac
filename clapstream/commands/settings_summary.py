"""A summary of the configuration for a person: sources, labels, model, broker and directories."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from clapstream.audio.files.file_reader import shown_name
from clapstream.config import (
    MicrophoneSettings,
    MqttSettings,
    PcmSettings,
    RecordingSettings,
    Settings,
    SourceSettings,
    StreamSettings,
)
from clapstream.config.advice import shortened
from clapstream.urls import HIDDEN, may_hold_credentials, shown_url


def summary(settings: Settings) -> Iterator[str]:
    """Give the lines; nothing in them is a secret."""
    yield f"node         {_shown(settings.node)}"
    widths = [
        max(len(word) for word in words) for words in zip(*map(_name_and_type, settings.sources), strict=True)
    ]
    for index, source in enumerate(settings.sources):
        name, kind = (word.ljust(width) for word, width in zip(_name_and_type(source), widths, strict=True))
        yield f"{'' if index else 'sources':<12} {name}  {kind}  {', '.join(_details(source, settings))}"
    labels = settings.labels
    yield f"labels       {len(labels.labels)}, against {len(labels.background)} background prompts"
    window = settings.window
    yield f"window       {window.seconds:g} s, a new one every {window.hop_seconds:g} s"
    yield f"checkpoint   {_shown(settings.model.checkpoint)}, on device {settings.model.device}"
    mqtt = settings.mqtt
    yield f"broker       {'none' if mqtt is None else ', '.join(_connection(mqtt, settings.node_slug))}"
    yield f"state        {_shown(shown_name(settings.state_directory))}"
    yield f"cache        {_shown(shown_name(settings.cache_directory))}"


def _name_and_type(source: SourceSettings) -> tuple[str, str]:
    return _shown(source.name), source.type


def _details(source: SourceSettings, settings: Settings) -> Iterator[str]:
    """Give where the sound comes from, what differs from the defaults, and which labels it listens for."""
    match source:
        case MicrophoneSettings():
            yield "default device" if source.device is None else f"device {_shown(str(source.device))}"
        case RecordingSettings():
            yield _shown(shown_name(source.path))
            yield from ["as fast as possible"] * (source.pace == "fast") + ["in a loop"] * source.loop
        case PcmSettings():
            yield f"standard input, {source.rate_hz} Hz, {source.channels} channel{'s' * (source.channels > 1)}"
            yield from ["live"] * source.live
        case StreamSettings():
            yield shown_url(source.read_url())
            yield from [f"over {source.transport.upper()}"] * (source.transport != "auto")
    yield from [f"channel {source.channel}"] * (source.channel != "mix")
    yield from ["off until it is switched on"] * (not source.listening)
    yield _labels(source, settings)


def _labels(source: SourceSettings, settings: Settings) -> str:
    """Which labels a source listens for."""
    names = [label.name for label in settings.labels_of(source).labels]
    match source.labels:
        case None:
            return "the common labels"
        case Path():
            plural = "s" if len(names) > 1 else ""
            return f"{len(names)} label{plural} of {_shown(shown_name(source.labels))}"
        case _:
            return f"labels {shortened([_shown(name) for name in names])}"


def _connection(mqtt: MqttSettings, node_slug: str) -> Iterator[str]:
    yield mqtt.address
    yield from ["websockets"] * (mqtt.transport == "websockets") + ["TLS"] * (mqtt.tls is not None)
    if mqtt.tls is not None and mqtt.tls.insecure_skip_host_check:
        yield "host name not checked (insecure)"
    yield f"MQTT {mqtt.protocol}"
    yield f"topics {_shown(f'{mqtt.base_topic}/{node_slug}')}/..."


def _shown(text: str) -> str:
    return HIDDEN if may_hold_credentials(text) else text
