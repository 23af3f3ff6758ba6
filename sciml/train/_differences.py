"""Slopes of measurements as differences of neighbours."""

from __future__ import annotations

import numpy as np
import sympy

from sciml.dsl import FitError, Model

from ._data import Dataset

_EQUAL = 1e-6  # of the mean step: by how much steps may differ and count as equal


def differences(
    model: Model, data: Dataset, row: int, kind: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times, states and rates of one trajectory, where the differences of all columns are known.

    Rates of rates, in equations of higher order, are differences of differences.
    Raises `FitError` for an unknown that is not measured, too few times, or steps that differ where
    they must be equal.
    """
    used = data.training[row]
    times = data.times[row][used]
    states, rates = np.full((2, len(times), model.program.size), np.nan)
    for piece in model.states:
        order, name = 0, piece.name
        if isinstance(piece.symbol, sympy.Derivative):
            order, name = int(piece.symbol.derivative_count), str(piece.symbol.expr)
        if name not in data.observed:
            raise FitError(
                f"derivative matching needs every unknown to be measured; {name} is not: measure "
                "it, or fit trajectories, without mode"
            )
        values = data.trained(name)[row][used].reshape(len(times), -1)
        for _ in range(order):
            values = slopes(times, values, kind)
        states[:, piece.slice] = values
        rates[:, piece.slice] = slopes(times, values, kind)
    known = np.all(np.isfinite(states) & np.isfinite(rates), axis=1)
    if not known.any():
        where = f" of trajectory {row}" if len(data.times) > 1 else ""
        raise FitError(
            f'slopes="{kind}" found no time{where} whose neighbours are all measured: take '
            'slopes="spline"'
        )
    return times[known], states[known], rates[known]


def slopes(times: np.ndarray, values: np.ndarray, kind: str) -> np.ndarray:
    """Differences of values of shape (time, column), NaN where there are no neighbours for them.

    "forward" is of order 1, "central" of order 2 at any times, "richardson" of order 4 at equal
    steps: central differences over one step and two, extrapolated to none.
    Raises `FitError` for steps that differ where they must be equal.
    """
    found = np.full(values.shape, np.nan)
    steps = np.diff(times)[:, None]
    one = np.diff(values, axis=0) / steps if len(times) > 1 else found[:0]
    if kind == "forward" and len(times) > 1:
        found[:-1] = one
    if kind == "central" and len(times) > 2:
        before, after = steps[:-1], steps[1:]
        found[1:-1] = (after * one[:-1] + before * one[1:]) / (before + after)
    if kind == "richardson" and len(times) > 4:
        step = np.mean(steps)
        if np.max(np.abs(steps - step)) > _EQUAL * step:
            raise FitError(
                'slopes="richardson" needs equal steps of time, and these differ: take '
                'slopes="central" or "spline"'
            )
        near, far = values[3:-1] - values[1:-3], values[4:] - values[:-4]
        found[2:-2] = (8 * near - far) / (12 * step)
    return found
