"""Embeddings into events, without torch, threads or clocks.

`detector` is one stream of one source: `scorer` turns embeddings into scores, `events` scores into events, and
`gate` tells by `band_levels` which windows need no embedding. `rules` reads thresholds from the settings.
"""
