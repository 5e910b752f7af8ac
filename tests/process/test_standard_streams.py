"""The encoding of standard output."""

from __future__ import annotations

import io

import pytest

from clapstream.process.standard_streams import use_ascii_in_c_locale


@pytest.mark.parametrize(
    ("environment", "encoding"),
    [
        ({"LANG": "C"}, "ascii"),
        ({"LC_ALL": "POSIX", "LANG": "de_DE.UTF-8"}, "ascii"),
        ({"LC_ALL": "C.UTF-8", "LANG": "C"}, "utf-8"),
        ({"LANG": "C", "PYTHONIOENCODING": "utf-8"}, "utf-8"),
        ({}, "utf-8"),
    ],
    ids=str,
)
def test_the_c_locale_means_ascii_unless_the_user_chose_an_encoding(
    environment: dict[str, str], encoding: str
) -> None:
    output = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    use_ascii_in_c_locale(output, environment)
    assert output.encoding == encoding
