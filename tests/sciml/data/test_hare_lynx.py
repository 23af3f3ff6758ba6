"""The records, and files of the same form."""

import numpy as np
import pytest

import sciml as sm

GOOD = "# a source\nyear,hare,lynx\n1900,30.0,4.0\n1901,47.2,6.1\n"


def written(folder, text):
    file = folder / "pelts.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_the_records_are_those_that_were_published():
    table = sm.data.hare_lynx()
    # Howard (2009), as given in Carpenter's case study for Stan (2018).
    assert len(table) == 21
    assert np.array_equal(table["year"], np.arange(1900, 1921))
    assert (table["hare"][0], table["lynx"][0]) == (30.0, 4.0)
    assert (table["hare"][3], table["lynx"][4]) == (77.4, 59.4)
    assert (table["hare"][-1], table["lynx"][-1]) == (24.7, 8.6)
    assert (table["hare"].min(), table["lynx"].min()) == (7.6, 4.0)


def test_the_records_carry_their_units_and_their_source():
    table = sm.data.hare_lynx()
    assert table.units == {
        "year": "year",
        "hare": "thousands of pelts",
        "lynx": "thousands of pelts",
    }
    assert "Howard" in table.source


def test_the_records_cannot_be_changed_by_accident():
    with pytest.raises(ValueError, match="read-only"):
        sm.data.hare_lynx()["hare"][0] = 0.0


def test_between_keeps_the_rows_from_one_year_to_another():
    table = sm.data.hare_lynx().between(1915, 1920)
    assert list(table.times) == [1915, 1916, 1917, 1918, 1919, 1920]
    assert table["hare"][0] == 19.5
    assert table.units["hare"] == "thousands of pelts"


def test_a_table_is_printed_with_its_units_and_its_source():
    shown = str(sm.data.hare_lynx())
    assert "hare (thousands of pelts)" in shown
    assert "source: Hudson's Bay" in shown
    assert "..." in shown
    assert (
        "<th>lynx (thousands of pelts)</th>"
        in (sm.data.hare_lynx()._repr_mimebundle_()["text/html"])
    )


def test_an_unknown_column_is_named_with_those_that_there_are():
    with pytest.raises(sm.DataError, match="'fox' is no column of this table; it has year, hare"):
        sm.data.hare_lynx()["fox"]


def test_columns_of_unequal_length_are_refused():
    with pytest.raises(sm.DataError, match="equal length"):
        sm.data.Table({"t": [0, 1], "x": [1]})


def test_a_file_of_the_same_form_is_read(tmp_path):
    table = sm.data.read_pelts(written(tmp_path, GOOD))
    assert list(table["hare"]) == [30.0, 47.2]
    assert table.source == "a source"


def test_quoted_cells_blank_lines_and_a_byte_order_mark_are_taken(tmp_path):
    text = '\ufeff"year","hare","lynx"\n\n1900, 30.0 ,4\n1901,47.2,6.1\n\n'
    assert list(sm.data.read_pelts(written(tmp_path, text))["lynx"]) == [4.0, 6.1]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "the file holds no table"),
        ("# only a comment\n", "the file holds no table"),
        ("time,x,y\n0,1,2\n", "line 1: the header is 'time,x,y', not 'year,hare,lynx'"),
        (GOOD + "1902,70.2\n", "line 5: the row has 2 values, not 3"),
        (GOOD + "1902,many,9.8\n", "line 5: hare is 'many', which is no number"),
        (GOOD + "1902,nan,9.8\n", "line 5: hare is nan: it must be a number above zero"),
        (GOOD + "1902,70.2,0\n", "line 5: lynx is 0: it must be a number above zero"),
        (GOOD + "1901,70.2,9.8\n", "line 5: the year 1901 comes after 1901"),
        ("year,hare,lynx\n1900,30,4\n", "the table has 1 rows: it needs two or more"),
    ],
)
def test_a_file_that_is_not_the_expected_table_is_refused_by_line(tmp_path, text, fault):
    with pytest.raises(sm.DataError) as caught:
        sm.data.read_pelts(written(tmp_path, text))
    message = str(caught.value)
    assert fault in message
    assert "pelts.csv" in message
    assert "expected: a text file" in message


def test_a_missing_file_a_folder_and_bytes_are_refused(tmp_path):
    (tmp_path / "picture").write_bytes(b"\x89PNG\xff\xfe")
    for name, fault in (
        ("absent.csv", "No such file"),
        ("", "cannot be read"),
        ("picture", "is not a text file"),
    ):
        with pytest.raises(sm.DataError, match=fault):
            sm.data.read_pelts(tmp_path / name)
