"""The types of command-line arguments, and a parser whose errors never print a secret."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import NoReturn

from clapstream.urls import may_hold_credentials


class SecretSafeParser(argparse.ArgumentParser):
    """Never prints an argument that may hold a password, because terminal output ends up in logs and forums."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong with the arguments and exit with code 2."""
        if may_hold_credentials(message):
            message = (
                "an argument looks like a URL or a password (not shown, as it may be secret); "
                "configure cameras and the broker in clapstream.yaml"
            )
        super().error(message)


def not_a_url(text: str) -> str:
    """Return the text; refuse a URL, which a later message could repeat with its password."""
    if re.search(r":/|:[^/]*@", text):
        raise argparse.ArgumentTypeError(f"{text} is a URL")  # `SecretSafeParser.error` does not print this
    return text


def label_text(text: str) -> str:
    """The text of a label, which must not be empty or a URL."""
    if not text.strip():
        raise argparse.ArgumentTypeError("must not be empty")
    return not_a_url(text)


def file_path(text: str) -> Path:
    """A path; one that looks like a URL is accepted only if it exists."""
    path = Path(text)
    try:
        return path if path.exists() else Path(not_a_url(text))
    except OSError:  # the name is too long, or a folder cannot be read
        return Path(not_a_url(text))


def sound_file(name: str) -> Path:
    """The path of a file; `-` means standard input, `./-` a file of that name."""
    path = file_path(name)
    return path.absolute() if path == Path("-") and name != "-" else path
