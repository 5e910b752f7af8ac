"""CLAP (Wu et al. 2023) with the names of Hugging Face's documentation, and without transformers.

A name's module is imported when the name is first used, so that `clapstream.clap.hub` and its errors need no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clapstream.clap.audio import ClapAudioModel, ClapAudioModelWithProjection
    from clapstream.clap.auto import AutoConfig, AutoFeatureExtractor, AutoModel, AutoProcessor, AutoTokenizer
    from clapstream.clap.batch import BatchFeature
    from clapstream.clap.collapse import collapsed_pairs
    from clapstream.clap.config import ClapAudioConfig, ClapConfig, ClapTextConfig
    from clapstream.clap.features import ClapFeatureExtractor
    from clapstream.clap.hub import CheckpointError
    from clapstream.clap.laion import from_laion
    from clapstream.clap.model import ClapModel
    from clapstream.clap.processor import ClapProcessor
    from clapstream.clap.text import ClapTextModel, ClapTextModelWithProjection
    from clapstream.clap.tokenizer import ClapTokenizer

__all__ = [
    "AutoConfig",
    "AutoFeatureExtractor",
    "AutoModel",
    "AutoProcessor",
    "AutoTokenizer",
    "BatchFeature",
    "CheckpointError",
    "ClapAudioConfig",
    "ClapAudioModel",
    "ClapAudioModelWithProjection",
    "ClapConfig",
    "ClapFeatureExtractor",
    "ClapModel",
    "ClapProcessor",
    "ClapTextConfig",
    "ClapTextModel",
    "ClapTextModelWithProjection",
    "ClapTokenizer",
    "collapsed_pairs",
    "from_laion",
]

MODULES = {
    "AutoConfig": "auto",
    "AutoFeatureExtractor": "auto",
    "AutoModel": "auto",
    "AutoProcessor": "auto",
    "AutoTokenizer": "auto",
    "BatchFeature": "batch",
    "CheckpointError": "hub",
    "ClapAudioConfig": "config",
    "ClapAudioModel": "audio",
    "ClapAudioModelWithProjection": "audio",
    "ClapConfig": "config",
    "ClapFeatureExtractor": "features",
    "ClapModel": "model",
    "ClapProcessor": "processor",
    "ClapTextConfig": "config",
    "ClapTextModel": "text",
    "ClapTextModelWithProjection": "text",
    "ClapTokenizer": "tokenizer",
    "collapsed_pairs": "collapse",
    "from_laion": "laion",
}


def __getattr__(name: str) -> Any:
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
