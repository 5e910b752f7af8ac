"""Side by side: every way to run CLAP today, in one interleaved run. Start with `python -m benchmarks`."""
