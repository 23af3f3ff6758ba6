"""Derivative matching: the vector field is fitted to the slopes of smoothed data, unsolved."""

from __future__ import annotations

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import sympy
from jaxtyping import Array, Float, PyTree
from scipy.interpolate import CubicSpline, make_smoothing_spline

from sciml.dsl import FitError, Model, refuse_algebraic

from ._data import Dataset
from ._differences import differences
from ._loss import typical_size
from ._modes import DerivativeMatching
from ._space import Space
from ._strategies import Collocation

_FINE = 4  # collocation points for each measurement
_ENOUGH = 5  # measurements that a smoothing spline takes


class Matching(eqx.Module):
    """The squared gap between the vector field and the slopes of smoothed data.

    An objective, as `Objective` is, that needs no solve. `times`, `states` and `rates` have the
    leading axes (row, time); `scale` is a typical size of each rate.
    """

    model: Model
    space: Space
    times: Float[Array, "row time"]
    states: Float[Array, "row time state"]
    rates: Float[Array, "row time state"]
    scale: Float[Array, " state"]
    forward: bool = eqx.field(static=True, default=False)
    held_out: bool = eqx.field(static=True, default=False)

    def losses(
        self, point: PyTree, horizon: Array, step: Array | None = None
    ) -> tuple[Array, Array, Array, Array]:
        """The mean square of the scaled gaps; there is neither validation nor least squares."""
        model = self.space.assemble(point, self.model)
        constants = model.constants()

        def gap(t: Array, y: Array, rate: Array) -> Array:
            return (model.vector_field(t, y, constants) - rate) / self.scale

        loss = jnp.mean(jax.vmap(jax.vmap(gap))(self.times, self.states, self.rates) ** 2)
        taken = jnp.full_like(loss, self.times.size)
        return loss, jnp.full_like(loss, jnp.nan), jnp.zeros((0,), loss.dtype), taken


def matching(
    model: Model,
    data: Dataset,
    space: Space,
    strategy: Collocation | DerivativeMatching,
    logarithms: bool,
) -> Matching:
    """The objective of derivative matching, from splines or differences of the training data.

    With `logarithms` it is these that are smoothed. Raises `FitError` for an unknown that is not
    measured, or at fewer than two times, and `DeclarationError` for algebraic equations.
    """
    refuse_algebraic(model, "derivative matching", "fit trajectories, without mode and pretrain")
    rows = [r for r in range(len(data.times)) if np.any(data.training[r])]
    kind = "spline" if isinstance(strategy, Collocation) else strategy.slopes
    parts = [
        _smooth(model, data, row, strategy.smoothing, logarithms)
        if kind == "spline"
        else differences(model, data, row, kind)
        for row in rows
    ]
    length = max(len(times) for times, _, _ in parts)
    pick = [np.round(np.linspace(0, len(times) - 1, length)).astype(int) for times, _, _ in parts]
    times, states, rates = (
        np.stack([part[kind][chosen] for part, chosen in zip(parts, pick, strict=True)])
        for kind in range(3)
    )
    times, states, rates, scale = (
        jnp.asarray(a, model.dtype) for a in (times, states, rates, typical_size(rates))
    )
    return Matching(model, space, times, states, rates, scale)


def can_match(model: Model, data: Dataset) -> bool:
    """Whether every unknown is measured, in each trajectory and often enough to be smoothed."""
    trained = data.training.any(axis=1)
    if model.program.residuals:
        return False
    for piece in model.states:
        symbol = piece.symbol.expr if isinstance(piece.symbol, sympy.Derivative) else piece.symbol
        if str(symbol) not in data.observed:
            return False
        if str(symbol) in model.fields:
            nodes = tuple(len(model.grid[s.name]) for s in model.coordinates_of(str(symbol)))
            if data.trained(str(symbol)).shape[2:] != nodes:
                return False  # measured somewhere else
        counts = np.sum(np.isfinite(data.trained(str(symbol))[trained]), axis=1)
        if np.any(counts < _ENOUGH):
            return False
    return True


def _smooth(
    model: Model, data: Dataset, row: int, smoothing: float | None, logarithms: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times, states and rates of one trajectory, where all of its columns are known."""
    curves = []
    for piece in model.states:
        order, name = 0, piece.name
        if isinstance(piece.symbol, sympy.Derivative):
            order, name = int(piece.symbol.derivative_count), str(piece.symbol.expr)
        if name not in data.observed:
            raise FitError(
                f"collocation needs every unknown to be measured; {name} is not: leave "
                "pretrain (or mode) out, or measure it"
            )
        measured = data.trained(name)[row]
        if name in model.fields:
            measured = np.stack([model.on_state(name, values) for values in measured])
        columns = measured.reshape(data.times.shape[1], -1)
        for column, values in enumerate(columns.T):
            curve = _Curve(name, data.times[row], values, smoothing, logarithms)
            curves.append((piece.offset + column, order, curve))
    start = max(curve.start for _, _, curve in curves)
    end = min(curve.end for _, _, curve in curves)
    if not start < end:
        raise FitError("collocation: the columns are measured over times that do not overlap")
    known = data.times[row][data.training[row]]
    inside = int(np.sum((known >= start) & (known <= end)))
    fine = np.linspace(start, end, _FINE * max(inside - 1, 1) + 1)
    states, rates = np.zeros((2, fine.size, model.program.size))
    for place, order, curve in curves:
        states[:, place] = curve(fine, order)
        rates[:, place] = curve(fine, order + 1)
    return fine, states, rates


class _Curve:
    """A smoothing spline through measurements, or through their logarithms."""

    def __init__(
        self,
        name: str,
        times: np.ndarray,
        values: np.ndarray,
        smoothing: float | None,
        logarithms: bool,
    ) -> None:
        known = np.isfinite(values)
        times, heights = times[known], values[known]
        if len(times) < 2:
            raise FitError(f"collocation needs two measurements or more of {name}")
        self.logarithms = logarithms
        self.start, self.end = times[0], times[-1]
        heights = np.log(heights) if logarithms else heights
        if len(times) < _ENOUGH:
            self.spline: Any = CubicSpline(times, heights)
        else:
            self.spline = make_smoothing_spline(times, heights, lam=smoothing)

    def __call__(self, times: np.ndarray, order: int) -> np.ndarray:
        """The derivative of an order."""
        height = self.spline(times)
        slopes = [self.spline.derivative(k)(times) if k else height for k in range(order + 1)]
        if not self.logarithms:
            return slopes[order]
        value = np.exp(height)  # of which the derivatives follow, (v g')' and so on
        values = [value]
        for k in range(order):
            terms = [math.comb(k, j) * values[j] * slopes[k - j + 1] for j in range(k + 1)]
            values.append(np.sum(terms, axis=0))
        return values[order]
