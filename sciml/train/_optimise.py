"""Minimisation: optax first, then least squares or BFGS by optimistix."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optimistix as optx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree
from tqdm import tqdm

from ._loss import Likelihood
from ._objective import Objective

_CHUNK = 20  # steps between two looks at the losses


@dataclasses.dataclass
class Trace:
    """How a minimisation went: losses of each start, shape (step, start), and what was noted."""

    losses: np.ndarray
    validation: np.ndarray
    notes: list[str]


@functools.lru_cache(maxsize=64)
def default_optimiser(learning_rate: float, steps: int) -> optax.GradientTransformation:
    """Adam with clipped gradients and a cosine schedule; one object for equal settings."""
    schedule = optax.cosine_decay_schedule(learning_rate, max(steps, 1), alpha=0.01)
    return optax.chain(optax.clip_by_global_norm(10.0), optax.adam(schedule))


class _Carry(eqx.Module):
    point: PyTree
    optimiser_state: PyTree
    best: PyTree
    score: Array  # validation loss of the best point, or its training loss


@eqx.filter_jit
def _advance(
    objective: Objective,
    optimiser: optax.GradientTransformation,
    carry: _Carry,
    horizon: Array,
    steps: int,
) -> tuple[_Carry, tuple[Array, Array]]:
    """Some steps of the optimiser, for every start at once."""
    held_out = jnp.any(objective.validation)

    def loss(point: PyTree) -> tuple[Array, Array]:
        return objective.losses(point, horizon)

    def step(carry: _Carry, _: None) -> tuple[_Carry, tuple[Array, Array]]:
        (value, validation), slope = eqx.filter_value_and_grad(loss, has_aux=True)(carry.point)
        good = jnp.isfinite(value) & _all_finite(slope)
        score = jnp.where(held_out, validation, value)
        score = jnp.where(good & jnp.isfinite(score), score, jnp.inf)
        better = score < carry.score
        best = _where(better, carry.point, carry.best)
        slope = _where(good, slope, jax.tree.map(jnp.zeros_like, slope))
        with jax.numpy_dtype_promotion("standard"):  # optax mixes integer counts and floats
            update, state = optimiser.update(slope, carry.optimiser_state, carry.point)  # type: ignore[arg-type]
            moved = eqx.apply_updates(carry.point, update)
        point = _where(good, moved, best)  # a step that failed is taken back to the best point
        point = jax.tree.map(lambda new, old: new.astype(old.dtype), point, carry.point)
        return _Carry(point, state, best, jnp.minimum(score, carry.score)), (value, validation)

    def run(carry: _Carry) -> tuple[_Carry, tuple[Array, Array]]:
        return jax.lax.scan(step, carry, None, length=steps)

    starts = jax.tree.leaves(carry.score)[0].shape[0]
    if starts == 1:  # a batched solver loop costs more than a plain one
        carry, losses = run(jax.tree.map(lambda leaf: leaf[0], carry))
        return jax.tree.map(lambda leaf: leaf[None], (carry, losses))
    return jax.vmap(run)(carry)


def descend(
    objective: Objective,
    points: PyTree,
    *,
    optimiser: optax.GradientTransformation,
    steps: int,
    horizons: tuple[float, ...] = (1.0,),
    patience: int | None = None,
    progress: bool = True,
    label: str = "fit",
) -> tuple[PyTree, Array, Trace]:
    """Minimises from several starts (leading axis of `points`) by an optax optimiser.

    Returns the best point of each start, its score, and the trace. Stops early after `patience`
    steps without a better validation loss.
    """
    count = jax.tree.leaves(points)[0].shape[0]
    infinite = jnp.full((count,), jnp.inf, objective.times.dtype)
    with jax.numpy_dtype_promotion("standard"):
        state = jax.vmap(optimiser.init)(points)
    carry = _Carry(points, state, points, infinite)
    losses, validation, notes = [], [], []
    best_step, taken = 0, 0
    bar = tqdm(total=steps, desc=label, disable=not progress, unit="step", leave=True)
    for number, horizon in enumerate(horizons):
        if number:  # losses over different horizons cannot be compared
            carry = _Carry(carry.point, carry.optimiser_state, carry.point, infinite)
        end = round(steps * (number + 1) / len(horizons))
        while taken < end:
            now = min(_CHUNK, end - taken)
            before = carry.score
            part = jnp.asarray(horizon, objective.times.dtype)
            carry, (value, held_out) = _advance(objective, optimiser, carry, part, now)
            taken += now
            losses.append(np.asarray(value).T)
            validation.append(np.asarray(held_out).T)
            if bool(jnp.any(carry.score < before)):
                best_step = taken
            bar.update(now)
            bar.set_postfix_str(f"loss {float(jnp.min(carry.score)):.4g}", refresh=False)
            if patience is not None and taken - best_step >= patience:
                notes.append(f"stopped early at step {taken}: no better since step {best_step}")
                break
    bar.close()
    trace = Trace(_joined(losses, count), _joined(validation, count), notes)
    failed = int(np.sum(~np.isfinite(trace.losses)))
    if failed:
        notes.append(f"{failed} steps diverged, and were taken back to the best point until then")
    return carry.best, carry.score, trace


def _joined(parts: list[np.ndarray], count: int) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros((0, count))


def _all_finite(tree: PyTree) -> Array:
    leaves = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]
    return functools.reduce(jnp.logical_and, leaves, jnp.asarray(True))


def _where(condition: Array, one: PyTree, other: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), one, other)


def polish(objective: Objective, point: PyTree, *, method: str, max_steps: int = 200) -> PyTree:
    """A local minimum near a point, by "lm" (Levenberg-Marquardt) or "bfgs"."""
    return _polish(_forward(objective) if method == "lm" else objective, point, method, max_steps)


@eqx.filter_jit
def _polish(objective: Objective, point: PyTree, method: str, max_steps: int) -> PyTree:
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        if method == "lm":

            def residuals(point: PyTree, _: Any) -> Array:
                found = objective.residuals(point)
                # a trial point where the solve fails must only be worse than all others
                return jnp.where(jnp.isfinite(found), found, 1e6)

            solver = optx.LevenbergMarquardt(rtol=1e-9, atol=1e-9)
            return optx.least_squares(
                residuals, solver, point, max_steps=max_steps, throw=False
            ).value

        def loss(point: PyTree, _: Any) -> Array:
            value, _validation = objective.losses(point, jnp.ones((), objective.times.dtype))
            return jnp.where(jnp.isfinite(value), value, 1e12)

        solver = optx.BFGS(rtol=1e-8, atol=1e-8)
        return optx.minimise(loss, solver, point, max_steps=max_steps, throw=False).value


def _forward(objective: Objective) -> Objective:
    """The objective with derivatives in forward mode: cheap for few free numbers."""
    return eqx.tree_at(lambda o: o.adjoint, objective, dfx.ForwardMode())


@eqx.filter_jit
def whole_loss(objective: Objective, point: PyTree) -> tuple[Array, Array]:
    """Training and validation loss of a point over whole trajectories."""
    return objective.losses(point, jnp.ones((), objective.times.dtype))


def standard_errors(objective: Objective, point: PyTree, count: int) -> PyTree | None:
    """Standard errors of z, from the curvature of the likelihood at a minimum.

    Normal kinds: the inverse of J^T J, times the residual variance where the noise is not given;
    Poisson: the inverse of the Hessian. `count` is the number of measurements. None where the
    curvature is singular, or there are no more measurements than free numbers.
    """
    flat, rebuild = ravel_pytree(point)
    objective = _forward(objective)
    assert isinstance(objective.likelihood, Likelihood)
    if objective.likelihood.kind == "poisson":
        information = _hessian(objective, flat, rebuild) * count
        variance = 1.0
    else:
        jacobian, residuals = _jacobian(objective, flat, rebuild)
        information = jacobian.T @ jacobian
        freedom = count - flat.size
        if freedom <= 0:
            return None
        variance = (
            1.0 if objective.likelihood.known_noise else float(residuals @ residuals) / freedom
        )
    if not np.all(np.isfinite(information)) or np.linalg.cond(information) > 1e14:
        return None
    diagonal = variance * np.diag(np.linalg.inv(information))
    if np.any(diagonal < 0):
        return None
    return rebuild(jnp.asarray(np.sqrt(diagonal), flat.dtype))


def _jacobian(objective: Objective, flat: Array, rebuild: Any) -> tuple[np.ndarray, np.ndarray]:
    run = eqx.filter_jit(lambda o, z: o.residuals(rebuild(z)))
    slopes = eqx.filter_jit(lambda o, z: jax.jacfwd(lambda w: o.residuals(rebuild(w)))(z))
    return np.asarray(slopes(objective, flat)), np.asarray(run(objective, flat))


def _hessian(objective: Objective, flat: Array, rebuild: Any) -> np.ndarray:
    def loss(z: Array) -> Array:
        return objective.losses(rebuild(z), jnp.ones((), z.dtype))[0]

    return np.asarray(jax.jit(jax.jacfwd(jax.jacfwd(loss)))(flat))
