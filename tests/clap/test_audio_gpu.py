"""Features and tower on a GPU give what they give on the CPU."""

import pytest
import torch
from support.audio_towers import GEOMETRIES, pair_of_models, spectrograms

from clapstream.clap.features import ClapFeatureExtractor

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def test_features():
    extract = ClapFeatureExtractor(truncation="rand_trunc")
    sounds = torch.randn(3, 480_000, generator=torch.Generator().manual_seed(0)) * 0.1
    expected = extract(sounds, return_tensors="pt").input_features
    found = extract(sounds, return_tensors="pt", device="cuda").input_features
    assert found.is_cuda
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["three stages", "padded windows", "fused"])
@pytest.mark.parametrize("prepared", [False, True])
def test_tower(name, dtype, prepared):
    config, frames = GEOMETRIES[name]
    _, model = pair_of_models(config)
    inputs = spectrograms(config, frames)
    with torch.inference_mode():
        expected = model(**inputs).pooler_output
        model.to("cuda", dtype)
        if prepared:
            model.prepare_for_inference()
        found = model(**{name: value.cuda() for name, value in inputs.items()}).pooler_output
    assert found.dtype == dtype
    assert torch.nn.functional.cosine_similarity(found.float().cpu(), expected).min() > 0.999
