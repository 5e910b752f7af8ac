"""What a source delivers: blocks of sound, and that its stream was opened or lost."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 48_000
"""Every source delivers mono sound at this rate: the one CLAP was trained with."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """A stretch of one stream.

    `first_sample` counts samples at `RATE_HZ` from the stream's start; a jump against the end of the block before
    is a hole (samples were dropped). `samples` is float32 `(samples,)`, full scale is 1.0.
    """

    first_sample: int
    samples: NDArray[np.float32]

    @property
    def end_sample(self) -> int:
        """Index of the sample after the last one."""
        return self.first_sample + len(self.samples)


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """A stream started: sample 0 was heard at `started` (UTC). Sample indices restart at 0."""

    started: datetime


@dataclass(frozen=True, slots=True)
class StreamLost:
    """The stream was lost; the source keeps trying and reports `StreamOpened` when it is back."""

    reason: str


SourceItem = Block | StreamOpened | StreamLost
