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
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--python", type=Path, help="interpreter that has the peers (default: one is made)")
    add_options(parser)
    options = parser.parse_args()
    python = options.python or make_environment()
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith("--python")]
    if options.python is not None and "--python" in sys.argv:
        arguments.remove(str(options.python))
    command = [str(python), "-m", "benchmarks.comparison", *arguments]
    return subprocess.run(command, env=share_path(), check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
