"""Fit slope and offset of the daemon's scores on mixtures of clips that training never heard.

The daemon scores a label by its evidence, how far it beats the background prompts. Here the evidence of every
label of config/labels.yaml is compared with the truth of composed windows: the slope is that of a logistic
regression, the offset puts the default start threshold where precision weighs twice as much as recall.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from clapstream.clap.model import ClapModel
from clapstream.config import load_settings
from clapstream.detection.labels import EmbeddingCache, embed_label_set
from clapstream.detection.scorer import Calibration, Scorer
from training.bank import build
from training.evaluate import embed_sounds, embed_texts
from training.paths import CACHE
from training.scenes import COMPANIONS, LABELS

START = 0.6
SHARDS = 2
MORE_LABELS = {
    "alarm_clock": "alarm clock",
    "cough": "cough",
    "microwave_oven_beep": "appliance beep",
    "music": "music",
    "speech": "speech",
    "street_music": "music",
    "piano": "music",
    "guitar": "music",
    "drums": "music",
    "singing": "music",
    "car_alarm": "car alarm",
    "fireworks": "gunshot or explosion",
    "rooster": "birds",
    "crow": "birds",
    "seagull": "birds",
    "children_playing": "shouting",
}
"""Labels of the data that count as one of config/labels.yaml beside those that the scenes use."""


def evidence_and_truth(folder: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Evidence `(windows, labels)` and truth: 1 heard, 0 not, NaN where it could be argued either way."""
    build(SHARDS, 0, held_out_only=True)
    model = ClapModel.from_pretrained(folder).eval()
    settings = load_settings(None).labels
    embeddings = embed_label_set(
        settings, EmbeddingCache(None, ""), lambda texts: embed_texts(model, folder, list(texts))
    )
    scale = float(model.logit_scale_a.detach().exp())
    scorer = Scorer(embeddings.prompts, embeddings.background, scale, Calibration())
    names = [label.name for label in settings.labels]
    known = LABELS | MORE_LABELS
    evidence, truth = [], []
    for shard in sorted((CACHE / "bank_held_out").iterdir()):
        scores = scorer.score(embed_sounds(model, np.load(shard / "mel.npy"))).astype(np.float64)
        evidence.append(np.log(scores.clip(1e-12)) - np.log((1 - scores).clip(1e-12)))
        truth += [_truth(window, names, known) for window in json.loads((shard / "events.json").read_text())]
    return np.concatenate(evidence), np.array(truth)


def _truth(
    events: list[tuple[str, float, float, float]], names: list[str], known: dict[str, str]
) -> NDArray[np.float64]:
    """What one window's events say of each label."""
    row = np.zeros(len(names))
    for label, *_ in events:
        for companion in COMPANIONS.get(known.get(label, ""), ()):
            if companion in names and row[names.index(companion)] == 0:
                row[names.index(companion)] = np.nan
    for label, first, last, level in sorted(events, key=lambda event: event[3]):
        if label in known and known[label] in names:
            clear = level >= -26 and last - first > 0.3
            row[names.index(known[label])] = 1 if clear else np.nan
    return row


def fit(evidence: NDArray[np.float64], truth: NDArray[np.float64]) -> Calibration:
    """Slope by logistic regression, offset by the best F0.5 at the start threshold."""
    certain = ~np.isnan(truth)
    values, heard = evidence[certain], truth[certain]
    slope, offset = 1.0, 0.0
    for _ in range(100):  # Newton's method in small steps, with a little doubt so that the slope stays finite
        probability = expit(slope * values + offset)
        weight = probability * (1 - probability) + 1e-9
        error = heard - probability
        gradient = np.array([(error * values).sum() - slope, error.sum() - 0.1 * offset])
        curvature = np.array(
            [[(weight * values**2).sum(), (weight * values).sum()], [(weight * values).sum(), weight.sum()]]
        )
        step = np.linalg.solve(curvature + np.diag([1.0, 0.1]), gradient).clip(-0.5, 0.5)
        slope, offset = slope + step[0], offset + step[1]
    order = np.argsort(-values)
    hits = np.cumsum(heard[order])
    precision, recall = hits / np.arange(1, len(hits) + 1), hits / heard.sum()
    best = int(np.argmax(1.25 * precision * recall / (0.25 * precision + recall + 1e-9)))
    threshold = float(values[order][best])
    print(
        f"calibration: {len(evidence)} windows, {int(heard.sum())} label hits; start threshold at evidence "
        f"{threshold:.2f}: precision {precision[best]:.3f}, recall {recall[best]:.3f}, "
        f"false label-windows {(1 - precision[best]) * (best + 1) / (len(heard) - heard.sum()):.4f}"
    )
    return Calibration(slope=float(slope), offset=float(np.log(START / (1 - START)) - slope * threshold))


def calibrate(folder: Path) -> None:
    """Write `calibration.json` of the checkpoint in `folder`."""
    found = fit(*evidence_and_truth(folder))
    values = {"slope": round(found.slope, 4), "offset": round(found.offset, 4)}
    (folder / "calibration.json").write_text(json.dumps(values) + "\n", encoding="utf-8")
