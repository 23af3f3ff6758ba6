"""One trajectory of measurements: a table whose columns are expressions of the model."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import sympy

from sciml.data import Series
from sciml.dsl import (
    DataError,
    DeclarationError,
    Model,
    ShapeError,
    expression_text,
    index,
    is_complex,
    shape_of,
    t,
)

_TIME_NAMES = ("t", "time")
_ELEMENT = re.compile(r"(\w+)\[\s*(\d+(?:\s*,\s*\d+)*)\s*\]")  # x[0], x[1, 2]


class Table:
    """One trajectory: `times`, and `columns` by label, each an expression and its values."""

    def __init__(self, model: Model, data: Any, where: str) -> None:
        self.where = where
        self.times: np.ndarray = np.zeros(0)
        self.columns: dict[str, tuple[sympy.Expr, np.ndarray]] = {}
        self.places: dict[str, dict[str, np.ndarray]] = {}  # where a dataset's fields were measured
        if type(data).__module__.startswith("xarray"):
            data = self._fields_of(model, data)
        given, row_labels = self._columns_of(data)
        clock = None
        for key, values in given.items():
            array = self._numbers(key, values)
            if not _is_time(model, key):
                self._add(model, key, array)
            elif clock is None:
                clock = array
            else:
                raise self.error("the times are given twice: keep one column of them")
        if clock is None and row_labels is not None:
            clock = self._numbers("index", row_labels)
        if clock is None:
            raise self.error("the data have no times: add a column t, {t: [...], x: [...]}")
        if not self.columns:
            raise self.error("the data have no measured column besides the times")
        self.times = clock
        self._check_lengths()

    def error(self, message: str) -> DataError:
        """The error for this table, which says which trajectory it is."""
        return DataError(self.where + message)

    def check_times(self, dtype: Any, start: float | None) -> None:
        """Refuses times that do not increase (in the model's floating type, from `start`)."""
        times = self.times
        if times.ndim != 1:
            raise self.error(f"the times are a list of numbers, not of shape {times.shape}")
        if not np.all(np.isfinite(times)):
            raise self.error("the times must be finite: drop the rows without one")
        if len(times) < (2 if start is None else 1):
            raise self.error(f"there are too few times to fit to: {len(times)}")
        rounded: Any = times.astype(dtype)
        later = np.greater(rounded[1:], rounded[:-1])
        if not np.all(later):
            row = int(np.argmin(later)) + 1
            before, now = times[row - 1], times[row]
            cure = "sort the rows by time"
            if now == before:
                cure = "average repeated measurements, or make them trajectories of their own"
            elif now > before:
                cure = f"these are one number in {np.dtype(dtype)}: count from a later origin"
            raise self.error(
                f"the times must increase: row {row} has {now:.9g} after {before:.9g}; {cure}"
            )
        if start is not None and not start <= times[0]:
            raise self.error(f"t0 = {start:g} is after the first time, {times[0]:g}")

    def _columns_of(self, data: Any) -> tuple[dict[Any, Any], Any]:
        """Columns, and the row labels where these may be times."""
        if isinstance(data, Mapping):
            return dict(data), None
        if getattr(data, "columns", None) is None or getattr(data, "index", None) is None:
            raise self.error(f"a trajectory is a mapping or a DataFrame, not {_kind(data)}")
        if not data.columns.is_unique:
            raise self.error(f"two columns have the same name: {list(data.columns)}")
        labels = data.index
        numbered = (
            getattr(labels.dtype, "kind", "") in tuple("iuf") and type(labels).__name__ == "Index"
        )
        usable = numbered if labels.name is None else labels.name in (t, *_TIME_NAMES)
        return {column: data[column] for column in data.columns}, labels if usable else None

    def _fields_of(self, model: Model, data: Any) -> dict[Any, Any]:
        """The columns of a dataset, its fields over time first; their places are kept."""
        grid = model.grid
        times = next((name for name in _TIME_NAMES if name in data.coords), None)
        if times is None:
            raise self.error(f"the dataset has no coordinate t, but {', '.join(data.coords)}")
        found: dict[Any, Any] = {"t": data[times].values}
        for name, variable in data.data_vars.items():
            own = [str(d) for d in variable.dims if d != times]
            strange = [d for d in own if d not in grid]
            if strange:
                known = ", ".join([times, *grid])
                raise self.error(f"{name} has the dimension {strange[0]}; the model has {known}")
            order = [times, *(s for s in grid if s in own)]
            found[str(name)] = variable.transpose(*order).values
            self.places[str(name)] = {s: data[s].values for s in order[1:] if s in data.coords}
        return found

    def _numbers(self, key: Any, values: Any) -> np.ndarray:
        shown = key if isinstance(key, str) else expression_text(key)
        dtype = getattr(values, "dtype", None)
        if getattr(dtype, "kind", "") in tuple("Mmc"):  # dates and complex numbers
            cure = "give real numbers (times in the model's unit)"
            if isinstance(key, sympy.Expr) and is_complex(key):
                cure = f"give its parts, sympy.re({shown}) and sympy.im({shown}), as two columns"
            raise self.error(f"column {shown} holds {dtype}: {cure}")
        try:
            if isinstance(values, np.ma.MaskedArray):
                array = np.ma.filled(values.astype(float), np.nan)
            elif type(values).__module__.startswith("pandas"):
                array = np.array(values.to_numpy(dtype=float, na_value=np.nan))
            else:
                array = np.array(values, float)
        except (TypeError, ValueError):
            raise self.error(
                f"column {shown}: its values are not all numbers (use NaN where missing)"
            ) from None
        if array.ndim == 0:
            raise self.error(f"column {shown} is one number: a column has a value for each time")
        if np.any(np.isinf(array)):
            raise self.error(f"column {shown} holds infinite values (use NaN where missing)")
        return array

    def _add(self, model: Model, key: Any, values: np.ndarray) -> None:
        measured = self._measured(model, key)
        label = expression_text(measured)
        if label in self.columns:
            raise self.error(f"column {label} is given twice")
        expression = model.expression(measured)
        if label in self.places:
            expression = model.at_places(measured, self.places[label])
        self.columns[label] = (expression, values)

    def _measured(self, model: Model, key: Any) -> sympy.Expr:
        """The expression that a key stands for."""
        if isinstance(key, str):
            return self._named(model, key)
        if not isinstance(key, sympy.Expr):
            raise self.error(f"column {key!r} is keyed by neither a symbol nor a name")
        label = expression_text(key)
        if not key.free_symbols:
            raise self.error(f"column {label} is a number: key it by a symbol or expression")
        try:
            model.program.observe((model.expression(key),))
        except DeclarationError as error:
            known = label in model.symbols and not is_complex(key)
            hint = f"; it has another {label}: key the column by name, {label!r}"
            raise self.error(f"column {label}: {error}{hint * known}") from None
        return key

    def _named(self, model: Model, key: str) -> sympy.Expr:
        symbols = {**model.symbols, **model.fields}
        if key in symbols:
            return symbols[key]
        element = _ELEMENT.fullmatch(key)
        if element and element[1] in symbols:
            try:
                return index(symbols[element[1]], tuple(map(int, element[2].split(","))))
            except ShapeError as error:
                raise self.error(f"column {key!r}: {error}") from None
        near = difflib.get_close_matches(key, [*symbols, *_TIME_NAMES], n=1)
        hint = f"did you mean {near[0]}?" if near else "drop it, or key it by an expression"
        raise self.error(
            f"column {key!r} is no symbol of this system, which has {', '.join(symbols)}; {hint}"
        )

    def _check_lengths(self) -> None:
        for label, (expression, values) in self.columns.items():
            if len(values) != len(self.times):
                raise self.error(
                    f"column {label} has {len(values)} rows, the times have {len(self.times)}"
                )
            if values.shape[1:] != shape_of(expression):
                expected = (len(values), *shape_of(expression))
                raise self.error(
                    f"column {label} has shape {values.shape}; its values over time have {expected}"
                )


def as_tables(model: Model, data: Any, what: str) -> list[Table]:
    """The trajectories of what the user gave; `what` names it in messages."""
    if isinstance(data, Series):
        data = data.trajectories()
    table = isinstance(data, Mapping) or getattr(data, "columns", None) is not None
    if table or type(data).__module__.startswith("xarray"):
        return [Table(model, data, "")]
    if isinstance(data, Sequence) and not isinstance(data, str) and len(data):
        several = len(data) > 1
        return [
            Table(model, one, f"{what}, trajectory {number}: " if several else "")
            for number, one in enumerate(data)
        ]
    raise DataError(
        f"{what} is a mapping {{t: times, x: values}}, a Series, a DataFrame, a Dataset of xarray, "
        f"or a list of these, "
        f"not {_kind(data)}"
    )


def _is_time(model: Model, key: Any) -> bool:
    if isinstance(key, str):
        return key == "t" or (key in _TIME_NAMES and key not in model.symbols)
    return key == t


def _kind(data: Any) -> str:
    return "an empty list" if isinstance(data, Sequence) and not data else type(data).__name__
