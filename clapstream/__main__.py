"""`python -m clapstream`."""

import sys

from clapstream.cli import main

sys.exit(main())
