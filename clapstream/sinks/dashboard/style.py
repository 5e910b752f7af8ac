"""The colours of the dashboard."""

from __future__ import annotations

BORDER = "grey37"
TRACK = "grey23"
"""The empty part of a bar."""
QUIET = "grey58"
"""Text that matters less."""
NAME = "grey85"
BELOW = "steel_blue"
"""The score of a label below its stop threshold."""
ABOVE = "light_sky_blue1"
ACTIVE = "orange1"
"""A label whose event is active."""
GOOD = "green3"
WARNING = "yellow3"
BAD = "red1"
