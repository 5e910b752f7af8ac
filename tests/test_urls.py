"""What is shown of URLs, above all of those that nobody meant to write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clapstream.urls import HIDDEN, may_hold_credentials, shown_url

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://camera", "rtsp://camera"),
        ("rtsp://camera:554/1", "rtsp://camera:554"),
        ("rtsp://user:hunter2@camera:554/1?token=hunter2#hunter2", "rtsp://camera:554"),
        ("rtsp://hunter2@camera/1", "rtsp://camera"),
        ("rtsp://user:hun@ter2@camera/1", "rtsp://camera"),
        ("rtsp://user:hun:ter2@camera/1", "rtsp://camera"),
        ("rtsp://user:hun/ter2@camera:554/1", "rtsp://camera:554"),
        ("rtsp://user:hun?ter2@camera:554/1", "rtsp://camera:554"),
        ("rtsp://user:hun#ter2@camera:554/1", "rtsp://camera:554"),
        ("rtsp://user:#hunter2@camera/1", "rtsp://camera"),
        ("rtsp://user:hun@t/er2@camera/1", "rtsp://camera"),
        ("rtsp://user:1/hunter2@192.168.1.5/1", "rtsp://192.168.1.5"),
        ("rtsp://user:hun ter2@camera/1", "rtsp://camera"),
        ("rtsp://user:hunter2%2F%40@camera/1", "rtsp://camera"),
        ("rtsp://user:hun\nter2@camera/1\n", "rtsp://camera"),
        ("rtsp://user:hun://ter2@camera/1", "rtsp://camera"),
        ("rtsp://192.168.1.5:554/user=admin&password=hunter2&channel=1", "rtsp://192.168.1.5:554"),
        ("rtsp://192.168.1.5:554/user=admin_password=hunter2_channel=1_stream=0.sdp", "rtsp://192.168.1.5:554"),
        ("rtsp://192.168.1.5/admin/hunter2/1", "rtsp://192.168.1.5"),
        ("http://192.168.1.5/cgi?usr=admin&pwd=hunter2", "http://192.168.1.5"),
        ("http://camera?hunter2", "http://camera"),
        ("http://camera#hunter2", "http://camera"),
        ("http://camera/cgi?pwd=hunter2@x&n=1", "http://***"),
        ("http://192.168.1.5/cgi?usr=admin&pwd=x@hunter2", "http://192.168.1.5"),
        ("http://[fe80::1]:80/cgi?usr=admin&pwd=x@hunter2", "http://[fe80::1]:80"),
        ("http://camera/cgi?pwd=x@hunter2", "http://***"),
        ("http://camera/hunter2@name", "http://***"),
        ("RTSP://user:hunter2@Camera/1", "rtsp://Camera"),
        ("rtsp://user:hunter2@[fe80::1]:554/1", "rtsp://[fe80::1]:554"),
        ("rtsp://user:hunter2@[fe80::1%25eth0]/1", "rtsp://[fe80::1%25eth0]"),
        ("rtsp://user:hunter2@camera_1.docker:8554", "rtsp://camera_1.docker:8554"),
        ("rtsp://user:hunter2@küche.local/1", "rtsp://küche.local"),
        ("udp://@239.0.0.1:1234", "udp://239.0.0.1:1234"),
        ("udp://@:1234?pkt=hunter2", "udp://:1234"),
        ("user:hunter2@camera:554/1", "camera:554"),
        ("rtsp:user:hunter2@camera", "camera"),
        ("rtsp:/user:hunter2@camera", "camera"),
        ("rtsp//user:hunter2@camera", HIDDEN),
        ("://user:hunter2@camera", "camera"),
        ("user:hunter2", HIDDEN),
        ("hunter2", HIDDEN),
        ("", HIDDEN),
        ("rtsp://", "rtsp://***"),
        ("rtsp://user:hunter2", "rtsp://***"),
        ("rtsp://user:hunter2@", "rtsp://***"),
        ("rtsp://user:hunter2@/1", "rtsp://***"),
        ("rtsp://user@camera:hunter2/1", "rtsp://***"),
        ("rtsp://user:hunter2%40camera/1", "rtsp://***"),
        ("rtsp://user:hunter2\uff20camera/1", "rtsp://***"),
        ("rtsp://camera:554 hunter2", "rtsp://***"),
        ("rtsp://camera:99999/hunter2", "rtsp://***"),
        ("user:hunter2@rtsp://camera", HIDDEN),
        ("rtsp://user:hunter2@my camera/1", "rtsp://***"),
    ],
)
def test_scheme_host_and_port(url: str, shown: str) -> None:
    assert shown_url(url) == shown


@given(st.text(max_size=20), st.text(max_size=20))
def test_no_password_shows(before: str, after: str) -> None:
    shown = shown_url(f"rtsp://user:{before}{SECRET}{after}@camera:554/1")
    assert shown == "rtsp://camera:554"


@given(st.text(alphabet="a1:/?#@[]%=& \n.", max_size=20), st.text(alphabet="a1:/?#@[]%=& \n.", max_size=20))
def test_no_user_or_path_shows(user: str, path: str) -> None:
    shown = shown_url(f"rtsp://{SECRET}{user}:{SECRET}@10.0.0.5/{SECRET}/{path}")
    assert SECRET not in shown


@given(st.text(max_size=40))
def test_any_text(text: str) -> None:
    assert shown_url(text).isprintable()
    assert len(shown_url(text)) <= max(len(text), len(HIDDEN)) + len(HIDDEN)


@pytest.mark.parametrize(
    ("text", "may"),
    [
        ("rtsp://camera", True),
        ("rtsp:/camera", True),
        ("user:hunter2@camera", True),
        ("me@home", True),
        ("user%40home", True),
        ("cam/user=admin_password=hunter2", True),
        ("sounds/yard.flac", False),
        ("cuda:1", False),
        ("slow", False),
    ],
)
def test_what_may_hold_credentials(text: str, may: bool) -> None:
    assert may_hold_credentials(text) is may
