"""Paths and what was measured along them, for regression on signatures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import sympy

from sciml.data import Series
from sciml.dsl import DataError, DeclarationError, expression_text


@dataclasses.dataclass(frozen=True)
class Path:
    """One trajectory: points of its path, shape (time, channel), and the target, NaN where unknown.

    Time is the first channel.
    """

    points: np.ndarray
    target: np.ndarray | None

    @property
    def known(self) -> np.ndarray:
        """The rows in which the target was measured."""
        assert self.target is not None
        return np.flatnonzero(np.isfinite(self.target))


def read_paths(data: Any, path: Sequence[str], target: str | None) -> list[Path]:
    """Trajectories out of mappings (or DataFrames, or a `Series`), whose columns have names.

    Raises `DataError`, which says in which trajectory, for what is none.
    """
    if isinstance(data, Series):
        data = data.trajectories()
    single = isinstance(data, Mapping) or hasattr(data, "columns")
    tables = [data] if single else list(data)
    if not tables:
        raise DataError("the data hold no trajectory")
    return [
        _read(table, path, target, "" if single else f"trajectory {number}: ")
        for number, table in enumerate(tables)
    ]


def label(symbol: Any) -> str:
    """The name of a column."""
    if isinstance(symbol, str):
        return symbol
    if not isinstance(symbol, sympy.Expr):
        raise DeclarationError(f"{symbol!r} is neither a symbol nor a name")
    return expression_text(symbol)


def _read(table: Any, path: Sequence[str], target: str | None, where: str) -> Path:
    if not isinstance(table, Mapping) and not hasattr(table, "columns"):
        raise DataError(
            f"{where}a trajectory is a mapping or a DataFrame, not {type(table).__name__}"
        )
    columns = {label(key): table[key] for key in table}
    times = _column(columns, "t", where)
    if times.ndim != 1 or len(times) < 2 or not np.all(np.diff(times) > 0):
        raise DataError(f"{where}the times are 2 or more, and increase")
    parts = [times[:, None]]
    for name in path:
        values = _column(columns, name, where, len(times))
        parts.append(_filled(times, values.reshape(len(times), -1), name, where))
    measured = None
    if target is not None:
        measured = _column(columns, target, where, len(times))
        if measured.ndim != 1:
            raise DataError(f"{where}{target} has shape {measured.shape}; a target is a scalar")
        if not np.any(np.isfinite(measured)):
            raise DataError(f"{where}{target} was never measured: leave the trajectory out")
    return Path(np.concatenate(parts, axis=1), measured)


def _column(columns: Mapping[str, Any], name: str, where: str, length: int | None = None) -> Any:
    if name not in columns:
        known = ", ".join(columns)
        raise DataError(f"{where}there is no column {name}; there are {known}")
    try:
        values = np.asarray(columns[name], float)
    except (TypeError, ValueError):
        raise DataError(f"{where}column {name} holds something else than numbers") from None
    if length is not None and values.shape[:1] != (length,):
        raise DataError(f"{where}{name} has shape {values.shape} for {length} times")
    return values


def _filled(times: np.ndarray, values: np.ndarray, name: str, where: str) -> np.ndarray:
    """Missing values interpolated, and held before the first and after the last one."""
    filled = []
    for column in values.T:
        known = np.isfinite(column)
        if not known.any():
            raise DataError(f"{where}{name} was never measured, and the path needs it")
        filled.append(np.interp(times, times[known], column[known]))
    return np.stack(filled, axis=1)
