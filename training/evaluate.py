"""Figures on the validation list, and on the recordings of open/ that training left out, beside the teacher's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from clapstream.clap.model import ClapModel
from training.compose import Window
from training.features import log_mel
from training.paths import CACHE, FRAMES
from training.prepare import Clips
from training.text_tower import pad
from training.texts import label_classes, label_phrases
from training.yamnet import Yamnet, class_names

STREET = {
    "fan_air_conditioner": "air conditioner",
    "car_horn": "car horn",
    "shouting_screaming": "children playing",
    "dog_barking": "dog bark",
    "drill": "drilling",
    "car_engine": "engine idling",
    "gunshot": "gun shot",
    "hammering": "jackhammer",
    "siren": "siren",
    "music": "street music",
}
"""Ten street sounds, asked for in the words of a public benchmark, and the nearest labels there are here."""
EVERYDAY = {
    "dog_barking": "dog",
    "rooster": "rooster",
    "rain": "rain",
    "sea_waves": "sea waves",
    "fire_crackling": "crackling fire",
    "crying_baby": "crying baby",
    "sneeze": "sneezing",
    "clock_ticking": "clock tick",
    "helicopter": "helicopter",
    "chainsaw": "chainsaw",
}
"""The same for ten everyday sounds."""


@dataclass(frozen=True, slots=True)
class Set:
    """Recordings to judge: features, the teacher's mean probabilities, true labels."""

    mels: NDArray[np.float16]
    teacher: NDArray[np.float32]
    labels: list[str]


def load(name: str) -> Set:
    """Features of `validation`, or of what was held out of `open`; computed once."""
    path = CACHE / f"evaluation_{name}.npz"
    clips = Clips(name)
    chosen = clips.clips if name == "validation" else clips.spared()
    if not path.exists():
        teacher, mels, heard = Yamnet(), [], []
        for clip in chosen:
            samples = clips.samples(clip)[:FRAMES]
            mels.append(log_mel(Window(samples).padded()).astype(np.float16))
            heard.append((1 / (1 + np.exp(-teacher(samples).logits.clip(-30, 30)))).mean(0))
        np.savez(path, mels=np.stack(mels), teacher=np.stack(heard))
    stored = np.load(path)
    return Set(stored["mels"], stored["teacher"], [clip.label for clip in chosen])


def embed_sounds(model: ClapModel, mels: NDArray[np.float16]) -> NDArray[np.float32]:
    """Unit embeddings of features `(windows, 1001, 64)`."""
    parts = []
    with torch.inference_mode():
        for first in range(0, len(mels), 32):
            part = torch.from_numpy(mels[first : first + 32].astype(np.float32))[:, None]
            parts.append(model.get_audio_features(part).numpy())
    return np.concatenate(parts)


def embed_texts(model: ClapModel, folder: Path, texts: list[str]) -> NDArray[np.float32]:
    """Unit embeddings of texts."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids, mask = pad([encoding.ids for encoding in tokenizer.encode_batch(texts)], padding=1)
    with torch.inference_mode():
        return model.get_text_features(ids, mask.long()).numpy()


def top1(scores: NDArray[np.float32], truth: NDArray[np.int64]) -> tuple[float, float]:
    """Share of rows whose highest score is the true one, over all rows and averaged over the labels."""
    right = scores.argmax(1) == truth
    return float(right.mean()), float(np.mean([right[truth == label].mean() for label in np.unique(truth)]))


def mean_average_precision(scores: NDArray[np.float32], truth: NDArray[np.int64]) -> float:
    """Average precision of each label's ranking of the rows, averaged over the labels."""
    found = []
    for label in np.unique(truth):
        hits = (truth == label)[np.argsort(-scores[:, label], kind="stable")]
        found.append(float((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean()))
    return float(np.mean(found))


def judge(sounds: Set, embedded: NDArray[np.float32], model: ClapModel, folder: Path, names: dict[str, str]) -> str:
    """A line of figures for the recordings whose label is in `names` (label to the words it is asked for).

    `embedded` `(recordings, dim)` are the unit embeddings of all of them.
    """
    labels = [label for label in names if label in set(sounds.labels)]
    rows = [row for row, label in enumerate(sounds.labels) if label in labels]
    truth = np.array([labels.index(sounds.labels[row]) for row in rows])
    texts = embed_texts(model, folder, [f"This is a sound of {names[label]}." for label in labels])
    own = embedded[rows] @ texts.T
    index = {name: number for number, name in enumerate(class_names())}
    teacher = np.zeros_like(own)
    for column, label in enumerate(labels):
        if label_classes()[label]:
            teacher[:, column] = sounds.teacher[rows, index[label_classes()[label][0]]]
    shown = []
    for who, scores in (("clapstream", own), ("YAMNet", teacher)):
        overall, balanced = top1(scores, truth)
        shown.append(
            f"{who} top-1 {overall:.3f} balanced {balanced:.3f} mAP {mean_average_precision(scores, truth):.3f}"
        )
    return f"{len(rows)} clips, {len(labels)} labels: " + "; ".join(shown)


def report(folder: Path) -> str:
    """All figures for the checkpoint in `folder`."""
    model = ClapModel.from_pretrained(folder).prepare_for_inference()
    everything = {label: phrases[0] for label, phrases in label_phrases().items()}
    lines = []
    for name, shown in (("validation", "validation"), ("open", "open, held out")):
        sounds = load(name)
        embedded = embed_sounds(model, sounds.mels)
        for which, names in (("", everything), (", street", STREET), (", everyday", EVERYDAY)):
            lines.append(f"{shown}{which}: {judge(sounds, embedded, model, folder, names)}")
    return "\n".join(lines)
