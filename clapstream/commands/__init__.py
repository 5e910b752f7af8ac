"""One module for each command: `run(options)` does the work and returns the exit code."""
