"""Measurements: columns of values over time, one table for each trajectory."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import sympy

from sciml.dsl import DataError, Model, expression_text, t

_TIME_NAMES = ("t", "time")


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Measurements of one or several trajectories, padded to one length.

    Fields: `expressions`, what was measured, by label; `times`, shape (trajectory, time), increasing,
    the last one repeated as padding; `observed`, by label, shape (trajectory, time, ...), NaN where
    nothing was measured; `training` and `validation`, masks of shape (trajectory, time).
    """

    expressions: dict[str, sympy.Expr]
    times: np.ndarray
    observed: dict[str, np.ndarray]
    training: np.ndarray
    validation: np.ndarray

    @property
    def count(self) -> int:
        """How many numbers are trained on."""
        finite = [np.isfinite(v) & _spread(self.training, v) for v in self.observed.values()]
        return int(sum(f.sum() for f in finite))


def read_data(model: Model, data: Any, validation: Any = None) -> Dataset:
    """Measurements for a model: a mapping, a DataFrame, or a list of these (trajectories).

    Columns are keyed by symbol, expression or name, and one of them is the time: ``t``, or a column
    "t" or "time". `validation` is a fraction of the time span, held out at its end, or further
    data of the same kind.

    Raises `DataError` for what is not such a table.
    """
    tables = [_table(model, one) for one in as_list(data)]
    trained = len(tables)
    fraction = 0.0
    if isinstance(validation, (int, float)):
        fraction = float(validation)
        if not 0 <= fraction < 1:
            raise DataError(f"validation is a fraction in [0, 1), or data, not {validation}")
    elif validation is not None:
        tables += [_table(model, one) for one in as_list(validation)]
    expressions: dict[str, sympy.Expr] = {}
    for _, columns in tables:
        expressions.update({label: expression for label, (expression, _) in columns.items()})
    length = max(len(times) for times, _ in tables)
    padded = [_padded(times, columns, expressions, length) for times, columns in tables]
    stacked_times = np.stack([times for times, _ in padded])
    observed = {k: np.stack([values[k] for _, values in padded]) for k in expressions}
    real = np.stack([np.arange(length) < len(times) for times, _ in tables])
    start, end = stacked_times[:, :1], stacked_times[:, -1:]
    late = stacked_times > end - fraction * (end - start) if fraction else np.zeros_like(real)
    is_trained = (np.arange(len(tables)) < trained)[:, None]
    training = real & ~late & is_trained
    held_out = real & (late | ~is_trained)
    dataset = Dataset(expressions, stacked_times, observed, training, held_out)
    if dataset.count == 0:
        raise DataError("the data hold no finite value to train on")
    return dataset


def as_list(data: Any) -> list[Any]:
    """One trajectory, or several, as a list."""
    if isinstance(data, Mapping) or hasattr(data, "columns"):
        return [data]
    if isinstance(data, Sequence) and not isinstance(data, str) and len(data):
        return list(data)
    raise DataError(
        "data is a mapping {t: times, x: values}, a DataFrame, or a list of these, not "
        f"{type(data).__name__}"
    )


def _table(model: Model, data: Any) -> tuple[np.ndarray, dict[str, tuple[sympy.Expr, np.ndarray]]]:
    """Times, and columns by label, of one trajectory."""
    columns, index = _columns(data)
    times = None
    found: dict[str, tuple[sympy.Expr, np.ndarray]] = {}
    for key, values in columns.items():
        array = _numeric(key, values)
        if (
            key == t
            or (isinstance(key, str) and key in _TIME_NAMES and key not in model.symbols)
            or key == "t"
        ):
            times = array
        else:
            expression = _measured(model, key)
            found[expression_text(expression)] = (expression, array)
    if times is None and index is not None:
        times = _numeric("index", index)
    if times is None:
        raise DataError("the data have no times: add a column t, {t: [...], x: [...]}")
    if not found:
        raise DataError("the data have no measured column besides the times")
    _check_times(times)
    for label, (_, array) in found.items():
        if array.shape[:1] != times.shape:
            raise DataError(
                f"column {label} has {array.shape[0]} rows, the times have {len(times)}"
            )
    return times, found


def _columns(data: Any) -> tuple[dict[Any, Any], Any]:
    if isinstance(data, Mapping):
        return dict(data), None
    if hasattr(data, "columns") and hasattr(data, "index"):
        index = data.index if data.index.name in _TIME_NAMES else None
        return {column: data[column].to_numpy() for column in data.columns}, index
    raise DataError(f"a trajectory is a mapping or a DataFrame, not {type(data).__name__}")


def _numeric(key: Any, values: Any) -> np.ndarray:
    try:
        array = np.asarray(values, float)
    except (TypeError, ValueError):
        raise DataError(
            f"column {key}: its values are not all numbers (use NaN where missing)"
        ) from None
    if array.ndim == 0:
        raise DataError(f"column {key} is a single number: a column has one value for each time")
    return array


def _measured(model: Model, key: Any) -> sympy.Expr:
    if isinstance(key, str) and key not in model.symbols:
        near = difflib.get_close_matches(key, list(model.symbols), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        known = ", ".join(model.symbols)
        raise DataError(f"column {key!r} is no symbol of this system, which has {known}{hint}")
    return model.expression(key)


def _check_times(times: np.ndarray) -> None:
    if times.ndim != 1 or len(times) < 2:
        raise DataError(f"the times must be a list of at least 2 numbers, not shape {times.shape}")
    if not np.all(np.isfinite(times)):
        raise DataError("the times must be finite: drop the rows without one")
    if not np.all(np.diff(times) > 0):
        row = int(np.argmin(np.diff(times) > 0)) + 1
        raise DataError(
            f"the times must increase: row {row} has {times[row]:g} after {times[row - 1]:g}"
        )


def _padded(
    times: np.ndarray, columns: dict, expressions: dict, length: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    missing = length - len(times)
    padded = {}
    shapes = {label: values.shape[1:] for label, (_, values) in columns.items()}
    for label in expressions:
        values = (
            columns[label][1]
            if label in columns
            else np.full((len(times), *shapes.get(label, ())), np.nan)
        )
        tail = np.full((missing, *values.shape[1:]), np.nan)
        padded[label] = np.concatenate([values, tail])
    return np.concatenate([times, np.full(missing, times[-1])]), padded


def _spread(mask: np.ndarray, like: np.ndarray) -> np.ndarray:
    """A mask over (trajectory, time) for values with further axes."""
    return mask.reshape(mask.shape + (1,) * (like.ndim - 2))
