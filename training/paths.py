"""Where training reads and writes, and the numbers of a window.

`TRAINING_DATA`, `TRAINING_CACHE`, `TRAINING_PHRASES` and `TRAINING_WORDNET` in the environment name other folders.
"""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data"
PHRASES = ROOT / "training" / "phrases"
BUNDLED = ROOT / "clapstream" / "clap" / "bundled"
RATE_HZ = 48_000
WINDOW_SECONDS = 10
WINDOW_SAMPLES = WINDOW_SECONDS * RATE_HZ


def data() -> Path:
    """The labelled sounds: a folder of files and a CSV for each name, see `recordings.read_table`."""
    return Path(os.environ.get("TRAINING_DATA", DATA))


def cache() -> Path:
    """Everything between the sounds and the checkpoint."""
    return Path(os.environ.get("TRAINING_CACHE", ROOT / "training" / "cache"))


def phrases() -> Path:
    """Texts for the classes and labels."""
    return Path(os.environ.get("TRAINING_PHRASES", PHRASES))


def wordnet() -> Path:
    """WordNet's database, where Debian's package `wordnet-base` puts it."""
    return Path(os.environ.get("TRAINING_WORDNET", "/usr/share/wordnet"))


def audio_state() -> Path:
    """All that is needed to continue training the audio tower, see `audio_tower.Training`."""
    return cache() / "audio.pt"


def text_folder() -> Path:
    """The tokenizer and the weights of the text tower."""
    return cache() / "text"


def aligned_text() -> Path:
    """Text tower and projection as `align` left them, or as `resume` read them from a checkpoint."""
    return text_folder() / "aligned.safetensors"
