"""clapstream listens to a home and tells what it hears."""

__version__ = "0.1.0"
