"""The checkpoint in the wheel: complete, small enough, loads in transformers and says the same there."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from clapstream.clap import ClapModel, ClapProcessor

FOLDER = Path(__file__).parents[2] / "clapstream" / "clap" / "bundled"
MOST_BYTES = 38_000_000
TEXTS = ["This is a sound of a dog barking.", "a doorbell", "zzyzx!?"]


@pytest.fixture(scope="module")
def inputs() -> dict[str, torch.Tensor]:
    """Three texts, and two sounds of which one is repeat-padded."""
    processor = ClapProcessor.from_pretrained(FOLDER)
    noise = np.random.default_rng(0).normal(0, 0.1, 480_000).astype(np.float32)
    batch = processor(
        text=TEXTS, audio=[noise, noise[:100_000]], sampling_rate=48_000, return_tensors="pt", padding=True
    )
    return {name: batch[name] for name in ("input_ids", "attention_mask", "input_features", "is_longer")}


def test_the_directory_is_complete_and_small() -> None:
    names = {path.name for path in FOLDER.iterdir()}
    assert {"README.md", "config.json", "preprocessor_config.json", "tokenizer.json", "calibration.json"} <= names
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < MOST_BYTES
    assert json.loads((FOLDER / "calibration.json").read_text())["slope"] > 0


def test_transformers_loads_it_and_agrees(inputs: dict[str, torch.Tensor]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformers warns about itself while it is imported
        from transformers import ClapModel as ReferenceModel

        reference, report = ReferenceModel.from_pretrained(FOLDER, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    own = ClapModel.from_pretrained(FOLDER).eval()
    with torch.inference_mode():
        expected, found = reference.eval()(**inputs), own(**inputs)
    torch.testing.assert_close(found.audio_embeds, expected.audio_embeds, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.text_embeds, expected.text_embeds, atol=1e-5, rtol=0)


def test_the_tokenizer_reads_the_same_in_transformers(inputs: dict[str, torch.Tensor]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers import AutoTokenizer

        reference = AutoTokenizer.from_pretrained(FOLDER)
    assert reference(TEXTS, padding=True)["input_ids"] == inputs["input_ids"].tolist()
    assert reference.unk_token_id not in inputs["input_ids"]  # any ASCII word has pieces


def test_paraphrases_lie_near_their_sound() -> None:
    model, processor = ClapModel.from_pretrained(FOLDER).eval(), ClapProcessor.from_pretrained(FOLDER)
    batch = processor(
        text=["a dog barking", "a puppy barks loudly", "rain falling", "rainy weather"],
        return_tensors="pt",
        padding=True,
    )
    with torch.inference_mode():
        dog, puppy, rain, rainy = model.get_text_features(batch["input_ids"], batch["attention_mask"])
    assert dog @ puppy > dog @ rain + 0.2
    assert rain @ rainy > rain @ puppy + 0.2
