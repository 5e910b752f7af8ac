"""Standard input, output and error: present and safe to print to, even if the parent process closed them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from io import TextIOWrapper
from typing import TextIO


def prepare_standard_streams() -> None:
    """Make printing safe if a stream is closed or its encoding lacks a character.

    Streams that the parent process closed (`<&- >&-`) are opened on the null device, before another file gets their
    descriptor. Characters that the encoding lacks are printed as escapes.
    """
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(descriptor)
        except OSError:
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115 (it gets the lowest free descriptor)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def use_ascii_in_c_locale(output: TextIO, environment: Mapping[str, str] = os.environ) -> None:
    """Set the encoding of `output` to ASCII in the C or POSIX locale, for which Python assumes UTF-8."""
    locale = next(filter(None, (environment.get(name) for name in ("LC_ALL", "LC_CTYPE", "LANG"))), "")
    chosen = environment.get("PYTHONIOENCODING") or environment.get("PYTHONUTF8")
    if locale in ("C", "POSIX") and not chosen and isinstance(output, TextIOWrapper):
        output.reconfigure(encoding="ascii", errors="backslashreplace")
