"""How many hostile inputs a test tries: a few hundred, or more with CLAPSTREAM_HOSTILE_INPUTS=10000."""

from __future__ import annotations

import os


def inputs(usual: int) -> int:
    """The usual number, or what the environment asks for if that is more."""
    return max(usual, int(os.environ.get("CLAPSTREAM_HOSTILE_INPUTS", "0")))
