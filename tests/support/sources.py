"""The sources that tests name."""

from __future__ import annotations

from clapstream.updates import SourceInfo

KITCHEN = SourceInfo.of("kitchen")
YARD = SourceInfo.of("yard")
HALL = SourceInfo.of("hall")
