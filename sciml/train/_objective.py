"""What a fit minimises: predictions at the measured times, and their distance from the data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, PyTree

from sciml.dsl import Model
from sciml.solvers import Field, SolverCost, diffeqsolve, weighted_cost
from sciml.solvers._initial import start

from ._data import Dataset
from ._forcing import Forcing, forcing_strength
from ._loss import Custom, Likelihood, as_number, typical_size
from ._shooting import Segments
from ._space import Space


class Look(eqx.Module):
    """What is seen of an objective at a point.

    `loss` on the training data (with penalties) and on the `validation` data (NaN if there are
    none), the `slope` of the loss, and how many `evaluations` of the rates its solves took (NaN for
    implicit solvers); in forward mode for one start also the scaled `residuals` of the training
    data and their `jacobian` by the raveled point. Starts are a leading axis of all.
    """

    loss: Float[Array, "*start"]
    validation: Float[Array, "*start"]
    slope: PyTree
    evaluations: Float[Array, "*start"]
    residuals: Float[Array, "*start residual"] | None = None
    jacobian: Float[Array, "*start residual free"] | None = None


class Objective(eqx.Module):
    """The loss of a point of the space; a pytree, so that compiled code serves many fits.

    Fields: the `model` that points are applied to; the data, as in `Dataset`; `space`,
    `likelihood` and the `function` that computes the measured quantities; the solver and its
    settings; `segments` of multiple shooting, or None; `forcing` of teacher forcing, or None;
    `penalty`, a function of the model; `costs` of the solves, and the `key` of those that draw a
    time at random.
    """

    model: Model
    starts: Float[Array, " row"]
    times: Float[Array, "row time"]
    observed: dict[str, Array]
    training: Bool[Array, "row time"]
    validation: Bool[Array, "row time"]
    space: Space
    likelihood: Likelihood | Custom
    penalty: Callable | None
    segments: Segments | None
    forcing: Forcing | None
    solver: dfx.AbstractSolver
    controller: dfx.AbstractStepSizeController
    dt0: Array | None
    adjoint: dfx.AbstractAdjoint
    key: Array
    costs: tuple[SolverCost, ...] = eqx.field(static=True)
    function: Any = eqx.field(static=True)
    max_steps: int | None = eqx.field(static=True)
    held_out: bool = eqx.field(static=True)

    @property
    def forward(self) -> bool:
        """Whether derivatives are taken in forward mode."""
        return isinstance(self.adjoint, dfx.ForwardMode)

    def losses(
        self, point: PyTree, horizon: Array, step: Array | None = None
    ) -> tuple[Array, Array, Array, Array]:
        """Training loss (with penalties), validation loss, scaled residuals, and evaluations.

        `horizon` is the part of each trajectory's time span, 0 to 1, that is trained on; `step`,
        the number of the step of training, on which weights of costs depend. Of a user's loss there
        are no residuals for least squares.
        """
        first, last = self.times[:, :1], self.times[:, -1:]
        until = jnp.where(horizon < 1, first + horizon * (last - first), last)
        seen = self.training & (self.times <= until)
        predicted, gaps, (costs, evaluations) = self.predict(point, until, step)
        loss = self.likelihood.loss(predicted, self.observed, seen)
        validation = jnp.full_like(loss, jnp.nan)
        if self.held_out:
            validation = self.likelihood.loss(predicted, self.observed, self.validation)
        residuals = jnp.zeros((0,), loss.dtype)
        if isinstance(self.likelihood, Likelihood):
            residuals = self.likelihood.vector(predicted, self.observed, self.training)
        if self.segments is not None:
            loss = loss + 0.5 * self.segments.weight * jnp.mean(gaps**2)
            share = self.segments.weight * jnp.sum(seen).astype(loss.dtype) / gaps.size
            residuals = jnp.concatenate([residuals, jnp.ravel(gaps) * jnp.sqrt(share)])
        if self.penalty is not None:
            extra = as_number(self.penalty(self.space.assemble(point, self.model)), "penalty")
            loss = loss + extra.astype(loss.dtype)
        trained = jnp.any(self.training, axis=1)
        count = jnp.sum(trained).astype(loss.dtype)
        means = [jnp.sum(jnp.where(trained, each, 0.0)) / count for each in costs]
        loss = loss + weighted_cost(self.costs, means, 0 if step is None else step, loss.dtype)
        return loss, validation, residuals, jnp.sum(evaluations)

    def predict(
        self, point: PyTree, until: Array, step: Array | None = None
    ) -> tuple[dict[str, Array], Array, tuple[tuple[Array, ...], Array]]:
        """Measured quantities by label, shape (trajectory, time, ...), and gaps of segments.

        And for each trajectory the costs of its solve, and how many evaluations it took.
        """
        strength = self.strength(point)
        step = jnp.zeros((), int) if step is None else step
        keys = jax.random.split(jax.random.fold_in(self.key, step), self.times.shape[0])

        def one(row: Array, times: Array, end: Array, key: Array) -> tuple:
            model, gaps = self.space.assemble(point, self.model, row), None
            if self.forcing is not None:
                flow = self._flow(model, self.adjoint)
                t0 = self.starts[row]
                ys = self.forcing.predict(flow, t0, model.state(), times, row, strength)
                effort: tuple = ((), jnp.full((), jnp.nan, ys.dtype))
            elif self.segments is None:
                t0 = self.starts[row]
                ys, effort = self._solve(model, t0, start(model, t0), times, end, key)
            else:
                ys, gaps, effort = self._shoot(model, point["segments"][row], row, times, key)
            constants = self.function.constants(model.parameters, ys.dtype)

            def measure(t: Array, y: Array) -> tuple[Array, ...]:
                return self.function(t, y, constants, model.networks)

            values = jax.vmap(measure)(times, ys)
            labelled = dict(zip(sorted(self.observed), values, strict=True))
            return labelled, jnp.zeros((0,), ys.dtype) if gaps is None else gaps, effort

        count = self.times.shape[0]
        if count == 1:  # a batched solver loop costs more than a plain one
            single = one(jnp.asarray(0), self.times[0], until[0, 0], keys[0])
            return jax.tree.map(lambda leaf: leaf[None], single)
        return jax.vmap(one)(jnp.arange(count), self.times, until[:, 0], keys)

    def strength(self, point: PyTree) -> Array:
        """The strength of teacher forcing at a point, a constant for its slope; 0 without."""
        if self.forcing is None:
            return jnp.zeros((), self.times.dtype)
        if not self.forcing.automatic:
            return self.forcing.strength
        fixed, forcing = jax.lax.stop_gradient(point), self.forcing

        def norms(row: Array, times: Array) -> Array:
            model = self.space.assemble(fixed, self.model, row)
            return forcing.estimate(self._flow(model, dfx.ForwardMode()), times, row)

        found = jax.vmap(norms)(jnp.arange(self.times.shape[0]), self.times)
        return forcing_strength(found, forcing.pairs, rule=forcing.rule)

    def _flow(self, model: Model, adjoint: dfx.AbstractAdjoint) -> Callable:
        """The flow of a model from a time and state to another time."""

        def flow(now: Array, state: Array, then: Array) -> Array:
            return self._solve(model, now, state, then[None], then, self.key, adjoint)[0][0]

        return flow

    def _solve(
        self,
        model: Model,
        t0: Array,
        y0: Array,
        times: Array,
        end: Array,
        key: Array,
        adjoint: dfx.AbstractAdjoint | None = None,
    ) -> tuple[Array, tuple[tuple[Array, ...], Array]]:
        """States at the times, the last of which is repeated beyond the end; costs, evaluations."""
        constants, networks = model.constants()
        found = diffeqsolve(
            dfx.ODETerm(Field(model.program)),
            self.solver,
            t0,
            end,
            self.dt0,
            y0,
            (constants or None, networks),  # diffrax 0.7's BacksolveAdjoint takes no empty tuple
            regularise=self.costs,
            key=key,
            saveat=dfx.SaveAt(ts=jnp.minimum(times, end)),
            stepsize_controller=self.controller,
            adjoint=self.adjoint if adjoint is None else adjoint,
            max_steps=self.max_steps,
            throw=False,
        )
        ys: Any = found.ys
        taken = jnp.asarray(found.stats.get("num_evaluations", jnp.nan)).astype(ys.dtype)
        return ys, (found.stats.get("cost", ()), jax.lax.stop_gradient(taken))

    def _shoot(
        self, model: Model, free: Array, row: Array, times: Array, key: Array
    ) -> tuple[Array, Array, tuple]:
        """States at the times from segments with free starts, and the scaled gaps between them.

        And the costs and evaluations of all segments together.
        """
        assert self.segments is not None
        index = self.segments.index[row]
        y0 = jnp.concatenate([model.state()[None], free * self.segments.scale[None]])
        t0 = times[index[:, 0]].at[0].set(self.starts[row])

        def segment(t0: Array, y0: Array, ts: Array, key: Array) -> tuple:
            return self._solve(model, t0, y0, ts, ts[-1], key)

        ys, effort = jax.vmap(segment)(t0, y0, times[index], jax.random.split(key, len(t0)))
        gaps = (ys[:-1, -1] - y0[1:]) / self.segments.scale[None]
        states = ys[self.segments.owner[row], self.segments.place[row]]
        return states, gaps, jax.tree.map(jnp.sum, effort)


def build_objective(
    model: Model,
    data: Dataset,
    space: Space,
    *,
    likelihood: Likelihood | Custom,
    penalty: Callable | None,
    solver: dfx.AbstractSolver,
    controller: dfx.AbstractStepSizeController,
    dt0: Array | None,
    adjoint: dfx.AbstractAdjoint,
    max_steps: int | None,
    key: Array,
    costs: tuple[SolverCost, ...] = (),
) -> Objective:
    """The objective of whole trajectories."""
    dtype = model.dtype
    labels = sorted(data.expressions)  # as a pytree orders the columns
    return Objective(
        model=model,
        starts=jnp.asarray(data.starts, dtype),
        times=jnp.asarray(data.times, dtype),
        observed={k: jnp.asarray(v, dtype) for k, v in data.observed.items()},
        training=jnp.asarray(data.training),
        validation=jnp.asarray(data.validation),
        space=space,
        likelihood=likelihood,
        penalty=penalty,
        segments=None,
        forcing=None,
        solver=solver,
        controller=controller,
        dt0=dt0,
        adjoint=adjoint,
        key=key,
        costs=costs,
        function=model.program.observe(tuple(data.expressions[k] for k in labels)),
        max_steps=max_steps,
        held_out=bool(np.any(data.validation)),
    )


def state_scale(model: Model, data: Dataset) -> np.ndarray:
    """A typical size of each element of the state: the spread of its data, or its initial value."""
    scale = np.ones(model.program.size)
    for piece in model.states:
        values = np.abs(np.nan_to_num(np.asarray(model.initial[piece.slice])))
        if piece.name in data.observed:
            values = np.ravel(typical_size(data.trained(piece.name)))
        scale[piece.slice] = np.where(values > 0, values, 1.0)
    return scale


def look(objective: Any, point: PyTree, horizon: Array) -> Look:
    """An objective at one point."""
    seen = look_at_all(objective, jax.tree.map(lambda leaf: leaf[None], point), horizon)
    return jax.tree.map(lambda leaf: leaf[0], seen)


@eqx.filter_jit
def look_at_all(objective: Any, points: PyTree, horizon: Array, step: Array | None = None) -> Look:
    """An objective at several points, along their leading axis; with residuals if it is one."""

    def one(point: PyTree) -> Look:
        return _look(objective, point, horizon, step)

    if jax.tree.leaves(points)[0].shape[0] > 1:
        seen = jax.vmap(one)(points)
        return Look(seen.loss, seen.validation, seen.slope, seen.evaluations)
    seen = one(jax.tree.map(lambda leaf: leaf[0], points))  # a batched solver loop costs more
    return jax.tree.map(lambda leaf: leaf[None], seen)


def _look(objective: Any, point: PyTree, horizon: Array, step: Array | None) -> Look:
    flat, rebuild = ravel_pytree(point)

    def seen(z: Array) -> tuple[tuple[Array, Array], tuple[Array, Array, Array, Array]]:
        loss, validation, residuals, taken = objective.losses(rebuild(z), horizon, step)
        return (loss, residuals), (loss, validation, residuals, taken)

    def loss_alone(z: Array) -> tuple[Array, tuple[Array, Array, Array, Array]]:
        (loss, _), aux = seen(z)
        return loss, aux

    if objective.forward:
        (slope, jacobian), aux = jax.jacfwd(seen, has_aux=True)(flat)
        loss, validation, residuals, taken = aux
        return Look(loss, validation, rebuild(slope), taken, residuals, jacobian)
    slope, (loss, validation, _, taken) = jax.grad(loss_alone, has_aux=True)(flat)
    return Look(loss, validation, rebuild(slope), taken)
