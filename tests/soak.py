"""Hours of sound through the whole daemon while its broker and its sources come and go.

    python tests/soak.py --minutes 60

A real `clapstream run` reads a scene over and over, as fast as it can, hears a real PulseAudio room in which
the scene is played and whose microphone is unplugged in every round, and a network stream that ends every few
seconds. A real mosquitto is killed or frozen in every round, and so is the daemon frozen. Now and then the
labels are reloaded and the microphone is switched off and on. Each round ends when everything is back; then the
process is measured. At the end, with exit code 1 if one does not hold:

- resident memory, and the part of it that is the process's own (a machine short of memory takes back the rest,
  which would hide a leak), grow by less than 1 MB an hour of wall clock after warm-up (Theil-Sen slope over the
  rounds; only judged over five minutes or more). Beside it stand the slope per hour of sound, of which an hour
  holds many, and that of the memory in use (at the calmest of a few looks): the allocator keeps some of what was
  freed;
- in the last third after warm-up there are no more threads, tasks, file descriptors and child processes than in
  the first (each is compared by kind, its maximum over the rounds, and may differ by one: rounds do not end in
  step);
- in the daemon's log each start of a label has its end, and so it is over MQTT. A broker that is killed may
  take the message under way with it or leave its acknowledgement unsaid, and nobody can know which: rarely, a
  detection is missing or came twice. That is counted, and more than one in ten kills is a fault;
- SIGTERM ends it with exit code 0 within 5 s, and leaves nothing ON or online in the broker.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import itertools
import json
import math
import os
import re
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import soundfile
import yaml
from support.clapstream_process import ClapstreamProcess
from support.real_broker import Broker, Listener
from support.scene import write_scene
from support.soak_process import REPORT_VARIABLE
from support.sound_system import SoundSystem

HOP_SECONDS = 2.5
MOST_GROWTH_MB_PER_HOUR = 1.0
SHORTEST_JUDGED_MINUTES = 5.0
"""In a shorter time memory only shows that the process warms up."""
SETTLE_SECONDS = 3.0
LOOKS = 12
TIMEOUT_SECONDS = 300.0
BASE = "clapstream/soak"
FAULTS = itertools.cycle([("kill", 4.0), ("pause", 3.0), ("kill", 0.5), ("pause", 13.0)])
"""What happens to the broker, and for how many seconds; after 10 s without an answer the daemon hangs up."""
LARGEST_POOL = (os.cpu_count() or 1) + 4
"""asyncio's pool of threads is filled one by one, whenever all are busy, and never shrinks."""
ROUNDS_PER_RELOAD = 4
ROUNDS_PER_SWITCH = 3
PACKAGED_LABELS = Path(__file__).parent.parent / "config" / "labels.yaml"


@dataclass(frozen=True, slots=True)
class Look:
    """What the process holds at one moment, by kind."""

    resident_mb: float
    own_mb: float
    in_use_mb: float
    objects: int
    threads: Counter[str]
    tasks: Counter[str]
    descriptors: Counter[str]


@dataclass(frozen=True, slots=True)
class Sample(Look):
    """The process at the end of a round.

    `sound_hours` is how much the fast source had heard by its newest diagnostics, which are published every 30 s.
    What the process holds is what it held at each of a few looks: what it holds at one of them only is no leak.
    Memory is the median over them, since a batch under way takes 30 MB.
    """

    wall_hours: float
    sound_hours: float
    children: int

    def __str__(self) -> str:
        return (
            f"{self.wall_hours * 60:5.1f} min, {self.sound_hours:6.2f} h of sound: "
            f"{self.resident_mb:.1f} MB resident, {self.own_mb:.1f} of its own, {self.in_use_mb:.1f} in use, "
            f"{self.objects} objects, {self.threads.total()} threads, {self.tasks.total()} tasks, "
            f"{self.descriptors.total()} descriptors, {self.children} children"
        )


COUNTED = ("threads", "tasks", "descriptors")


@dataclass
class Found:
    """What the run brought to light."""

    samples: list[Sample] = field(default_factory=list)
    kills: int = 0
    problems: list[str] = field(default_factory=list)


def memory_mb(pid: int) -> tuple[float, float]:
    """Resident memory of a process, and the part that is its own."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    status = dict(line.split(":", 1) for line in lines)
    whole, own, swapped = (int(status[name].split()[0]) / 1024 for name in ("VmRSS", "RssAnon", "VmSwap"))
    return whole + swapped, own + swapped


def descriptor_kinds(pid: int) -> Counter[str]:
    """What the descriptors of a process are, without the numbers that tell sockets and pipes apart."""
    kinds: Counter[str] = Counter()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            kinds[re.sub(r"[\d\[\]]+", "", str(link.readlink()))] += 1
    return kinds


def threads_of(pid: int, named: Sequence[str]) -> Counter[str]:
    """Python's threads by name without their number, and those that Python knows nothing of."""
    others = sum(1 for _ in Path(f"/proc/{pid}/task").iterdir()) - len(named)
    return Counter(re.sub(r"[-_]\d+$", "", name) for name in named) + Counter(native=max(0, others))


