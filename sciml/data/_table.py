"""Table: columns of measurements over time, with their units and their source."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from sciml.dsl import DataError, table_html, table_text

_SHOWN = 8  # rows, where a table is printed


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Table:
    """Measurements over time.

    Fields: `columns`, by name, shape (time,), the times first; `units`, by name; `source`, where
    the numbers were published.

    Raises `DataError` for columns of unequal length.

    >>> import sciml as sm
    >>> table = sm.data.Table({"t": [0, 1], "x": [1, 2]}, units={"t": "s", "x": "m"})
    >>> table["x"], table.units["x"]
    (array([1., 2.]), 'm')
    """

    columns: Mapping[str, Any]
    units: Mapping[str, str] = dataclasses.field(default_factory=dict)
    source: str = ""

    def __post_init__(self) -> None:
        columns = {name: np.array(values, float) for name, values in self.columns.items()}
        shapes = {values.shape for values in columns.values()}
        if len(shapes) != 1 or len(shapes.pop()) != 1:
            sizes = ", ".join(f"{name} {values.shape}" for name, values in columns.items())
            raise DataError(f"the columns of a table are lists of equal length, not {sizes}")
        for values in columns.values():
            values.flags.writeable = False
        object.__setattr__(self, "columns", columns)

    @property
    def times(self) -> Float[np.ndarray, " time"]:
        """The first column."""
        return next(iter(self.columns.values()))

    def __getitem__(self, name: str) -> Float[np.ndarray, " time"]:
        """A column by name. Raises `DataError` for one that is not there."""
        if name not in self.columns:
            known = ", ".join(self.columns)
            raise DataError(f"{name!r} is no column of this table; it has {known}")
        return self.columns[name]

    def __len__(self) -> int:
        return len(self.times)

    def between(self, first: float, last: float) -> Table:
        """The rows from one time to another, both included.

        >>> import sciml as sm
        >>> len(sm.data.hare_lynx().between(1900, 1914))
        15
        """
        rows = (self.times >= first) & (self.times <= last)
        kept = {name: values[rows] for name, values in self.columns.items()}
        return Table(kept, self.units, self.source)

    def _header(self) -> list[str]:
        units = ((name, self.units.get(name, "")) for name in self.columns)
        return [f"{name} ({unit})" if unit and unit != name else name for name, unit in units]

    def _rows(self, limit: int) -> list[list[str]]:
        rows = np.stack(list(self.columns.values()), axis=1)
        text = [[f"{value:g}" for value in row] for row in rows]
        if len(text) <= limit:
            return text
        half = limit // 2
        return [*text[:half], ["..."] * len(self.columns), *text[-half:]]

    def __str__(self) -> str:
        lines = [table_text(self._header(), self._rows(_SHOWN))]
        return "\n".join([*lines, *([f"source: {self.source}"] if self.source else [])])

    __repr__ = __str__

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        html = table_html(self._header(), self._rows(2 * _SHOWN))
        return {"text/plain": str(self), "text/html": html}
