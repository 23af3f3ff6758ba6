"""The command line: what it prints, writes and returns."""

import re

import pytest

from sciml.__main__ import main


def test_without_a_command_the_help_is_shown(capsys):
    assert main([]) == 0
    assert "demo" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["--help"], ["demo", "--help"], ["--version"]])
def test_help_and_version_are_printed(capsys, command):
    with pytest.raises(SystemExit) as stopped:
        main(command)
    assert stopped.value.code == 0
    assert re.search(r"demo|sciml-jax \d", capsys.readouterr().out)


def refused(capsys, *arguments):
    """The message of a refused command line; nothing may have been printed as a result."""
    status = main(["demo", *(str(argument) for argument in arguments)])
    out, err = capsys.readouterr()
    assert status == 2
    assert out == ""
    assert "Traceback" not in err
    return err


def test_a_file_that_is_not_the_table_is_refused_and_nothing_is_written(tmp_path, capsys):
    file = tmp_path / "other.csv"
    file.write_text("a,b\n1,2\n")
    message = refused(capsys, "--data", file, "--output", tmp_path / "out")
    assert "line 1: the header is 'a,b', not 'year,hare,lynx'" in message
    assert "expected: a text file" in message
    assert [path.name for path in tmp_path.iterdir()] == ["other.csv"]


def test_a_file_that_is_not_there_is_refused(tmp_path, capsys):
    message = refused(capsys, "--data", tmp_path / "absent.csv", "--output", tmp_path / "out")
    assert "absent.csv cannot be read: No such file" in message


def test_a_table_too_short_to_train_on_is_refused(tmp_path, capsys):
    file = tmp_path / "short.csv"
    file.write_text("year,hare,lynx\n1900,30,4\n1901,47.2,6.1\n1902,70.2,9.8\n")
    assert "8 or more to train on" in refused(capsys, "--data", file, "--output", tmp_path / "out")


def test_an_output_that_is_a_file_is_refused(tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("kept")
    assert "is a file" in refused(capsys, "--output", file)
    assert file.read_text() == "kept"


@pytest.mark.parametrize("arguments", [["--steps", "0"], ["--seeds", "two"], ["--unknown"]])
def test_options_that_make_no_sense_are_refused(capsys, arguments):
    with pytest.raises(SystemExit) as stopped:
        main(["demo", *arguments])
    assert stopped.value.code == 2
    assert "usage: sciml" in capsys.readouterr().err
