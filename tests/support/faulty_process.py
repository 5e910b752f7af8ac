"""`clapstream` as a user starts it, except that its model fails as the test writes into a file.

`hang` never returns from a batch, `crash` raises, `slow SECONDS` takes at least that long.
An empty file is no fault.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clapstream.audio.position import StreamPosition
from clapstream.cli import main
from clapstream.daemon import build
from clapstream.inference.engine import Embeddings
from clapstream.inference.torch_engine import TorchEngine

FAULT_VARIABLE = "CLAPSTREAM_FAULT"


class FaultyEngine(TorchEngine):
    """The real engine with the fault that the file asks for."""

    def embed(
        self, windows: Sequence[NDArray[np.float32]], positions: Sequence[StreamPosition] | None = None
    ) -> Embeddings:
        """Embed as the real one does, after the fault."""
        fault, _, seconds = Path(os.environ[FAULT_VARIABLE]).read_text(encoding="utf-8").partition(" ")
        if fault == "hang":
            time.sleep(3600.0)
        if fault == "crash":
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        if fault == "slow":
            time.sleep(float(seconds))
        return super().embed(windows, positions)


if __name__ == "__main__":
    build.TorchEngine = FaultyEngine  # type: ignore[attr-defined]
    sys.exit(main())
