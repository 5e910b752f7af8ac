"""A process that loads a checkpoint and scores one window, then prints its peak memory in MB."""

from __future__ import annotations

import argparse
import logging
import resource
import sys
from pathlib import Path

from clapstream.process.imports import fast_imports
from clapstream.process.threads import set_openmp_defaults


def main() -> None:
    """Score with `clapstream` or with `transformers`, which embeds no labels at all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("clapstream", "transformers"))
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("cache", type=Path, help="directory of label embeddings")
    parser.add_argument("sound", type=Path, help="a window, as numpy keeps it")
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # labels hardly differ for random weights
    (clapstream if options.what == "clapstream" else transformers)(options.checkpoint, options.cache, options.sound)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, flush=True)
    sys.stdout.close()


def clapstream(checkpoint: Path, cache: Path, sound: Path) -> None:
    """As the daemon does: labels of the packaged configuration, their embeddings from the cache if it has them."""
    set_openmp_defaults()
    with fast_imports():
        import numpy as np

        from benchmarks.model import Model
        from clapstream.config import ModelSettings, load_settings

    model = Model(ModelSettings(checkpoint=str(checkpoint)), load_settings(None).labels, cache)
    model.score([np.load(sound)])


def transformers(checkpoint: Path, cache: Path, sound: Path) -> None:
    """Import, load the same checkpoint, and embed a window."""
    import numpy as np
    import torch
    from transformers import ClapFeatureExtractor, ClapModel

    model = ClapModel.from_pretrained(checkpoint).eval()
    extractor = ClapFeatureExtractor.from_pretrained(checkpoint)
    features = extractor(np.load(sound), sampling_rate=48_000, return_tensors="pt")["input_features"].float()
    with torch.inference_mode():
        model.get_audio_features(input_features=features)


if __name__ == "__main__":
    main()
