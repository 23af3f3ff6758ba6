"""Measurements of all trajectories in one set of arrays, and what of them is trained on."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import sympy

from sciml.dsl import DataError, Model, shape_of

from ._tables import Table, as_tables


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Measurements of one or several trajectories, padded to one length.

    Fields: `expressions`, what was measured, by label; `starts`, shape (trajectory,), when the
    initial values hold; `times`, shape (trajectory, time), increasing, the last one repeated as
    padding; `observed`, by label, shape (trajectory, time, ...), NaN where nothing was measured;
    `training` and `validation`, masks of shape (trajectory, time).
    """

    expressions: dict[str, sympy.Expr]
    starts: np.ndarray
    times: np.ndarray
    observed: dict[str, np.ndarray]
    training: np.ndarray
    validation: np.ndarray

    @property
    def count(self) -> int:
        """How many numbers are trained on."""
        return sum(int(np.sum(np.isfinite(self.trained(label)))) for label in self.observed)

    @property
    def lengths(self) -> np.ndarray:
        """How many times each trajectory has, without the padding."""
        return np.sum(self.training | self.validation, axis=1)

    def trained(self, label: str) -> np.ndarray:
        """A column with NaN wherever it is not trained on."""
        values = self.observed[label]
        mask = self.training.reshape(self.training.shape + (1,) * (values.ndim - 2))
        return np.where(mask, values, np.nan)

    def first_values(self, row: int) -> dict[str, np.ndarray]:
        """The first measurement of each column of a trajectory, where it has one."""
        found = {}
        for label, values in self.observed.items():
            known = np.all(np.isfinite(values[row]), axis=tuple(range(1, values[row].ndim)))
            if known.any():
                found[label] = np.asarray(values[row][np.argmax(known)])
        return found


def read_data(model: Model, data: Any, validation: Any = None, t0: Any = None) -> Dataset:
    """Measurements for a model: a mapping, a DataFrame, or a list of these (trajectories).

    Columns are keyed by symbol, expression or name (``"x"``, ``"x[0]"``), and one of them is the
    time: ``t``, or a column or index "t" or "time". `validation` is a fraction of the time span,
    held out at its end, or further data of the same kind. `t0` is when the initial values hold, for
    all trajectories or one for each; by default the first time of each.

    Raises `DataError` for what is not such a table.
    """
    tables = as_tables(model, data, "data")
    trained = len(tables)
    fraction = 0.0
    if isinstance(validation, (int, float)):
        fraction = float(validation)
        if not 0 <= fraction < 1:
            raise DataError(f"validation is a fraction in [0, 1), or data, not {validation}")
    elif validation is not None:
        tables += as_tables(model, validation, "validation")
    starts = _starts(tables, t0)
    for table, start in zip(tables, starts, strict=True):
        table.check_times(model.dtype, start)
    expressions = {k: e for table in tables for k, (e, _) in table.columns.items()}
    longest = max(len(table.times) for table in tables)
    real = np.stack([np.arange(longest) < len(table.times) for table in tables])
    times = np.stack([np.pad(t.times, (0, longest - len(t.times)), mode="edge") for t in tables])
    observed = {
        k: np.stack([_column(t, k, e, longest) for t in tables]) for k, e in expressions.items()
    }
    late = times > times[:, -1:] - fraction * (times[:, -1:] - times[:, :1])
    used = real & ~late if fraction else real
    used = used & (np.arange(len(tables)) < trained)[:, None]
    first = [table.times[0] if s is None else s for table, s in zip(tables, starts, strict=True)]
    dataset = Dataset(expressions, np.array(first, float), times, observed, used, real & ~used)
    if dataset.count == 0:
        raise DataError("the data hold no finite value to train on")
    return dataset


def _starts(tables: list[Table], t0: Any) -> list[float | None]:
    """When the initial values of each trajectory hold, None where that is its first time."""
    if t0 is None:
        return [None] * len(tables)
    given = list(t0) if isinstance(t0, list | tuple | np.ndarray) else [t0] * len(tables)
    try:
        starts: list[float | None] = [float(one) for one in given]
    except (TypeError, ValueError):
        raise DataError(f"t0 is a number, or one for each trajectory, not {t0!r}") from None
    if len(starts) != len(tables):
        raise DataError(
            f"t0 has {len(starts)} entries for {len(tables)} trajectories (those of validation too)"
        )
    return starts


def _column(table: Table, label: str, expression: sympy.Expr, length: int) -> np.ndarray:
    """A column padded with NaN; a whole column of them where this trajectory has none."""
    padded = np.full((length, *shape_of(expression)), np.nan)
    if label in table.columns:
        padded[: len(table.times)] = table.columns[label][1]
    return padded