def children_of(pid: int) -> int:
    """How many processes a process has started that are still there, zombies included."""
    lists = (path.read_text(encoding="utf-8") for path in Path(f"/proc/{pid}/task").glob("*/children"))
    return sum(len(text.split()) for text in lists)


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Return once it holds; TimeoutError names what did not come."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come within {TIMEOUT_SECONDS:g} s")
        time.sleep(0.1)


class Soak:
    """The daemon with its broker, its room and its stream."""

    def __init__(self, folder: Path, broker: Broker, sound_system: SoundSystem, stream_url: str) -> None:
        self.broker = broker
        self.sound_system = sound_system
        self.found = Found()
        self._scene = folder / "scene.wav"
        self._report = folder / "report.json"
        self._labels = folder / "labels.yaml"
        self._label_sets = itertools.cycle(label_sets())
        self._write_labels()
        recording = {"type": "recording", "path": str(self._scene), "pace": "fast", "loop": True}
        self.process = ClapstreamProcess(
            folder,
            {
                "node": "soak",
                "labels": str(self._labels),
                "sources": [
                    {"name": "scene", **recording},
                    {"name": "room", "type": "microphone", "device": "pulse"},
                    {"name": "porch", "type": "stream", "url": stream_url},
                ],
                "mqtt": {"host": "127.0.0.1", "port": broker.port},
            },
            environment={REPORT_VARIABLE: str(self._report)},
            program=(str(Path(__file__).parent / "support" / "soak_process.py"),),
        )
        self._status = Listener(broker.port, f"{BASE}/status")
        self._availability = Listener(broker.port, f"{BASE}/+/availability")
        self._diagnostics = Listener(broker.port, f"{BASE}/scene/diagnostics")
        self._listening = Listener(broker.port, f"{BASE}/+/listening")
        self.detections = Listener(broker.port, f"{BASE}/+/detection")
        self.listeners = [self._status, self._availability, self._diagnostics, self._listening, self.detections]
        self._windows = 0
        self._started = time.monotonic()

    def run(self, minutes: float) -> None:
        """Round after round; a round that does not settle ends it and is a problem."""
        self.process.start()
        self._started = time.monotonic()
        try:
            for number in itertools.count(1):
                self._round(number)
                print(self.found.samples[-1], flush=True)
                if time.monotonic() - self._started >= minutes * 60:
                    return
        except (TimeoutError, AssertionError) as error:
            self.found.problems.append(f"round {len(self.found.samples) + 1}: {error}")

    def _round(self, number: int) -> None:
        playing = self.sound_system.play(self._scene)
        time.sleep(3.0)
        self._freeze(3.0)
        time.sleep(3.0)  # so that something is heard that the unplugging interrupts
        self._hurt_the_broker(*next(FAULTS))
        self.sound_system.remove_room()
        wait_until(lambda: self._newest(self._availability, "room/availability") == "offline", "the loss")
        playing.kill()
        playing.wait()
        self.sound_system.add_room()
        if number % ROUNDS_PER_RELOAD == 0:
            self._reload()
        self._settle()
        if number % ROUNDS_PER_SWITCH == 0:
            self._switch("OFF")
            self._switch("ON")
            self._settle()
        self.found.samples.append(self._sample())

    def _freeze(self, seconds: float) -> None:
        """Stop the process for a while: after it, windows of all sources come together in one large batch."""
        self.process.send(signal.SIGSTOP)
        time.sleep(seconds)
        self.process.send(signal.SIGCONT)

    def _hurt_the_broker(self, how: str, seconds: float) -> None:
        received = len(self._status.on(f"{BASE}/status"))
        if how == "kill":
            self.found.kills += 1
            self.broker.kill()
            time.sleep(seconds)
            self.broker.start()
            wait_until(lambda: "online" in self._status.on(f"{BASE}/status")[received:], "the reconnect")
        else:
            self.broker.pause()
            time.sleep(seconds)
            self.broker.resume()

    def _reload(self) -> None:
        before = self.process.log.count("reloaded: ")
        self._write_labels()
        self.process.send(signal.SIGHUP)
        wait_until(lambda: self.process.log.count("reloaded: ") > before, "the reload")

    def _switch(self, state: str) -> None:
        def switched() -> bool:
            self._status.publish(f"{BASE}/room/listening/set", state)
            return self._newest(self._listening, "room/listening") == state

        wait_until(switched, f"the switch to {state}")

    def _settle(self) -> None:
        wait_until(lambda: self._newest(self._status, "status") == "online", "the daemon")
        wait_until(lambda: self._newest(self._availability, "room/availability") == "online", "the microphone")
        wait_until(lambda: self._newest(self._availability, "porch/availability") == "online", "the stream")
        wait_until(lambda: self._newest(self._availability, "scene/availability") == "online", "the recording")

    def _newest(self, listener: Listener, topic: str) -> str | None:
        return next(iter(listener.on(f"{BASE}/{topic}")[-1:]), None)

    def _write_labels(self) -> None:
        self._labels.write_text(next(self._label_sets), encoding="utf-8")

    def _sample(self) -> Sample:
        pid = self.process.pid
        looks = [self._look(pid) for _ in range(LOOKS)]
        newest = self._newest(self._diagnostics, "scene/diagnostics")
        self._windows = self._windows if newest is None else json.loads(newest)["windows"]
        return Sample(
            wall_hours=(time.monotonic() - self._started) / 3600,
            sound_hours=self._windows * HOP_SECONDS / 3600,
            resident_mb=statistics.median(look.resident_mb for look in looks),
            own_mb=statistics.median(look.own_mb for look in looks),
            in_use_mb=min(look.in_use_mb for look in looks),
            objects=min(look.objects for look in looks),
            threads=functools.reduce(Counter.__and__, (look.threads for look in looks)),
            tasks=functools.reduce(Counter.__and__, (look.tasks for look in looks)),
            descriptors=functools.reduce(Counter.__and__, (look.descriptors for look in looks)),
            children=children_of(pid),
        )

    def _look(self, pid: int) -> Look:
        """What the process holds at this moment."""
        self._settle()
        self._report.unlink(missing_ok=True)
        self.process.send(signal.SIGUSR2)
        wait_until(self._report.exists, "the report")
        held = json.loads(self._report.read_text(encoding="utf-8"))
        resident_mb, own_mb = memory_mb(pid)
        time.sleep(SETTLE_SECONDS / LOOKS)
        return Look(
            resident_mb=resident_mb,
            own_mb=own_mb,
            threads=threads_of(pid, held["threads"]),
            tasks=Counter(held["tasks"]),
            descriptors=descriptor_kinds(pid),
            objects=held["objects"],
            in_use_mb=held["in_use_mb"] or 0.0,
        )


