"""Which tokens of the audio tower's last map see which stretch of the window."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from clapstream.clap.config import ClapAudioConfig


@dataclass(frozen=True)
class SegmentGrid:
    """Which tokens of the tower's last map see which stretch of time.

    The encoder cuts the spectrogram into `freq_ratio` pieces of time and stacks them: the map's rows run through
    the frequencies of the first piece, then through those of the second, and its columns through the time within
    each piece. A segment is one column of one piece, and its state the mean over the piece's rows. A row belongs to
    the piece in which its middle lies. In a map with fewer rows than pieces a row sees several pieces, which its
    columns cannot tell apart: there a segment is a whole row.
    """

    width: int
    """Columns of the map."""

    piece_rows: tuple[tuple[int, int], ...] | None
    """First and end row of each piece; None where segments are whole rows."""

    edges: tuple[tuple[float, float], ...]
    """Where each segment begins and ends, as fractions of the window."""

    @classmethod
    def of(cls, config: ClapAudioConfig, grid: tuple[int, int], stride: tuple[int, int]) -> SegmentGrid:
        """The segments in a last map of `grid` `(height, width)` tokens, from patches `stride` pixels apart."""
        height, width = grid
        merged = 2 ** (len(config.depths) - 1)
        rows = spans_of(height, stride[0] * merged, config.spec_size)
        columns = spans_of(width, stride[1] * merged, config.spec_size)
        pieces = config.spec_size // config.num_mel_bins
        piece_height = config.spec_size // pieces
        piece_of_row = [(first + end) // 2 // piece_height for first, end in rows]
        if set(piece_of_row) != set(range(pieces)):
            seen = [(first // piece_height, -(-end // piece_height)) for first, end in rows]
            return cls(width, None, tuple((first / pieces, end / pieces) for first, end in seen))
        counts = [piece_of_row.count(piece) for piece in range(pieces)]
        piece_rows = tuple((sum(counts[:piece]), sum(counts[: piece + 1])) for piece in range(pieces))
        edges = tuple(
            ((piece + first / config.spec_size) / pieces, (piece + end / config.spec_size) / pieces)
            for piece in range(pieces)
            for first, end in columns
        )
        return cls(width, piece_rows, edges)

    def states(self, last_hidden_state: Tensor) -> Tensor:
        """The tower's `last_hidden_state` `(batch, channels, bands, time)` -> `(batch, segments, channels)`."""
        if self.piece_rows is not None and len({end - first for first, end in self.piece_rows}) == 1:
            return last_hidden_state.mean(2).transpose(1, 2)  # as the encoder lays it out
        batch, channels, bands = last_hidden_state.shape[:3]
        stacked = last_hidden_state.reshape(batch, channels, bands, -1, self.width)
        rows = stacked.transpose(2, 3).flatten(2, 3)
        if self.piece_rows is None:
            return rows.mean(3).transpose(1, 2)
        pieces = [rows[:, :, first:end].mean(2) for first, end in self.piece_rows]
        return torch.cat(pieces, dim=-1).transpose(1, 2)


def spans_of(tokens: int, size: int, length: int) -> list[tuple[int, int]]:
    """First and end pixel of each of `tokens` along an axis of `length` pixels; the last may see more or less."""
    ends = [*(token * size for token in range(1, tokens)), length]
    return list(zip([0, *ends[:-1]], ends, strict=True))
