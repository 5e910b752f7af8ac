"""Prints how well a checkpoint detects events: in scenes with known events, and in backgrounds alone."""

from __future__ import annotations

from pathlib import Path

from training.event_figures import compare, render, render_false_events
from training.scene import ALONE, BACKGROUNDS
from training.scene_listener import SceneListener
from training.scenes import make_backgrounds, make_scenes


def report(
    checkpoint: str, config: Path | None, events_from: str, scenes: int, minutes: int, first: int | None = None
) -> str:
    """The figures of so many scenes and of `minutes` of backgrounds alone.

    Events are taken from the folder `events_from`. With `first` the minutes begin at that number and have only the
    kinds of background that calibration uses.
    """
    listener = SceneListener(checkpoint, config)
    in_scenes = compare(
        [(scene, listener.detect(scene)) for scene in make_scenes(count=scenes, events_from=events_from)]
    )
    start, kinds = (0, ALONE) if first is None else (first, BACKGROUNDS)
    backgrounds = make_backgrounds(minutes=minutes, first=start, kinds=kinds)
    alone = compare([(scene, listener.detect(scene)) for scene in backgrounds])
    return f"{render(in_scenes)}\n\nbackgrounds alone\n{render_false_events(alone)}"
