"""Every setting there is, as a line of YAML."""

from __future__ import annotations

from clapstream.config.label_settings import LABEL_SECTIONS
from clapstream.config.settings import SECTIONS

PLACES = [(section, key) for section, model in SECTIONS.items() for key in [*model.model_fields, "unknown"]]
"""Keys of clapstream.yaml by their section."""
LABEL_PLACES = [(section, key) for section, model in LABEL_SECTIONS.items() for key in model.model_fields]


def yaml_line(section: str, key: str, value: str) -> str:
    """A file of one line, in which a key of a section has a value, written as YAML."""
    entry = f"{key}: {value}"
    listed, _, kind = section.partition(".")
    if section == "labels" or listed == "sources":
        others = {"name": "a", "type": kind} if listed == "sources" else {"name": "a"}
        keys = [f"{name}: {text}" for name, text in others.items() if name != key]
        return f"{listed}: [{{{', '.join([*keys, entry])}}}]"
    for part in reversed(section.split(".") if section else []):
        entry = f"{part}: {{{entry}}}"
    return entry