def label_sets() -> list[str]:
    """The packaged labels, and the same with one fewer."""
    everything = yaml.safe_load(PACKAGED_LABELS.read_text(encoding="utf-8"))
    fewer = [label for label in everything["labels"] if label["name"] != "doorbell"]
    return [yaml.safe_dump({**everything, "labels": labels}) for labels in (everything["labels"], fewer)]


@contextmanager
def streaming(scene: Path, seconds: float = 12.0) -> Iterator[str]:
    """Serve the beginning of the scene over HTTP in real time, then break the connection; gives its URL."""
    samples, rate_hz = soundfile.read(scene, frames=round(48_000 * seconds), dtype="int16")
    part = scene.with_name("part.wav")
    soundfile.write(part, samples, rate_hz)
    content = part.read_bytes()
    a_second = rate_hz * 2

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            for start in range(0, len(content), a_second):
                self.wfile.write(content[start : start + a_second])
                time.sleep(1.0)

        def log_message(self, *_: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that leaves is no news."""

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/scene.wav"
        server.shutdown()


def slope(points: Sequence[tuple[float, float]]) -> float:
    """The median slope over all pairs (Theil-Sen): a few outliers do not bend it; nan if there is no pair."""
    pairs = itertools.combinations(points, 2)
    slopes = [(y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in pairs if x1 != x2]
    return statistics.median(slopes) if slopes else math.nan


def growth(samples: Sequence[Sample]) -> list[str]:
    """Problems with memory after warm-up, in a run that is long enough."""
    problems = []
    is_judged = (samples[-1].wall_hours - samples[0].wall_hours) * 60 >= SHORTEST_JUDGED_MINUTES
    for name in ("resident_mb", "own_mb", "in_use_mb"):
        per_hour = slope([(each.wall_hours, getattr(each, name)) for each in samples])
        per_hour_of_sound = slope([(each.sound_hours, getattr(each, name)) for each in samples])
        print(f"{name}: {per_hour:+.3f} MB an hour, {per_hour_of_sound:+.4f} MB an hour of sound")
        if is_judged and name != "in_use_mb" and per_hour > MOST_GROWTH_MB_PER_HOUR:
            problems.append(f"{name} grows by {per_hour:.2f} MB an hour")
    return problems


def leftovers(samples: Sequence[Sample]) -> list[str]:
    """Problems with what the process holds: the last third after warm-up against the first."""
    third = max(1, len(samples) // 3)
    first, last = samples[:third], samples[-third:]
    problems = []
    for name in COUNTED:
        before, after = ([getattr(each, name) for each in part] for part in (first, last))
        most = [max(count.total() for count in part) for part in (before, after)]
        print(f"{name}: at most {most[0]} in the first third, {most[1]} in the last")
        for kind in sorted(set().union(*before, *after)):
            of_kind = [max(count[kind] for count in part) for part in (before, after)]
            pool = (name, kind) == ("threads", "asyncio") and of_kind[1] <= LARGEST_POOL
            if of_kind[1] > of_kind[0] + 1 and not pool:
                problems.append(f"{name}: {of_kind[0]} of {kind!r} at first, {of_kind[1]} at last")
    if any(each.children != 1 for each in samples):
        problems.append(f"there is one microphone, but: {Counter(each.children for each in samples)} children")
    return problems


def logged_ends(log: str) -> list[str]:
    """Problems with starts and ends of labels in the daemon's log: for each source and label they take turns."""
    going_on: Counter[tuple[str, str]] = Counter()
    starts, problems = 0, []
    for line in log.splitlines():
        match = re.search(r"INFO\s+(\w+): (.+) (started \(score|ended after)", line)
        if match is None:
            continue
        source, label, phase = match.groups()
        change = 1 if phase.startswith("started") else -1
        starts += change == 1
        going_on[source, label] += change
        if going_on[source, label] not in (0, 1):
            problems.append(f"log: {line}")
    print(f"log: {starts} starts")
    problems += [f"log: {key} never ended" for key, count in going_on.items() if count]
    return problems if starts else ["log: nothing was heard"]


def published_ends(payloads: Sequence[str], kills: int) -> list[str]:
    """Problems with detections over MQTT."""
    phases: dict[str, list[str]] = {}
    late = 0
    for detection in map(json.loads, payloads):
        phases.setdefault(detection["id"], []).append(detection["phase"])
        late += detection["late"]
    odd = {key: seen for key, seen in phases.items() if seen != ["start", "end"]}
    print(f"mqtt: {len(payloads)} detections of {len(phases)} events, {late} late; {len(odd)} odd in {kills} kills")
    if len(odd) > kills / 10:
        return [f"mqtt: {len(odd)} events without exactly one start and one end: {list(odd.values())[:5]}"]
    return []


def retained_states(broker: Broker) -> list[str]:
    """Problems with what the broker retains after the daemon has stopped."""
    listener = broker.listen()
    time.sleep(2.0)
    kept = {each.topic: each.payload for each in listener.messages if each.topic.startswith(BASE)}
    wrong = {topic: text for topic, text in kept.items() if topic.endswith("/state") and text != "OFF"}
    wrong |= {
        topic: text
        for topic, text in kept.items()
        if topic.endswith(("/availability", "/status")) and text != "offline"
    }
    return [f"retained: {wrong}"] if wrong or f"{BASE}/status" not in kept else []


def soak(folder: Path, minutes: float, warm_up_share: float, keep_log: Path | None) -> list[str]:
    """Run it; returns what did not hold."""
    scene = folder / "scene.wav"
    write_scene(scene, 60.0, {"dog_barking": 1.0, "doorbell": 20.0, "speech": 40.0})
    broker = Broker(folder, ["allow_anonymous true"])
    sound_system = SoundSystem(folder)
    os.environ.update(sound_system.environment)
    with streaming(scene) as url:
        sound_system.start()
        sound_system.add_room()
        broker.start()
        run = Soak(folder, broker, sound_system, url)
        problems = run.found.problems
        try:
            run.run(minutes)
            code, seconds = run.process.stop()
            print(f"SIGTERM: exit code {code} after {seconds:.2f} s")
            if code != 0 or seconds > 5.0:
                problems.append(f"SIGTERM: exit code {code} after {seconds:.1f} s")
            time.sleep(1.0)
            warm = run.found.samples[int(len(run.found.samples) * warm_up_share) :]
            if warm:
                problems += growth(warm) + leftovers(warm)
            problems += logged_ends(run.process.log)
            for listener in run.listeners:
                listener.close()
            payloads = [message.payload for message in run.detections.messages]
            problems += published_ends(payloads, run.found.kills) + retained_states(broker)
        finally:
            run.process.close()
            if keep_log is not None:
                keep_log.write_text(run.process.log, encoding="utf-8")
            broker.close()
            sound_system.kill()
        if "Traceback" in run.process.log:
            problems.append("there is a traceback in the log")
    return problems


def main() -> int:
    """Parse, run, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--warm-up-share", type=float, default=0.25, help="of the time, not judged")
    parser.add_argument("--keep-log", type=Path, metavar="FILE", help="where the daemon's log goes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        problems = soak(Path(folder), options.minutes, options.warm_up_share, options.keep_log)
    print("\n".join(problems) or "everything held")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
