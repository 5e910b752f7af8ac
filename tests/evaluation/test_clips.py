"""Lists of labelled files: what is read, and what each mistake is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from clapstream.evaluation.clips import ClipListError, LabelledClip, read_clips


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sounds").mkdir()
    for name in ("a.wav", "b.wav", "sounds/c.wav"):
        (tmp_path / name).touch()
    return tmp_path


def write(folder: Path, text: str) -> Path:
    path = folder / "list.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_files_are_relative_to_the_list(folder: Path) -> None:
    path = write(folder, "file,label,fold\na.wav,dog,1\nsounds/c.wav,crying_baby,2\n")
    assert read_clips(path) == [
        LabelledClip(folder / "a.wav", "dog", "1", 2),
        LabelledClip(folder / "sounds/c.wav", "crying_baby", "2", 3),
    ]


def test_files_are_relative_to_the_audio_folder(folder: Path) -> None:
    path = write(folder, "label,file\ndog,c.wav\n")
    assert read_clips(path, folder / "sounds") == [LabelledClip(folder / "sounds/c.wav", "dog", "", 2)]


def test_the_column_names_of_esc50_and_a_byte_order_mark_are_read(folder: Path) -> None:
    path = write(folder, "\ufefffilename,fold,target,category\na.wav,1,0,dog\n")
    assert read_clips(path) == [LabelledClip(folder / "a.wav", "dog", "1", 2)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: lacks the column file and label; it has: nothing"),
        ("file,caption\na.wav,dog\n", "line 1: lacks the column label; it has: file, caption"),
        ("file,label\n", "lists no files"),
        ("file,label\na.wav,dog\nb.wav,\n", "line 3: column label: is empty"),
        ("file,label\na.wav\n", "line 2: column label: is empty"),
        ("file,label\n ,dog\n", "line 2: column file: is empty"),
        ("filename,category\nnone.wav,dog\n", "line 2: column filename: .*none.wav does not exist"),
    ],
)
def test_mistakes_name_line_and_column(folder: Path, text: str, message: str) -> None:
    path = write(folder, text)
    with pytest.raises(ClipListError, match=message) as caught:
        read_clips(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_up_to_ten_mistakes_are_reported(folder: Path) -> None:
    path = write(folder, "file,label\n" + "none.wav,dog\n" * 12)
    with pytest.raises(ClipListError) as caught:
        read_clips(path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 11
    assert lines[-1] == f"{path}: and 2 more problems"


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"file,label\n\xe9.wav,dog\n"], ids=["binary", "latin-1"])
def test_what_is_no_utf8_text_is_refused(folder: Path, content: bytes) -> None:
    path = folder / "list.csv"
    path.write_bytes(content)
    with pytest.raises(ClipListError, match="cannot be read"):
        read_clips(path)


def test_a_missing_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClipListError, match=r"none\.csv: cannot be read: No such file or directory$"):
        read_clips(tmp_path / "none.csv")
