"""Every example of CLAP's documentation page runs with only the import changed, and gives what transformers gives.

The examples are those of the installed transformers' docstrings, of which the page consists. Checkpoints are
directories in place of hub ids, and a sound of the tests takes the place of a data set's.
"""

import inspect
import re
import warnings
from pathlib import Path

import pytest
import soundfile
import torch
from support.random_weights import randomise
from transformers.models.clap import configuration_clap, modeling_clap

from clapstream.clap import ClapConfig, ClapFeatureExtractor, ClapModel, ClapTokenizer

DOG = Path(__file__).parents[1] / "data" / "dog_barking.ogg"
IMPORT = {"ours": "clapstream.clap", "theirs": "transformers"}
RESULTS = ("last_hidden_state", "probs", "text_embeds", "audio_embeds", "text_features", "audio_features")


def examples() -> list[str]:
    """The code of each example of the configurations' and the models' docstrings."""
    blocks = []
    for module in (configuration_clap, modeling_clap):
        for block in re.findall(r"```python\n(.*?)```", inspect.getsource(module), re.DOTALL):
            lines = [line.strip() for line in block.splitlines()]
            blocks.append("\n".join(line[4:] for line in lines if line.startswith((">>>", "..."))))
    return blocks


def of_version_4_34(code: str) -> str:
    """The same example as version 4.34 had it: sounds were called `audios`."""
    return code.replace("audio=audio_sample", "audios=audio_sample")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Small checkpoints by the hub ids of the examples."""
    directories = {}
    for kind in ("fused", "unfused"):
        directory = tmp_path_factory.mktemp(kind)
        audio = {
            "enable_fusion": kind == "fused",
            "depths": [1, 1],
            "num_attention_heads": [1, 2],
            "patch_embeds_hidden_size": 8,
            "hidden_size": 16,
        }
        text = {"vocab_size": 9000, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        model = ClapModel(ClapConfig(text, audio, projection_dim=12))
        randomise(model)
        model.save_pretrained(directory)
        truncation = "fusion" if kind == "fused" else "rand_trunc"
        ClapFeatureExtractor(truncation=truncation, frequency_min=50).save_pretrained(directory)
        ClapTokenizer.from_pretrained("bundled").save_pretrained(directory)
        directories[f"laion/clap-htsat-{kind}"] = str(directory)
    return directories


def run(code: str, package: str, checkpoints: dict[str, str]) -> dict[str, object]:
    """What an example leaves behind."""
    code = code.replace("from transformers import", f"from {IMPORT[package]} import")
    code = re.sub(r"from datasets import .*|dataset = load_dataset\(.*", "", code)
    for name, directory in checkpoints.items():
        code = code.replace(name, directory)
    sound, _ = soundfile.read(DOG)
    names: dict[str, object] = {"dataset": {"train": {"audio": [{"array": sound}]}}}
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "no sampling_rate was given")
        exec(compile(code, "example", "exec"), names)
    return names


def test_there_are_nine_examples():
    assert len(examples()) == 9


@pytest.mark.parametrize("number", range(3))
def test_examples_of_configurations(number):
    names = run(examples()[number], "ours", {})
    assert names["model"].config is names["configuration"]
    assert names["configuration"].to_dict() == type(names["configuration"])().to_dict()


@pytest.mark.filterwarnings("ignore:At least one mel filter has all zero values")
@pytest.mark.parametrize("version", ["5", "4.34"])
@pytest.mark.parametrize("number", range(3, 9))
def test_examples_of_models(number, version, checkpoints):
    code = examples()[number]
    # transformers 5 finds no weights for a ClapAudioModel in a whole CLAP's checkpoint and leaves them random.
    whole = code.replace("ClapAudioModel\n", "ClapModel\n")
    whole = re.sub(r"ClapAudioModel(\.from_pretrained\(.*?\))", r"ClapModel\1.audio_model", whole)
    expected = run(whole, "theirs", checkpoints)
    names = run(code if version == "5" else of_version_4_34(code), "ours", checkpoints)
    compared = [name for name in RESULTS if name in names]
    assert compared
    for name in compared:
        value = expected[name]
        if not isinstance(value, torch.Tensor):  # get_*_features of version 5 return the tower's output
            value = value.pooler_output
        torch.testing.assert_close(names[name], value, rtol=1e-4, atol=1e-4)
