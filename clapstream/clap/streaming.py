"""Log-mel of overlapping windows of one stream: frames that the window before had are not computed again.

A window's frames are centered on multiples of the hop. All but the outermost ones, which see the mirrored edges,
depend on the stream alone and not on where the window begins: they are the same in every window that has them.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import torch
from torch import Tensor

from clapstream.clap.features import ClapFeatureExtractor


@dataclass(frozen=True, slots=True)
class Interior:
    """The frames `(frames, mels)` of a window that do not see its edges; sample `first_center` is the first's."""

    first_center: int
    frames: Tensor


class StreamingLogMel:
    """The unfused extractor's features for whole windows of streams, as if each were computed by itself.

    A stream is identified by any object that lives as long as it does; its state is freed with that object.
    """

    def __init__(self, extractor: ClapFeatureExtractor) -> None:
        self._extractor = extractor
        self._hop = extractor.hop_length
        self._before = extractor.fft_window_size // 2
        self._after = extractor.fft_window_size - self._before
        self._kept: weakref.WeakKeyDictionary[object, Interior] = weakref.WeakKeyDictionary()
        samples = extractor.nb_max_samples
        # Frames [inside, outside) of a window see neither of its mirrored edges.
        self._inside = -(-self._before // self._hop)
        self._outside = (samples - self._after) // self._hop + 1

    def __len__(self) -> int:
        """Of how many streams something is kept."""
        return len(self._kept)

    def suits(self, window: Tensor) -> bool:
        """Whether a window `(samples,)` is a whole one, which neither padding nor cropping changes."""
        is_whole = len(window) == self._extractor.nb_max_samples
        return is_whole and self._extractor.truncation == "rand_trunc" and self._outside > self._inside

    def log_mel(self, window: Tensor, stream: object, first_sample: int) -> Tensor:
        """Log-mel in dB `(frames, mels)` of a window `(samples,)` that begins at a sample of its stream."""
        first_center = first_sample + self._inside * self._hop
        kept = self._reusable(stream, first_center)
        beginning = window[: self._inside * self._hop + self._after]
        head = self._extractor.log_mel(beginning[None])[0, : self._inside]
        tail = self._log_mel_from(window, self._inside + len(kept))
        frames = torch.cat([head, kept, tail])
        # A copy: a part of `frames` would be changed by whoever works on the window in place.
        self._kept[stream] = Interior(first_center, frames[self._inside : self._outside].clone())
        return frames

    def _reusable(self, stream: object, first_center: int) -> Tensor:
        """The kept frames from the one centered on `first_center` on; none if the grids do not meet."""
        kept = self._kept.get(stream)
        if kept is None:
            return torch.empty(0, self._extractor.feature_size)
        shift, remainder = divmod(first_center - kept.first_center, self._hop)
        is_ahead = shift >= 0 and remainder == 0
        return kept.frames[shift:] if is_ahead else kept.frames[:0]

    def _log_mel_from(self, window: Tensor, first_frame: int) -> Tensor:
        """The frames of a window from one that sees no left edge to the last, which sees the right one mirrored."""
        mirrored = window[-self._before - 1 : -1].flip(0)
        samples = torch.cat([window[first_frame * self._hop - self._before :], mirrored])
        return self._extractor.log_mel(samples[None], centered=False)[0]
