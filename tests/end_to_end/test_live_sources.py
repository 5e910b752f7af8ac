"""Live sources as a user runs them: the wall clock is set while they run, their sound stops."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support.clapstream_process import ClapstreamProcess
from support.real_broker import Broker, Listener
from support.scene import DATA, RATE_HZ

ACCURACY_SECONDS = 4.0
"""A hop, the settling of the clock, and a busy machine."""


class Feeder:
    """Writes a quiet room into a pipe in real time, and a dog that barks into it on request."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._barks = threading.Event()
        self._stopped = threading.Event()
        clip, _ = soundfile.read(DATA / "dog_barking.ogg", dtype="float32")
        self._clip = clip * 0.5 / np.abs(clip).max()
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def bark(self) -> float:
        """Let the dog bark now; returns when (`time.time()`)."""
        self._barks.set()
        return time.time()

    def stop(self) -> None:
        """Write no more, but keep the pipe open."""
        self._stopped.set()
        self._thread.join()

    def _write(self) -> None:
        noise = np.random.default_rng(0)
        rest, block = np.zeros(0, dtype=np.float32), RATE_HZ // 10
        began, blocks = time.monotonic(), 0
        while not self._stopped.is_set():
            if self._barks.is_set():
                self._barks.clear()
                rest = self._clip
            sound = noise.standard_normal(block).astype(np.float32) * 5e-4
            sound[: len(rest[:block])] += rest[:block]
            rest = rest[block:]
            with contextlib.suppress(BlockingIOError):  # nobody reads yet: lost, as a sound card's would be
                os.write(self._pipe, (sound * 32_767).astype("<i2").tobytes())
            blocks += 1
            time.sleep(max(0.0, began + blocks / 10 - time.monotonic()))


@contextmanager
def feeding() -> Iterator[tuple[int, Feeder]]:
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    feeder = Feeder(write_end)
    try:
        yield read_end, feeder
    finally:
        feeder.stop()
        os.close(write_end)
        os.close(read_end)


def starts(listener: Listener) -> list[datetime]:
    found = [json.loads(payload) for payload in listener.on("clapstream/home/pipe/detection")]
    return [
        datetime.fromisoformat(each["started"])
        for each in found
        if each["phase"] == "start" and each["label"] == "dog barking"
    ]


@pytest.mark.slow
def test_a_live_pipe_follows_the_wall_clock_and_is_lost_when_it_stalls(tmp_path: Path, broker: Broker) -> None:
    libraries = list(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not libraries:
        pytest.skip("needs the package faketime")
    offset = tmp_path / "offset"
    offset.write_text("+0")
    (tmp_path / "labels.yaml").write_text("defaults: {hold_seconds: 1}\nlabels: [dog barking]\n")
    clock = {
        "LD_PRELOAD": str(libraries[0]),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    settings: dict[str, object] = {
        "sources": [{"name": "pipe", "type": "pcm", "live": True}],
        "labels": str(tmp_path / "labels.yaml"),
        "window": {"seconds": 4.0, "hop_seconds": 2.0},
        "mqtt": {"host": "127.0.0.1", "port": broker.port},
    }
    listener = broker.listen()
    state = "clapstream/home/pipe/dog_barking/state"
    with feeding() as (read_end, feeder):
        process = ClapstreamProcess(tmp_path, settings, clock, standard_input=read_end)
        try:
            process.start()
            listener.wait(lambda heard: "online" in heard.on("clapstream/home/pipe/availability"), "the pipe")
            for count, hours in enumerate((0, 2, -2), start=1):
                offset.write_text(f"{hours * 3600:+d}")
                time.sleep(1.0)
                barked = feeder.bark()
                listener.wait(lambda heard, count=count: len(starts(heard)) == count, f"the dog at {hours:+d} h")
                assert starts(listener)[-1].timestamp() - barked - hours * 3600 == pytest.approx(
                    0, abs=ACCURACY_SECONDS
                )
                if count < 3:
                    listener.wait(lambda heard: heard.on(state)[-1] == "OFF", "the end of the event")
            feeder.stop()
            listener.wait(lambda heard: heard.on("clapstream/home/pipe/availability")[-1] == "offline", "the loss")
            listener.wait(lambda heard: heard.on(state)[-1] == "OFF", "the end of the event")
            assert "standard input: no audio received for 5 s" in process.log
            assert process.stop()[0] == 0
        finally:
            process.close()
