"""Derivative matching: the vector field is fitted to the slopes of smoothed data, without solving."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import sympy
from jaxtyping import Array, PyTree
from scipy.interpolate import CubicSpline, make_smoothing_spline

from sciml.dsl import FitError, Model

from ._data import Dataset
from ._objective import state_scale
from ._space import Space
from ._strategies import Collocation

_FINE = 4  # collocation points for each measurement


class Slopes(eqx.Module):
    """Smoothed states and rates at collocation times; leading axes (trajectory, time)."""

    times: Array
    states: Array
    rates: Array


def smooth(model: Model, data: Dataset, strategy: Collocation, logarithms: bool) -> Slopes:
    """States and their rates from smoothing splines through the training data.

    Raises `FitError` for an unknown that is not measured.
    """
    times, states, rates = [], [], []
    for row, clock in enumerate(data.times):
        used = _covered(model, data, row)
        if used.size == 0:
            continue
        fine = np.linspace(used[0], used[-1], _FINE * (used.size - 1) + 1)
        y, dy = np.zeros((2, fine.size, model.program.size))
        for piece in model.states:
            order = (
                piece.symbol.derivative_count if isinstance(piece.symbol, sympy.Derivative) else 0
            )
            name = piece.name if not order else str(piece.symbol.expr)
            if name not in data.observed:
                raise FitError(
                    f"collocation needs every unknown to be measured; {name} is not: leave "
                    "pretrain out, or measure it"
                )
            values = data.observed[name][row]
            flat = values.reshape(len(clock), -1)
            for column in range(flat.shape[1]):
                known = np.isfinite(flat[:, column]) & data.training[row]
                curve = _Curve(clock[known], flat[known, column], strategy.smoothing, logarithms)
                y[:, piece.offset + column] = curve(fine, order)
                dy[:, piece.offset + column] = curve(fine, order + 1)
        times.append(fine)
        states.append(y)
        rates.append(dy)
    length = max(len(fine) for fine in times)
    pick = [np.round(np.linspace(0, len(fine) - 1, length)).astype(int) for fine in times]
    dtype = model.dtype
    return Slopes(
        jnp.asarray(np.stack([a[i] for a, i in zip(times, pick, strict=True)]), dtype),
        jnp.asarray(np.stack([a[i] for a, i in zip(states, pick, strict=True)]), dtype),
        jnp.asarray(np.stack([a[i] for a, i in zip(rates, pick, strict=True)]), dtype),
    )


def _covered(model: Model, data: Dataset, row: int) -> np.ndarray:
    """Training times between the first and the last measurement of every unknown."""
    clock, inside = data.times[row], data.training[row]
    for values in (data.observed[s.name] for s in model.states if s.name in data.observed):
        known = np.isfinite(values[row].reshape(len(clock), -1)) & data.training[row][:, None]
        if not known.any():
            continue
        starts, ends = known.argmax(0), len(clock) - 1 - known[::-1].argmax(0)
        seen = known.any(0)
        inside = inside & (clock >= clock[starts[seen].max()]) & (clock <= clock[ends[seen].min()])
    return clock[inside]


class _Curve:
    """A smoothing spline through measurements, of their logarithms if these are what is fitted."""

    def __init__(
        self, times: np.ndarray, values: np.ndarray, smoothing: float | None, logarithms: bool
    ) -> None:
        self.logarithms = logarithms
        heights = np.log(values) if logarithms else values
        if len(times) < 2:
            raise FitError("collocation needs two measurements or more of every unknown")
        if len(times) < 5:
            self.spline: Any = CubicSpline(times, heights)
        else:
            self.spline = make_smoothing_spline(times, heights, lam=smoothing)

    def __call__(self, times: np.ndarray, order: int) -> np.ndarray:
        height = self.spline(times)
        if not self.logarithms:
            return self.spline.derivative(order)(times) if order else height
        if order == 0:
            return np.exp(height)
        slope = self.spline.derivative(1)(times)
        if order == 1:
            return np.exp(height) * slope
        return np.exp(height) * (slope**2 + self.spline.derivative(2)(times))


def pretrain(
    model: Model,
    space: Space,
    point: PyTree,
    slopes: Slopes,
    optimiser: optax.GradientTransformation,
    scale: Array,
    steps: int,
) -> PyTree:
    """The point after `steps` of matching the vector field to the slopes, from one start."""
    return _pretrain(model, space, point, slopes, optimiser, scale, steps)


@eqx.filter_jit
def _pretrain(
    model: Model,
    space: Space,
    point: PyTree,
    slopes: Slopes,
    optimiser: optax.GradientTransformation,
    scale: Array,
    steps: int,
) -> PyTree:
    def loss(point: PyTree) -> Array:
        moved = space.assemble(point, model)
        constants = moved.constants()

        def gap(t: Array, y: Array, rate: Array) -> Array:
            return (moved.vector_field(t, y, constants) - rate) / scale

        return jnp.mean(jax.vmap(jax.vmap(gap))(slopes.times, slopes.states, slopes.rates) ** 2)

    def step(carry: tuple, _: None) -> tuple[tuple, None]:
        point, state = carry
        slope = eqx.filter_grad(loss)(point)
        with jax.numpy_dtype_promotion("standard"):
            update, state = optimiser.update(slope, state, point)
            moved = eqx.apply_updates(point, update)
        moved = jax.tree.map(lambda new, old: new.astype(old.dtype), moved, point)
        return (moved, state), None

    with jax.numpy_dtype_promotion("standard"):
        state = optimiser.init(point)
    (point, _), _ = jax.lax.scan(step, (point, state), None, length=steps)
    return point


def rate_scale(model: Model, data: Dataset, slopes: Slopes) -> Array:
    """A typical size of each rate."""
    spread = np.std(np.asarray(slopes.rates), axis=(0, 1))
    return jnp.asarray(np.where(spread > 0, spread, state_scale(model, data)), model.dtype)
