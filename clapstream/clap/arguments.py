"""Checks of arguments, and warnings that point at the caller's line."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Collection, Iterable, Mapping
from numbers import Integral, Real

PACKAGE = __name__.rpartition(".")[0]


def require_one_of(name: str, value: object, choices: tuple[object, ...]) -> None:
    """Raise ValueError naming the argument and its choices."""
    if not any(value is choice or (isinstance(value, str) and value == choice) for choice in choices):
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}")


def require_count(name: str, value: object, least: int = 1) -> int:
    """A whole number of at least `least`; TypeError or ValueError naming the argument for anything else."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number, not {value!r} ({type(value).__name__})")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, not {value}")
    return int(value)


def count_or(name: str, value: object, default: int) -> int:
    """As `require_count`, or the default for None."""
    return default if value is None else require_count(name, value)


def round_up(length: int, pad_to_multiple_of: int | None) -> int:
    """The length, or the next multiple of `pad_to_multiple_of`, which must be a positive whole number or None."""
    multiple = count_or("pad_to_multiple_of", pad_to_multiple_of, 1)
    return -(-length // multiple) * multiple


def require_number(name: str, value: object, least: float) -> None:
    """Raise TypeError or ValueError naming an argument that is not a finite number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, not {value!r} ({type(value).__name__})")
    if not least <= float(value) < float("inf"):
        raise ValueError(f"{name} must be at least {least}, not {value}")


def refuse_by_name(
    arguments: Mapping[str, object], reasons: Mapping[str, str], error: type[Exception] = TypeError
) -> None:
    """Raise an error for the first argument that is set and has a reason to be refused."""
    for name, reason in reasons.items():
        value = arguments.get(name)
        if value is not None and value is not False and value != () and value != [] and value != {}:
            raise error(f"{name}={value!r}: {reason}")


def refuse_unknown(names: Iterable[str], known: Collection[str]) -> None:
    """Raise TypeError naming the arguments that are not among the known ones."""
    unknown = [name for name in names if name not in known]
    if unknown:
        raise TypeError(f"unknown argument: {', '.join(unknown)}")


def warn(message: str) -> None:
    """Warn at the line outside this package that led here."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)
