from pathlib import Path

import pytest

from clapstream.config.yaml_reader import UnreadableError, parse_yaml, read_yaml

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("a: 1", {"a": 1}),
        ("[1, -2, 0.5, .5, 1e3, 1.]", [1, -2, 0.5, 0.5, 1000.0, 1.0]),
        ("[true, False, null, ~, ]", [True, False, None, None]),
        ("['5', \"true\", '']", ["5", "true", ""]),
        ("[yes, no, on, off]", ["yes", "no", "on", "off"]),
        ("[1:30, 2024-01-01, 007, 0x10, 1_000, .inf]", ["1:30", "2024-01-01", "007", "0x10", "1_000", ".inf"]),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
        ("1: a\ntrue: b", {"1": "a", "true": "b"}),
        ('a: "\\ud83d\\udd14"', {"a": "🔔"}),
    ],
)
def test_what_words_mean(text: str, value: object) -> None:
    document = parse_yaml(text, {})
    assert document.value == value
    assert repr(document.value) == repr(value)  # 1, 1.0 and True are equal
    assert document.problems == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BOMB, "more than 20000 values"),
        ("[" * 5000, "nested too deeply"),
        ("a: &a [*a]", "nested too deeply"),
        ("sources:\n\t- name: a", "line 2: a tab"),
        ("a: [1,\n\t2]", "line 2: a tab"),
        ("a: b: c", "line 1, column 5"),
        ("a: *nobody", "undefined alias"),
        ("a: 1\n---\nb: 2", "line 2"),
        ("a: \0", "U+0000"),
    ],
)
def test_what_is_refused(text: str, reason: str) -> None:
    with pytest.raises(UnreadableError) as raised:
        parse_yaml(text, {})
    assert reason in str(raised.value)


@pytest.mark.parametrize(
    ("text", "location", "reason"),
    [
        ("a: 1\nb: 2\na: 3", ("a",), "lines 1 and 3"),
        ("a: {b: [{c: 1, c: 1}]}", ("a", "b", 0, "c"), "given twice"),
        ("a: {[1]: 2}", ("a",), "a key must be a word"),
        ("a: !!python/object:os.system x", ("a",), "YAML tag"),
        ("a: !x {b: 1}", ("a",), "YAML tag"),
    ],
)
def test_skipped_keys_are_reported(text: str, location: tuple[str | int, ...], reason: str) -> None:
    (problem,) = parse_yaml(text, {}).problems
    assert problem[0] == location
    assert reason in problem[1]


def test_lines_of_values() -> None:
    document = parse_yaml("# first\nsources:\n  - name: a\n    path: b\n", {})
    assert document.lines["sources", 0, "path"] == 4


def test_files_that_are_none(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\x80\x81")
    reasons = {
        tmp_path: "is a directory",
        tmp_path / "missing": "does not exist",
        binary / "below": "cannot be read: Not a directory",
        binary: "not UTF-8",
    }
    for path, reason in reasons.items():
        with pytest.raises(UnreadableError, match=reason):
            read_yaml(path, {})


def test_byte_order_mark_is_no_key(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_yaml(path, {}).value == {"a": 1}
