"""Pelts of snowshoe hare and Canada lynx, and files of the same form."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

import numpy as np

from sciml.dsl import DataError

from ._table import Table

PELTS = ("year", "hare", "lynx")
_UNITS = {"year": "year", "hare": "thousands of pelts", "lynx": "thousands of pelts"}
_EXPECTED = """expected: a text file of comma-separated values, such as
    # any number of comments, the source first
    year,hare,lynx
    1900,30.0,4.0
    1901,47.2,6.1
  with increasing years, and pelts as numbers above zero, in thousands"""


def hare_lynx() -> Table:
    """The Hudson's Bay Company's records of hare and lynx pelts, 1900 to 1920.

    Returns a `Table` with the columns ``year``, ``hare`` and ``lynx``; the last two in thousands of
    pelts.

    >>> import sciml as sm
    >>> table = sm.data.hare_lynx()
    >>> float(table["hare"][0]), table.units["hare"]
    (30.0, 'thousands of pelts')

    Source: Howard, Modeling Basics (2009); used in Carpenter's Stan case study (2018).
    """
    file = importlib.resources.files("sciml.data").joinpath("hare_lynx.csv")
    return _parse(file.read_text(encoding="utf-8"), "hare_lynx.csv")


def read_pelts(path: str | Path) -> Table:
    """A table of the form of `hare_lynx` from a file.

    Raises `DataError`, which says what is expected, for a file that cannot be read or is not such a
    table.

    >>> import sciml as sm, tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "pelts.csv"
    >>> _ = file.write_text("year,hare,lynx\\n1900,30,4\\n1901,47.2,6.1\\n")
    >>> len(sm.data.read_pelts(file))
    2
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}\n  {_EXPECTED}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not a text file\n  {_EXPECTED}") from None
    return _parse(text, str(path))


def _parse(text: str, name: str) -> Table:
    """The table in a text; faults are named by file and line."""
    comments, rows = [], []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("#"):
            comments.append(line.lstrip("# ").strip())
        elif line.strip():
            rows.append((number, [cell.strip().strip('"') for cell in line.split(",")]))
    if not rows:
        raise _unexpected(name, "the file holds no table")
    number, header = rows[0]
    if tuple(header) != PELTS:
        found, wanted = ",".join(header)[:60], ",".join(PELTS)
        place = f"{name}, line {number}"
        raise _unexpected(place, f"the header is {found!r}, not {wanted!r}")
    values = np.array([_numbers(f"{name}, line {at}", cells) for at, cells in rows[1:]])
    if len(values) < 2:
        raise _unexpected(name, f"the table has {len(values)} rows: it needs two or more")
    _refuse(name, rows[1:], values)
    columns: dict[str, np.ndarray] = dict(zip(PELTS, values.T, strict=True))
    return Table(columns, _UNITS, comments[0] if comments else name)


def _numbers(place: str, cells: list[str]) -> list[float]:
    if len(cells) != len(PELTS):
        raise _unexpected(place, f"the row has {len(cells)} values, not {len(PELTS)}")
    found = []
    for column, cell in zip(PELTS, cells, strict=True):
        try:
            found.append(float(cell))
        except ValueError:
            raise _unexpected(place, f"{column} is {cell[:40]!r}, which is no number") from None
    return found


def _refuse(name: str, rows: list[tuple[int, list[str]]], values: np.ndarray) -> None:
    """Raises `DataError` for values that no record of pelts holds."""
    for (at, cells), row in zip(rows, values, strict=True):
        for column, cell, value in zip(PELTS, cells, row, strict=True):
            if not np.isfinite(value) or (value <= 0 and column != "year"):
                raise _unexpected(
                    f"{name}, line {at}", f"{column} is {cell}: it must be a number above zero"
                )
    late = np.flatnonzero(np.diff(values[:, 0]) <= 0)
    if late.size:
        row = int(late[0]) + 1
        raise _unexpected(
            f"{name}, line {rows[row][0]}",
            f"the year {values[row, 0]:g} comes after {values[row - 1, 0]:g}",
        )


def _unexpected(place: str, what: str) -> DataError:
    return DataError(f"{place}: {what}\n  {_EXPECTED}")
