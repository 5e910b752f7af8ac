"""Measurements as a table and as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.measurements import Measured, Start, cosine, reference_of, times_faster

HEADER = ("peer", "batch", "features", "tower", "total", "tower x", "total x", "core", "core x", "cosine", "MB")


def comparison_table(measured: Sequence[Measured]) -> str:
    """One Markdown table for each checkpoint: medians in ms, and how many times faster than transformers fp32.

    "core" is the work of all cores together, from sound to embedding.
    """
    parts = []
    for checkpoint in dict.fromkeys(row.checkpoint for row in measured):
        rows = [comparison_row(row, measured) for row in measured if row.checkpoint == checkpoint]
        parts.append(f"### {checkpoint}\n\n{table(HEADER, rows)}")
    return "\n".join(parts)


def comparison_row(row: Measured, among: Sequence[Measured]) -> list[str]:
    """The cells of one peer; those that need the reference are empty if it was left out."""
    reference = reference_of(row, among)
    total = median(row.total_ms)
    cells = [row.peer, str(row.batch), f"{median(row.features_ms):.1f}", f"{median(row.tower_ms):.1f}"]
    core = f"{median(row.core_ms):.1f}"
    if reference is None:
        return [*cells, f"{total:.1f}", "", "", core, "", "", f"{row.peak_mb:.0f}"]
    ratios = [
        f"{times_faster(getattr(reference, times), getattr(row, times)):.2f}"
        for times in ("tower_ms", "total_ms", "core_ms")
    ]
    alike = f"{cosine(reference.embedding, row.embedding):.5f}"
    return [*cells, f"{total:.1f}", *ratios[:2], core, ratios[2], alike, f"{row.peak_mb:.0f}"]


def hop_table(measured: Sequence[Measured]) -> str:
    """Features for one new hop of 2.5 s in a window of 10 s."""
    rows = []
    for row in measured:
        reference = reference_of(row, measured)
        if row.hop_ms and reference is not None:
            faster = times_faster(reference.hop_ms, row.hop_ms)
            rows.append([row.checkpoint, row.peer, f"{median(row.hop_ms):.2f}", f"{faster:.1f}"])
    return table(("checkpoint", "peer", "ms", "times faster"), rows)


def start_table(starts: Sequence[Start]) -> str:
    """From the start of the process to the first score."""
    rows = []
    for start in starts:
        reference = next(other for other in starts if other.checkpoint == start.checkpoint)
        faster = times_faster(reference.seconds, start.seconds)
        cells = [start.checkpoint, start.what, f"{median(start.seconds):.2f}", f"{faster:.1f}"]
        rows.append([*cells, f"{start.peak_mb:.0f}"])
    return table(("checkpoint", "what", "s", "times faster", "peak MB"), rows)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown whose columns line up as plain text too."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([line(header), rule, *map(line, rows)]) + "\n"


def draw(measured: Sequence[Measured], path: Path, title: str) -> None:
    """A PNG: for each checkpoint and batch size, a bar of features and tower for each peer."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    groups = list(dict.fromkeys((row.checkpoint, row.batch) for row in measured))
    columns = len({batch for _, batch in groups})
    lines = math.ceil(len(groups) / columns)
    figure, axes = pyplot.subplots(lines, columns, figsize=(6 * columns, 3 * lines), squeeze=False)
    for axis, group in zip(axes.flat, groups, strict=False):
        rows = [row for row in measured if (row.checkpoint, row.batch) == group][::-1]
        names = [row.peer for row in rows]
        features = [median(row.features_ms) for row in rows]
        axis.barh(names, features, color="#b9b2a3", label="features")
        tower = [median(row.tower_ms) for row in rows]
        colours = ["#0b6e4f" if name.startswith("clapstream") else "#7a8b99" for name in names]
        axis.barh(names, tower, left=features, color=colours, label="tower")
        for place, row in enumerate(rows):
            end = features[place] + tower[place]
            axis.text(end, place, f" {median(row.total_ms):.0f}", va="center", fontsize=8)
        axis.set_title(f"{group[0]}, batch {group[1]}", fontsize=10)
        axis.set_xlabel("ms from sound to embedding (light: features)")
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
