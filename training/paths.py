"""Where training reads and writes."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data"
CACHE = ROOT / "training" / "cache"
AUDIO_STATE = CACHE / "audio.pt"
"""All that going on with the audio tower needs, see `audio_tower.Training`."""
ALIGNED_TEXT = CACHE / "text" / "aligned.safetensors"
"""Text tower and projection as `align` left them, or as `take-up` found them."""
PHRASES = ROOT / "training" / "phrases"
BUNDLED = ROOT / "clapstream" / "clap" / "bundled"
SECONDS = 10
RATE_HZ = 48_000
FRAMES = SECONDS * RATE_HZ
