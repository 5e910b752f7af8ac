"""One peer in a process of its own, which runs when it is told to: requests and answers are lines of JSON."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import RATE_HZ, Peer, make_peer
from benchmarks.sounds import hop_samples, window, windows

Answer = dict[str, Any]
CALLS = 4
"""How many windows a turn is about."""


def main() -> None:
    """Answer requests until there are no more."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--exported", type=Path)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # libraries print what they like, but not here
    turn = Turn(make_peer(options.peer, options.checkpoint, options.exported, options.threads), options.batch)
    requests: dict[str, Callable[[], Answer]] = {"time": turn.time, "hop": turn.hop, "result": turn.result}
    for request in itertools.chain(["time"], sys.stdin):  # the first warms up and says "ready"
        print(json.dumps(requests[request.strip()]()), file=answers, flush=True)


class Turn:
    """What a peer does when it has its turn."""

    def __init__(self, peer: Peer, batch: int) -> None:
        self._peer = peer
        self._windows = windows(batch)
        self._first_sample = 0

    def time(self) -> Answer:
        """Milliseconds of one batch: the best of several small ones, so that a busy machine counts for less.

        `core_ms` is what all cores together worked for it.
        """
        times = [self._time_once() for _ in range(max(1, CALLS // len(self._windows)))]
        features_ms, tower_ms, core_ms = (min(column) for column in zip(*times, strict=True))
        return {"features_ms": features_ms, "tower_ms": tower_ms, "core_ms": core_ms}

    def _time_once(self) -> tuple[float, float, float]:
        work, started = time.process_time(), time.perf_counter()
        features = self._peer.features(self._windows)
        between = time.perf_counter()
        self._peer.embed(features)
        ended = time.perf_counter()
        return (between - started) * 1e3, (ended - between) * 1e3, (time.process_time() - work) * 1e3

    def hop(self) -> Answer:
        """Milliseconds for the features of a stream's next window, a hop of 2.5 s after the one before."""
        return {"hop_ms": min([self._hop_once() for _ in range(1 + CALLS)][1:])}

    def _hop_once(self) -> float:
        samples = window(self._first_sample)
        started = time.perf_counter()
        self._peer.hop_features(samples, self._first_sample)
        ended = time.perf_counter()
        self._first_sample += hop_samples(RATE_HZ)
        return (ended - started) * 1e3

    def result(self) -> Answer:
        """The embedding of the first window and the peak memory of this process."""
        embedding = self._peer.embed(self._peer.features(self._windows))[0]
        unit = embedding / np.linalg.norm(embedding)
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        return {"embedding": unit.tolist(), "peak_mb": peak_mb}


if __name__ == "__main__":
    main()
