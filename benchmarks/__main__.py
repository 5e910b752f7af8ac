"""`python -m benchmarks`: make the peers' environment and compare in it."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks.environment import make_environment, share_path
from benchmarks.settings import add_options


def main() -> int:
    """Run the comparison with the peers' interpreter and return its exit code."""
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument("--python", type=Path, help="interpreter that has the peers (default: one is made)")
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, parents=[own])
    add_options(parser)
    parser.parse_args()  # refuses what is wrong before anything is installed
    options, rest = own.parse_known_args()
    command = [str(options.python or make_environment()), "-m", "benchmarks.comparison", *rest]
    return subprocess.run(command, env=share_path(), check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
