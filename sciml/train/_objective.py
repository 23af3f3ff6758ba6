"""What a fit minimises: predictions at the measured times, and their distance from the data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from sciml.dsl import FitError, Model
from sciml.solvers import Field

from ._data import Dataset
from ._loss import Likelihood
from ._space import Space
from ._strategies import MultipleShooting


class Objective(eqx.Module):
    """The loss of a point of the space; a pytree, so that compiled code serves many fits.

    Fields: the `model` that points are applied to; the data; `space`, `likelihood` (or a function
    of predictions and data) and `functions` that compute the measured quantities; the solver and
    its settings; `segments` of multiple shooting, or None; `penalty`, a function of the model.
    """

    model: Model
    times: Array
    observed: dict[str, Array]
    training: Array
    validation: Array
    solver: dfx.AbstractSolver
    controller: dfx.AbstractStepSizeController
    adjoint: dfx.AbstractAdjoint
    state_scale: Array
    space: Space = eqx.field(static=True)
    likelihood: Likelihood | Callable = eqx.field(static=True)
    function: Any = eqx.field(static=True)
    labels: tuple[str, ...] = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)
    penalty: Callable | None = eqx.field(static=True)
    segments: Segments | None = eqx.field(static=True)

    def losses(self, point: PyTree, horizon: Array) -> tuple[Array, Array]:
        """Training loss (with penalties) and validation loss up to the horizon.

        `horizon` is the part of each trajectory's time span, 0 to 1, that is trained on.
        """
        first, last = self.times[:, :1], self.times[:, -1:]
        until = first + horizon * (last - first)
        seen = self.training & (self.times <= until + 1e-9 * (last - first))
        predicted, gaps = self.predict(point, until)
        loss = self._distance(predicted, seen)
        validation = self._distance(predicted, self.validation)
        if self.segments is not None:
            loss = loss + 0.5 * self.segments.weight * jnp.mean(gaps**2)
        if self.penalty is not None:
            loss = loss + self.penalty(self.space.assemble(point, self.model))
        return loss, validation

    def _distance(self, predicted: dict[str, Array], mask: Array) -> Array:
        if isinstance(self.likelihood, Likelihood):
            return self.likelihood.loss(predicted, self.observed, mask)
        seen = {
            k: jnp.where(jnp.reshape(mask, mask.shape + (1,) * (v.ndim - 2)), v, jnp.nan)
            for k, v in self.observed.items()
        }
        return jnp.asarray(self.likelihood(predicted, seen))

    def residuals(self, point: PyTree) -> Array:
        """Scaled residuals of the training data in one vector, for least squares."""
        assert isinstance(self.likelihood, Likelihood)
        predicted, _ = self.predict(point, self.times[:, -1:])
        return self.likelihood.vector(predicted, self.observed, self.training)

    def predict(self, point: PyTree, until: Array) -> tuple[dict[str, Array], Array]:
        """Measured quantities by label, shape (trajectory, time, ...), and gaps of segments."""

        def one(number: Array, times: Array, end: Array) -> tuple[dict[str, Array], Array]:
            model = self.space.assemble(point, self.model, number)
            if self.segments is None:
                ys, gaps = (
                    self._solve(model, model.state(), times, end),
                    jnp.zeros((0,), times.dtype),
                )
            else:
                ys, gaps = self._shoot(model, point["segments"][number], times)
            constants = self.function.constants(model.parameters, ys.dtype)

            def measure(t: Array, y: Array) -> tuple[Array, ...]:
                return self.function(t, y, constants, model.networks)

            values = jax.vmap(measure)(times, ys)
            return dict(zip(self.labels, values, strict=True)), gaps

        count = self.times.shape[0]
        if count == 1:  # a batched solver loop costs more than a plain one
            single = one(jnp.asarray(0), self.times[0], until[0, 0])
            return jax.tree.map(lambda leaf: leaf[None], single)
        return jax.vmap(one)(jnp.arange(count), self.times, until[:, 0])

    def _solve(self, model: Model, y0: Array, times: Array, end: Array) -> Array:
        """States at the times, the last of which is repeated beyond the end."""
        return dfx.diffeqsolve(
            dfx.ODETerm(Field(model.program)),
            self.solver,
            times[0],
            end,
            None,
            y0,
            args=model.constants(),
            saveat=dfx.SaveAt(ts=jnp.minimum(times, end)),
            stepsize_controller=self.controller,
            adjoint=self.adjoint,
            max_steps=self.max_steps,
            throw=False,
        ).ys  # type: ignore[return-value]

    def _shoot(self, model: Model, free: Array, times: Array) -> tuple[Array, Array]:
        """States at the times from segments with free starts, and the scaled gaps between them."""
        assert self.segments is not None
        starts = jnp.concatenate([model.state()[None], free * self.state_scale])
        index = self.segments.index
        ys = jax.vmap(lambda y0, ts: self._solve(model, y0, ts, ts[-1]))(starts, times[index])
        gaps = (ys[:-1, -1] - starts[1:]) / self.state_scale
        owner, place = self.segments.owners(times.shape[0])
        return ys[owner, place], gaps


class Segments:
    """Which measurements belong to which segment of multiple shooting."""

    def __init__(self, length: int, strategy: MultipleShooting) -> None:
        if length < 2 * strategy.segments:
            raise FitError(
                f"{strategy.segments} segments need {2 * strategy.segments} times or more, not {length}"
            )
        self.cuts = tuple(
            int(c) for c in np.round(np.linspace(0, length - 1, strategy.segments + 1))
        )
        self.weight = strategy.weight

    @property
    def index(self) -> np.ndarray:
        """Numbers of the times of each segment, its end included, the end repeated as padding."""
        longest = max(b - a for a, b in zip(self.cuts, self.cuts[1:], strict=False)) + 1
        rows = [
            np.minimum(np.arange(a, a + longest), b)
            for a, b in zip(self.cuts, self.cuts[1:], strict=False)
        ]
        return np.stack(rows)

    def owners(self, length: int) -> tuple[np.ndarray, np.ndarray]:
        """For each time the segment that predicts it, and its place there."""
        cuts = np.asarray(self.cuts)
        owner = np.clip(
            np.searchsorted(cuts, np.arange(length), side="right") - 1, 0, len(cuts) - 2
        )
        return owner, np.arange(length) - cuts[owner]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Segments) and (self.cuts, self.weight) == (
            other.cuts,
            other.weight,
        )

    def __hash__(self) -> int:
        return hash((self.cuts, self.weight))


def build_objective(
    model: Model,
    data: Dataset,
    space: Space,
    *,
    likelihood: Likelihood | Callable,
    solver: dfx.AbstractSolver,
    controller: dfx.AbstractStepSizeController,
    adjoint: dfx.AbstractAdjoint,
    max_steps: int,
    penalty: Callable | None,
) -> Objective:
    """The objective of whole trajectories."""
    function = model.program.observe(tuple(data.expressions.values()))
    dtype = model.dtype
    return Objective(
        model=model,
        times=jnp.asarray(data.times, dtype),
        observed={k: jnp.asarray(v, dtype) for k, v in data.observed.items()},
        training=jnp.asarray(data.training),
        validation=jnp.asarray(data.validation),
        solver=solver,
        controller=controller,
        adjoint=adjoint,
        state_scale=jnp.asarray(state_scale(model, data), dtype),
        space=space,
        likelihood=likelihood,
        function=function,
        labels=tuple(data.expressions),
        max_steps=max_steps,
        penalty=penalty,
        segments=None,
    )


def state_scale(model: Model, data: Dataset) -> np.ndarray:
    """A typical size of each element of the state: the spread of its data, or its initial value."""
    scale = np.ones(model.program.size)
    for piece in model.states:
        label = piece.name
        if label in data.observed and data.observed[label].shape[2:] == piece.shape:
            values = np.nanstd(data.observed[label], axis=(0, 1))
        else:
            values = np.abs(np.nan_to_num(np.asarray(model.initial[piece.slice]))).reshape(
                piece.shape
            )
        scale[piece.slice] = np.ravel(np.where(values > 0, values, 1.0))
    return scale


def with_segments(
    objective: Objective, strategy: MultipleShooting, data: Dataset
) -> tuple[Objective, Array]:
    """The objective of multiple shooting, and the scaled starts of its inner segments.

    They start at the measurements (interpolated) where an unknown is measured, else at its initial
    value.
    """
    if data.times.shape[0] > 1 and np.any(data.times[:, -1] == data.times[:, -2]):
        raise FitError("multiple shooting needs trajectories with equally many times")
    segments = Segments(data.times.shape[1], strategy)
    model = objective.model
    starts = np.zeros((len(data.times), strategy.segments - 1, model.program.size))
    for piece in model.states:
        values = np.nan_to_num(np.asarray(model.initial[piece.slice]))
        starts[:, :, piece.slice] = values
        if piece.name in data.observed and not piece.shape:
            for row, (times, seen) in enumerate(
                zip(data.times, data.observed[piece.name], strict=True)
            ):
                known = np.isfinite(seen) & data.training[row]
                if known.any():
                    at = times[np.asarray(segments.cuts[1:-1])]
                    starts[row, :, piece.offset] = np.interp(at, times[known], seen[known])
    scaled = starts / np.asarray(objective.state_scale)
    shooting = dataclasses.replace(objective, segments=segments)
    return shooting, jnp.asarray(scaled, model.dtype)
