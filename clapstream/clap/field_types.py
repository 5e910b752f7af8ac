"""Checks a configuration's values against the types of its fields."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from typing import Any, Union, get_args, get_origin


def matches(value: object, hint: Any) -> bool:
    """Whether a value is of a field's type: an int passes for a float, a bool never for a number."""
    if get_origin(hint) in (Union, types.UnionType):
        return any(matches(value, option) for option in get_args(hint))
    if get_origin(hint) is Callable:
        return callable(value)
    if get_origin(hint) is list:
        return isinstance(value, list) and all(matches(item, get_args(hint)[0]) for item in value)
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, (int, float) if hint is float else hint)


def describe(hint: Any) -> str:
    """A field's type as a person would write it."""
    if isinstance(hint, type) and get_origin(hint) is None:
        return hint.__name__
    return str(hint).replace("None", "null").replace("collections.abc.Callable[..., typing.Any]", "a function")


def refuse_functions(values: Mapping[str, Any]) -> None:
    """Raise TypeError naming the first field that holds a function."""
    for name, value in values.items():
        if isinstance(value, dict):
            refuse_functions(value)
        elif callable(value):
            raise TypeError(f"{name} is a function, which config.json cannot hold; give the activation's name")
