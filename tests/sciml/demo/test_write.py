"""Files appear whole or not at all."""

from pathlib import Path

import pytest

import sciml as sm
from sciml.demo._write import check_folder, write_all


def test_files_are_written_into_a_new_folder_and_nothing_else_is_left(tmp_path):
    paths = write_all(tmp_path / "deep" / "out", {"a.txt": b"1", "b.txt": b"2"})
    assert [path.read_bytes() for path in paths] == [b"1", b"2"]
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["out"]


def test_files_of_others_in_the_folder_are_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "a.txt").write_text("old")
    write_all(tmp_path, {"a.txt": b"new"})
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert (tmp_path / "a.txt").read_text() == "new"
    assert len(list(tmp_path.iterdir())) == 2


def test_nothing_appears_when_a_file_cannot_be_completed(tmp_path):
    folder = tmp_path / "out"
    with pytest.raises(FileNotFoundError):
        write_all(folder, {"a.txt": b"1", "no/such/place.txt": b"2"})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_may_be_the_one_worked_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_all(Path("."), {"a.txt": b"1"})
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_an_output_that_is_a_file_is_refused(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(sm.DataError, match="is a file: name a folder"):
        check_folder(file)
    with pytest.raises(sm.DataError, match="cannot be written to"):
        check_folder(file / "below")
