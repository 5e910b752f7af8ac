"""Finding a microphone by name, index or default."""

from __future__ import annotations

import ctypes.util
from pathlib import Path

import pytest

from clapstream.audio.microphone.alsa_configuration import server_source_behind
from clapstream.audio.microphone.devices import ServerInput, find_device, find_input
from clapstream.audio.microphone.portaudio import Device
from clapstream.audio.microphone.sound_server import ServerSource
from clapstream.audio.source import SourceError


def device(index: int, name: str, default: bool = False) -> Device:
    return Device(index, name, "ALSA", channels=1, rate_hz=48_000, default=default)


PRESENT = [
    device(0, "HDA Intel PCH: ALC257 (hw:0,0)"),
    device(2, "USB PnP Sound Device: Audio (hw:1,0)"),
    device(5, "USB PnP Sound Device: Audio (hw:2,0)"),
    device(6, "usb", default=True),
]


@pytest.mark.parametrize(
    ("wanted", "index"),
    [("hda", 0), ("pnp", 2), ("HW:2,0", 5), ("USB", 6), (" alc257 ", 0), (5, 5), (0, 0), (None, 6)],
)
def test_finds(wanted: str | int | None, index: int) -> None:
    assert find_device(PRESENT, wanted).index == index


def test_without_a_default_the_first_is_taken() -> None:
    assert find_device(PRESENT[:2], None).index == 0


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("kitchen", "device 'kitchen' not found; available: 0: HDA Intel"),
        (1, "device 1 not found; available: 0: HDA Intel"),
    ],
)
def test_an_unknown_device_lists_what_is_available(wanted: str | int, message: str) -> None:
    with pytest.raises(LookupError) as error:
        find_device(PRESENT, wanted)
    assert str(error.value).startswith(message)
    assert "hw:2,0" in str(error.value)


@pytest.mark.parametrize("wanted", [None, "kitchen", 0])
def test_no_device_at_all(wanted: str | int | None) -> None:
    with pytest.raises(LookupError, match=r"^no microphone found$"):
        find_device([], wanted)


def source(name: str, description: str, monitor: bool = False, default: bool = False) -> ServerSource:
    return ServerSource("PulseAudio", name, description, 2, (1, 2), 48_000, monitor, default)


SOURCES = [
    source("alsa_input.usb-Blue_Yeti.analog-stereo", "Yeti Stereo Microphone Analog Stereo", default=True),
    source("alsa_input.pci.analog-stereo", "Built-in Audio Analog Stereo"),
    source("desk", "Studio"),
    source("studio", "Desk"),
    source("alsa_output.pci.analog-stereo.monitor", "Monitor of Built-in Audio Analog Stereo", monitor=True),
]


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ("yeti", "alsa_input.usb-Blue_Yeti.analog-stereo"),
        ("Built-in Audio Analog Stereo", "alsa_input.pci.analog-stereo"),  # a monitor has it in its description too
        (" built-in ", "alsa_input.pci.analog-stereo"),
        ("Monitor of Built-in", "alsa_output.pci.analog-stereo.monitor"),
        ("desk", "desk"),  # a name comes before a description
        ("STUDIO", "studio"),
        ("hda", PRESENT[0].name),
        ("usb", PRESENT[3].name),  # PortAudio's exact name comes before part of a source's
        (5, PRESENT[2].name),
        (None, PRESENT[3].name),
    ],
)
def test_finds_sources_of_the_server_and_devices_of_portaudio(wanted: str | int | None, name: str) -> None:
    found = find_input(wanted, SOURCES, lambda: PRESENT)
    assert (found.source if isinstance(found, ServerInput) else found).name == name


def test_the_servers_default_where_portaudio_sees_none() -> None:
    assert find_input(None, SOURCES, list) == ServerInput(SOURCES[0], follow_default=True)


def test_the_source_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULSE_SOURCE", "desk")
    assert find_input(None, SOURCES, list) == ServerInput(SOURCES[2])


def test_what_matches_several_sources_is_not_guessed() -> None:
    with pytest.raises(LookupError, match=r"2 microphones match 'analog': .*Yeti.*Built-in Audio.*set device to"):
        find_input("analog", SOURCES, lambda: PRESENT)


def test_a_server_is_enough_without_portaudio() -> None:
    def missing() -> list[Device]:
        raise SourceError("PortAudio library not found")

    assert find_input(None, SOURCES, missing) == ServerInput(SOURCES[0], follow_default=True)
    with pytest.raises(SourceError, match="PortAudio"):
        find_input(None, [], missing)


@pytest.mark.parametrize(
    ("device", "server", "expected"),
    [
        ("plain", "PulseAudio", ""),
        ("kitchen", "PulseAudio", "kitchen mic"),
        ("kitchen", "PipeWire", "kitchen mic"),
        ("converted", "PulseAudio", "kitchen mic"),
        ("both", "PulseAudio", "kitchen mic"),
        ("elsewhere", "PulseAudio", None),
        ("piped", "PipeWire", ""),
        ("piped", "PulseAudio", None),
        ("hardware", "PulseAudio", None),
        ("endless", "PulseAudio", None),
        ("missing", "PulseAudio", None),
        ("USB PnP Sound Device: Audio (hw:1,0)", "PulseAudio", None),
    ],
)
def test_alsa_devices_that_lead_to_the_server(
    device: str, server: str, expected: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "alsa.conf").write_text("""
        pcm.plain { type pulse }
        pcm.kitchen { type pulse device "kitchen mic" }
        pcm.converted { type plug slave.pcm kitchen }
        pcm.both { type asym playback.pcm plain capture.pcm converted }
        pcm.elsewhere { type pulse server "tcp:elsewhere" }
        pcm.piped { type pipewire server "pipewire-0" capture_node "-1" }
        pcm.hardware { type hw card 0 }
        pcm.endless { type plug slave.pcm endless }
    """)
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(tmp_path / "alsa.conf"))
    if ctypes.util.find_library("asound") is None:
        pytest.skip("needs the package libasound2")
    assert server_source_behind(device, server) == expected
