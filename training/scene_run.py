"""Runs scenes through the daemon's own detection: windows, model, scores, events."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from clapstream.audio.block import RATE_HZ, Block
from clapstream.audio.windower import Windower
from clapstream.config import Settings, load_settings
from clapstream.daemon import event_rules
from clapstream.detection.detector import Detector
from clapstream.detection.events import EventTracker
from training.event_figures import EventFigures, compare
from training.scenes import Scene, SceneEvent


def measure(scenes: Iterable[Scene], checkpoint: str, config: Path | None = None) -> EventFigures:
    """Run scenes through windows, model, scores and events as the daemon does, and compare with the truth."""
    settings = load_settings(config)
    model = settings.model.model_copy(update={"checkpoint": checkpoint})
    with torch.inference_mode():
        detector = Detector(model, settings.labels, settings.cache_directory)
        results = [(scene, detect(scene, detector, settings)) for scene in scenes]
    return compare(results)


def detect(scene: Scene, detector: Detector, settings: Settings) -> list[SceneEvent]:
    """The events that the daemon would report for a scene."""
    window_frames = round(settings.window.seconds * RATE_HZ)
    windower = Windower(window_frames, round(settings.window.hop_seconds * RATE_HZ))
    tracker = EventTracker(event_rules(settings.labels))
    transitions = []
    for window in windower.push(Block(0, scene.samples)):
        scores = detector.score([window.samples])[0]
        transitions += tracker.update(window.first_frame, window.end_frame, scores.tolist())
    transitions += tracker.finish()
    return [
        SceneEvent(ended.label.name, ended.start_frame / RATE_HZ, ended.end_frame / RATE_HZ)
        for ended in transitions
        if ended.end_frame is not None
    ]
