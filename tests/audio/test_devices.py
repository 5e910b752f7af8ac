"""Finding a microphone by name, index or default."""

from __future__ import annotations

import pytest

from clapstream.audio.devices import Device, find_device


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
        ("kitchen", "no microphone has 'kitchen' in its name; there is: 0: HDA Intel"),
        (1, "no microphone has index 1; there is: 0: HDA Intel"),
    ],
)
def test_an_unknown_device_is_told_what_there_is(wanted: str | int, message: str) -> None:
    with pytest.raises(LookupError) as error:
        find_device(PRESENT, wanted)
    assert str(error.value).startswith(message)
    assert "hw:2,0" in str(error.value)


def test_no_device_at_all() -> None:
    with pytest.raises(LookupError, match="no microphone found; there is: none"):
        find_device([], None)
