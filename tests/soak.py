"""Hours of sound through the whole daemon while its broker and its microphone come and go.

    python tests/soak.py --minutes 10

A real `clapstream run` reads a scene over and over, as fast as it can, and hears a real PulseAudio room whose
microphone is unplugged now and then; a real mosquitto is killed and started again. At the end, and with exit code 1
if one does not hold: resident memory grows by less than 1 MB an hour of sound after warm-up, threads and file
descriptors are as many as before, every start has its end, and SIGTERM ends it with exit code 0 within 5 s.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from clapstream_process import ClapstreamProcess
from real_broker import Broker, Listener
from scene import write_scene
from sound_system import SoundSystem

WARM_UP_SHARE = 0.4
CYCLE_SECONDS = 20.0
HOP_SECONDS = 2.5
MOST_GROWTH_MB_PER_HOUR = 1.0
BASE = "clapstream/soak"


@dataclass(frozen=True, slots=True)
class Sample:
    """The process at one moment; `sound_hours` is how much the fast source had heard by then."""

    sound_hours: float
    resident_mb: float
    threads: int
    descriptors: int


def sample(pid: int, windows: int) -> Sample:
    """Measure a process that has scored so many windows."""
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    )
    return Sample(
        sound_hours=windows * HOP_SECONDS / 3600,
        resident_mb=int(status["VmRSS"].split()[0]) / 1024,
        threads=int(status["Threads"]),
        descriptors=sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()),
    )


def windows_scored(listener: Listener, earlier: int) -> int:
    """How many windows the fast source has heard, from its newest diagnostics."""
    newest = listener.on(f"{BASE}/scene/diagnostics")[-1:]
    return max([earlier, *(json.loads(payload)["windows"] for payload in newest)])


def unmatched(detections: list[dict[str, object]]) -> list[object]:
    """Ids of detections that started or ended other than exactly once."""
    phases: dict[object, list[object]] = {}
    for detection in detections:
        phases.setdefault(detection["id"], []).append(detection["phase"])
    return [key for key, found in phases.items() if found != ["start", "end"]]


def growth_mb_per_hour(samples: list[Sample]) -> float:
    """Slope of resident memory over hours of sound, after warm-up (least squares)."""
    kept = samples[int(len(samples) * WARM_UP_SHARE) :]
    slope, _ = np.polyfit([each.sound_hours for each in kept], [each.resident_mb for each in kept], 1)
    return float(slope)


def soak(folder: Path, minutes: float) -> list[str]:
    """Run it; returns what did not hold."""
    write_scene(folder / "scene.wav", 120.0, {"dog_barking": 10.0, "doorbell": 40.0, "speech": 70.0})
    broker = Broker(folder, ["allow_anonymous true"])
    sound_system = SoundSystem(folder)
    os.environ.update(sound_system.environment)
    sound_system.start()
    sound_system.add_room()
    broker.start()
    listener = broker.listen()
    recording = {"type": "recording", "path": str(folder / "scene.wav"), "pace": "fast", "loop": True}
    process = ClapstreamProcess(
        folder,
        {
            "node": "soak",
            "sources": [
                {"name": "scene", **recording},
                {"name": "room", "type": "microphone", "device": "pulse"},
            ],
            "mqtt": {"host": "127.0.0.1", "port": broker.port},
        },
    )
    samples: list[Sample] = []
    windows = 0
    try:
        process.start()
        deadline = time.monotonic() + minutes * 60
        while time.monotonic() < deadline:
            time.sleep(CYCLE_SECONDS / 4)
            broker.kill()
            time.sleep(CYCLE_SECONDS / 4)
            broker.start()
            sound_system.remove_room()
            time.sleep(CYCLE_SECONDS / 4)
            sound_system.add_room()
            time.sleep(CYCLE_SECONDS / 4)
            windows = windows_scored(listener, windows)
            samples.append(sample(process.pid, windows))
            print(samples[-1], flush=True)
        code, seconds = process.stop()
        time.sleep(1.0)
        return faults(samples, listener, code, seconds)
    finally:
        process.close()
        broker.close()
        sound_system.kill()


def faults(samples: list[Sample], listener: Listener, code: int, seconds: float) -> list[str]:
    """What did not hold."""
    found = []
    growth = growth_mb_per_hour(samples)
    print(f"memory {growth:+.3f} MB an hour of sound, {samples[-1].sound_hours:.1f} hours heard")
    if growth > MOST_GROWTH_MB_PER_HOUR:
        found.append(f"memory grows by {growth:.2f} MB an hour of sound")
    warm = samples[int(len(samples) * WARM_UP_SHARE) :]
    for name in ("threads", "descriptors"):
        counts = [getattr(each, name) for each in warm]
        if counts[-1] > min(counts) + 2:
            found.append(f"{name} grow: {counts}")
    detections = [json.loads(payload) for payload in listener.on(f"{BASE}/scene/detection")]
    print(f"{len(detections)} detections of the scene")
    if not detections or unmatched(detections):
        found.append(f"starts without one end: {unmatched(detections)[:5]} of {len(detections)}")
    if code != 0 or seconds > 5.0:
        found.append(f"SIGTERM: exit code {code} after {seconds:.1f} s")
    return found


def main() -> int:
    """Parse, run, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        problems = soak(Path(folder), options.minutes)
    print("\n".join(problems) or "everything held")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
