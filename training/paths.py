"""Where training reads and writes."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data"
CACHE = ROOT / "training" / "cache"
TAKEN_UP = CACHE / "taken_up.safetensors"
"""The audio side of the checkpoint that `take-up` put into the cache, if it did."""
PHRASES = ROOT / "training" / "phrases"
BUNDLED = ROOT / "clapstream" / "clap" / "bundled"
SECONDS = 10
RATE_HZ = 48_000
FRAMES = SECONDS * RATE_HZ
