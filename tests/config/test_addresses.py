"""Hosts and URLs: those that work are taken, those that never can are refused in words."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.configuration import load, refusal

from clapstream.config import StreamSettings
from clapstream.urls import shown_url


@pytest.mark.parametrize(
    ("host", "meant"),
    [
        ("localhost", "localhost"),
        ("homeassistant.local", "homeassistant.local"),
        ("core-mosquitto", "core-mosquitto"),
        ("mosquitto_1", "mosquitto_1"),
        ("broker.example.org.", "broker.example.org."),
        ("küche.local", "küche.local"),
        ("4broker", "4broker"),
        ("192.168.1.10", "192.168.1.10"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("[2001:db8::5]", "2001:db8::5"),
    ],
)
def test_hosts_of_brokers(tmp_path: Path, host: str, meant: str) -> None:
    mqtt = load(tmp_path, f"mqtt: {{host: '{host}'}}").mqtt
    assert mqtt is not None
    assert mqtt.host == meant
    assert mqtt.address == (f"[{meant}]:1883" if ":" in meant else f"{meant}:1883")


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("broker:1883", "without the port; the port is a key of its own"),
        ("192.168.1.10:1883", "without the port"),
        ("[::1]:1883", "without the port"),
        ("broker:", "without the port"),
        ("broker/mqtt", "name or address alone"),
        ("broker?x", "name or address alone"),
        ("mqtt:broker", "name or address alone"),
        ("my broker", "a name is made of letters, digits, - and _"),
        (" broker", "a name is made of"),
        ("broker\\n", "a name is made of"),
        ("-broker", "a name is made of"),
        ("a..b", "a name is made of"),
        ("*", "a name is made of"),
        ("a" * 64, "a name is made of"),
        ("a." * 130, "longer than 253"),
        ("", "it is empty"),
        ("192.168.1.256", "an IPv4 address is four numbers from 0 to 255"),
        ("192.168.1", "an IPv4 address is four numbers"),
        ("192.168.001.010", "an IPv4 address is four numbers"),
        ("10", "an IPv4 address is four numbers"),
        ("1::2::3", "this is no IPv6 address"),
        ("[::1", "this is no IPv6 address"),
    ],
)
def test_hosts_that_are_none(tmp_path: Path, host: str, said: str) -> None:
    found = refusal(tmp_path, f'mqtt: {{host: "{host}"}}')
    assert found.startswith("clapstream.yaml:1: mqtt.host: must be")
    assert said in found
    assert len(found.splitlines()) == 1


def stream(folder: Path, url: str) -> str:
    (source,) = load(folder, f'sources: [{{name: porch, type: stream, url: "{url}"}}]').sources
    assert isinstance(source, StreamSettings)
    return source.url.get_secret_value()


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://camera/1",
        "rtsp://user:pass%2Fword@camera:554/1?a=b#c",
        "rtsp://user:pa@ss:word@camera/1",
        "rtsp://:word@camera/1",
        "rtsp://user@camera/1",
        "rtsps://192.168.1.5:7441/abc?enableSrtp",
        "rtsp://camera_1:8554/porch",
        "rtsp://[fe80::1]:554/1",
        "rtsp://user:word@[fe80::1%25eth0]/1",
        "rtsp://192.168.1.5:554/user=admin&password=a@b&channel=1",
        "http://camera:8080/live@hd",
        "http://go2rtc:1984/api/stream.mp4?src=rtsp://user:word@192.168.1.5:554/1",
        "rtsp://user:word@camera/1@192.168.1.5",
        "https://user:word@camera/a@b",
        "http://camera/stream.m3u8",
        "rtmp://camera/bcs/channel0_main.bcs?channel=0&stream=0&user=admin&password=word",
        "udp://@239.0.0.1:1234",
        "udp://:1234",
        "rtp://0.0.0.0:5004",
        "srt://:9000?mode=listener",
        "tcp://camera:5000",
        "mmsh://radio/x",
        "hls+https://camera/x.m3u8",
        "file:///srv/yard.mp4",
        "unix:///run/sound.sock",
    ],
)
def test_urls_that_can_work(tmp_path: Path, url: str) -> None:
    assert stream(tmp_path, url) == url


def test_schemes_are_lower_case_for_ffmpeg_and_white_space_around_goes(tmp_path: Path) -> None:
    assert stream(tmp_path, " RTSP://Camera/1\\n") == "rtsp://Camera/1"


ENCODED = "/ must be written as %2F, ? as %3F, # as %23, @ as %40"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("rtsp://user:pass/word@camera/1", ENCODED),
        ("rtsp://user:pass?word@camera/1", ENCODED),
        ("rtsp://user:pass#word@camera/1", ENCODED),
        ("rtsp://user:/word@camera/1", ENCODED),
        ("rtsp://user:1/word@camera:554/1", ENCODED),
        ("rtsp://user:1?word@192.168.1.5/1", ENCODED),
        ("rtsp://user:pass word@camera/1", ENCODED),
        ("rtsp://user:password", ENCODED),
        ("rtsp://user:word%40camera/1", ENCODED),
        ("rtsp://user:pa\\tss@camera/1", "must not hold spaces or control characters"),
        ("rtsp://camera:0/1", "a number from 1 to 65535"),
        ("rtsp://camera:70000/1", "a number from 1 to 65535"),
        ("rtsp://camera:-1/1", "a number from 1 to 65535"),
        ("rtsp://camera:/1", "a number from 1 to 65535"),
        ("rtsp://camera:554:554/1", "an IPv6 address stands in brackets"),
        ("rtsp://fe80::1/1", "an IPv6 address stands in brackets"),
        ("rtsp://[fe80::1/1", "an IPv6 address stands in brackets"),
        ("rtsp://[fe80]/1", "this is no IPv6 address"),
        ("rtsp://", "has no host"),
        ("rtsp:///1", "has no host"),
        ("rtsp://?x", "has no host"),
        ("rtsp://user:word@/1", "has no host"),
        ("rtsp://:554/1", "has no host"),
        ("rtsp://192.168.1.500/1", "an IPv4 address is four numbers"),
        ("rtsp://cam!era/1", "a name is made of letters"),
        ("udp://239.0.0.1", "has no port, and udp has no usual one"),
        ("srt://camera", "has no port, and srt has no usual one"),
        ("rtspx://camera/1", "begins with an unknown scheme; known are rtsp, rtsps, rtmp,"),
        ("rtps://camera/1", "begins with an unknown scheme"),
        ("mqtt://camera/1", "begins with an unknown scheme"),
        ("concat:a|b", "must be a URL such as rtsp://camera/1"),
        ("rtsp:/camera/1", "must be a URL such as rtsp://camera/1"),
        ("rtsp//camera/1", "must be a URL such as rtsp://camera/1"),
        ("camera/1", "must be a URL such as rtsp://camera/1"),
        ("", "must not be empty"),
        ("rtsp://camera/" + "a" * 4000, "at most 4000 characters"),
    ],
)
def test_urls_that_cannot_work(tmp_path: Path, url: str, said: str) -> None:
    found = refusal(tmp_path, f'sources: [{{name: porch, type: stream, url: "{url}"}}]')
    assert found.startswith("clapstream.yaml:1: sources[0].url: ")
    assert said in found
    assert "word" not in found.replace("password", "")
    assert len(found.splitlines()) == 1


@pytest.mark.parametrize("password", ["pass/word", "pass?word", "pass#word", "1/2@3", "#", "/a=b/", "1#2"])
def test_what_is_shown_of_a_url_that_was_refused_is_where_it_should_have_led(tmp_path: Path, password: str) -> None:
    url = f"rtsp://user:{password}@camera:554/1"
    assert ENCODED in refusal(tmp_path, f'sources: [{{name: porch, type: stream, url: "{url}"}}]')
    assert shown_url(url) == "rtsp://camera:554"
