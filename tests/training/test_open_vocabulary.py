"""The paraphrase figure, with an embedder that understands words by a small thesaurus."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from clapstream.evaluation.clips import LabelledClip
from training.open_vocabulary import Floats, measure, render
from training.phrase_files import display_names, read_paraphrases

MEANINGS = {"dog barking": 0, "puppy yapping": 0, "rain": 1, "a dog in the rain": 1}


class LevelEmbedder:
    """Hears a dog in loud clips and rain in soft ones."""

    def embed_audio(self, clips: Sequence[Floats]) -> Floats:
        return np.eye(2, dtype=np.float32)[[int(np.abs(clip).max() < 0.5) for clip in clips]]

    def embed_texts(self, texts: Sequence[str]) -> Floats:
        meanings = [max((name for name in MEANINGS if name in text), key=len) for text in texts]
        return np.eye(2, dtype=np.float32)[[MEANINGS[name] for name in meanings]]


def test_the_paraphrase_takes_its_labels_place(tmp_path: Path) -> None:
    clips = []
    for number, (label, level) in enumerate(
        [("dog", 0.8), ("dog", 0.8), ("dog", 0.2), ("rain", 0.2), ("cow", 0.2)]
    ):
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, np.full(4800, level), 48_000)
        clips.append(LabelledClip(path, label))
    paraphrases = [("puppy yapping", "dog"), ("a dog in the rain", "dog"), ("rain", "rain")]
    names = {"dog": "dog barking", "rain": "rain"}
    good, misleading, rain = measure(paraphrases, names, clips, LevelEmbedder())
    assert (good.clips, good.first, good.by_name) == (3, 2, 2)
    assert (misleading.clips, misleading.first) == (3, 0)  # a draw with the rival is no first place
    assert (rain.clips, rain.first) == (1, 1)
    assert "clips whose paraphrase is first:      42.9%" in render([good, misleading, rain])


def test_every_paraphrase_has_a_written_out_label() -> None:
    names = display_names()
    assert all(label in names for _, label in read_paraphrases())
