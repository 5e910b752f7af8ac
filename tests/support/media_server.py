"""Local servers of live sound and video: HTTP through ffmpeg, RTSP through GStreamer's server."""

from __future__ import annotations

import contextlib
import http.server
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.sound_files import ffmpeg, require_ffmpeg

TIMEOUT_SECONDS = 30.0
SYSTEM_PYTHON = "/usr/bin/python3"
"""Where Debian's python3-gi lives."""


def make_media(path: Path, *arguments: str) -> Path:
    """Write a file by ffmpeg's arguments, and return it."""
    ffmpeg(*arguments, path)
    return path


class LiveServer:
    """What `serving_live` starts: its URL, and when (`time.time()`) each connection began."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/live"
        self.began: list[float] = []


@contextmanager
def serving_live(path: Path, container: str, *, without_pid: int | None = None) -> Iterator[LiveServer]:
    """Serve a file in real time, from its start for each connection, as a live `container` (mpegts, flv).

    Of MPEG-TS the packets of one PID can be left out: a track that is announced and never sent.
    """
    require_ffmpeg()
    command = ["ffmpeg", "-v", "error", "-nostdin", "-re", "-copyts", "-i", str(path), "-c", "copy", "-copyts"]
    command += ["-map", "0", "-muxdelay", "0", "-flush_packets", "1", "-max_interleave_delta", "100000"]
    command += ["-f", container, "pipe:1"]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            live.began.append(time.time())
            with subprocess.Popen(command, stdout=subprocess.PIPE) as sender:
                assert sender.stdout is not None
                with contextlib.suppress(OSError):
                    while data := sender.stdout.read(188):
                        if without_pid is not None and int.from_bytes(data[1:3]) & 0x1FFF == without_pid:
                            continue
                        self.wfile.write(data)
                sender.kill()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        live = LiveServer(server.server_port)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield live
        finally:
            server.shutdown()
            thread.join()


RTSP_SERVER = """
import sys, gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer

port, protocols, refuses_audio_alone, pipeline = sys.argv[1], sys.argv[2], sys.argv[3] == "True", sys.argv[4]
muted = int(sys.argv[5])
Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(port)
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(pipeline)
if protocols == "udp":
    factory.set_protocols(GstRtsp.RTSPLowerTrans.UDP)
clients = []

def configure(factory, made):
    clients.append(made)
    if len(clients) == muted:
        made.get_element().get_by_name("gate").set_property("drop-probability", 1.0)

factory.connect("media-configure", configure)
server.get_mount_points().add_factory("/camera", factory)
media = {}

def set_up(client, context):
    media.setdefault(client, []).append(context.uri.abspath)
    print("SETUP", context.uri.abspath, flush=True)
    return GstRtsp.RTSPStatusCode.OK

def play(client, context):
    refused = refuses_audio_alone and len(media[client]) < 2
    print("PLAY", len(media[client]), flush=True)
    return GstRtsp.RTSPStatusCode.NOT_ACCEPTABLE if refused else GstRtsp.RTSPStatusCode.OK

def connected(server, client):
    client.connect("pre-setup-request", set_up)
    client.connect("pre-play-request", play)

server.connect("client-connected", connected)
server.attach(None)
print("ready", flush=True)
GLib.MainLoop().run()
"""

CAMERA = (
    "( videotestsrc is-live=true ! video/x-raw,format=I420,width=160,height=120,framerate=10/1 ! jpegenc"
    " ! rtpjpegpay name=pay0 pt=26 "
    "audiotestsrc is-live=true samplesperbuffer=441 freq=440 {audio} ! audio/x-raw,rate=44100,channels=1"
    " ! audioresample ! audio/x-raw,rate=8000 ! alawenc ! identity name=gate ! rtppcmapay name=pay1 pt=8 )"
)
"""A camera with MJPEG video and PCMA sound."""


class RtspServer:
    """What `serving_rtsp` starts: its URL, and which requests it got."""

    def __init__(self, port: int, log: Path) -> None:
        self.url = f"rtsp://127.0.0.1:{port}/camera"
        self._log = log

    @property
    def log(self) -> list[str]:
        """SETUP with its medium, PLAY with how many media."""
        return self._log.read_text().splitlines()


@contextmanager
def serving_rtsp(
    folder: Path, *, audio: str = "", protocols: str = "all", refuses_audio_alone: bool = False, muted: int = 0
) -> Iterator[RtspServer]:
    """Serve a camera; `audio` are properties of its test tone, `protocols` is all or udp.

    The connection of the number `muted`, counted from 1, is accepted and gets no sound.
    """
    probe = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    if subprocess.run([SYSTEM_PYTHON, "-c", probe], capture_output=True).returncode:
        pytest.skip("needs the packages python3-gi and gir1.2-gst-rtsp-server-1.0")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = RtspServer(port, folder / f"rtsp-{port}.log")
    arguments = [str(port), protocols, str(refuses_audio_alone), CAMERA.format(audio=audio), str(muted)]
    with server._log.open("w") as log:
        process = subprocess.Popen([SYSTEM_PYTHON, "-c", RTSP_SERVER, *arguments], stdout=log, stderr=sys.stderr)
    try:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while "ready" not in server.log:
            assert process.poll() is None and time.monotonic() < deadline, "the RTSP server did not start"
            time.sleep(0.05)
        yield server
    finally:
        process.kill()
        process.wait()
