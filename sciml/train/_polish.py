"""The last digits: Levenberg-Marquardt or BFGS by optimistix, after optax.

Optimistix is stepped by hand. A step evaluates its function at one point only, so that it may be
given the expansion of the objective there: what is compiled for a step then holds no solve, and one
compiled solve with its derivatives serves the descent, this, and the standard errors.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree

from ._objective import Look, Objective, look

_WORST = 1e6  # a residual where the solve fails: worse than all others
_OPTIONS = {"jac": "bwd"}  # of the expansion, where this is the Jacobian itself


def polish(objective: Objective, point: PyTree, *, method: str, max_steps: int = 200) -> PyTree:
    """A local minimum near a point, by "lm" (least squares; forward mode) or "bfgs"."""
    flat, rebuild = ravel_pytree(point)
    squares = method == "lm"
    # in float64 it is the noise of adaptive solves that sets it, in float32 the precision
    tolerance = 1e-9 if flat.dtype == jnp.float64 else 1e-5
    solver: Any = optx.BFGS(tolerance, tolerance)
    if squares:
        solver = optx.LevenbergMarquardt(tolerance, tolerance)
    whole = jnp.ones((), flat.dtype)
    y = flat.astype(jnp.zeros(()).dtype)  # optimistix's own: float64 if enabled, for any model
    expansion = _expand(y, look(objective, point, whole), squares)
    state = _init(solver, y, expansion)
    for _ in range(max_steps):
        y, state, trial, done = _step(solver, y, expansion, state)
        if done:
            break
        seen = look(objective, rebuild(trial.astype(flat.dtype)), whole)
        expansion = _expand(trial, seen, squares)
    return rebuild(y.astype(flat.dtype))


def _expand(at: Array, seen: Look, squares: bool) -> tuple[Array, Array, Array]:
    """The objective to first order, with its failures made large and flat."""
    value, slope = (seen.residuals, seen.jacobian) if squares else (seen.loss, None)
    if slope is None:
        slope = ravel_pytree(seen.slope)[0]
    return _guard(at, value, slope)


@jax.jit
def _guard(at: Array, value: Array, slope: Array) -> tuple[Array, Array, Array]:
    value, slope = value.astype(at.dtype), slope.astype(at.dtype)
    good = jnp.isfinite(value) & jnp.all(jnp.isfinite(slope), axis=-1)
    return at, jnp.where(good, value, _WORST), jnp.where(good[..., None], slope, 0.0)


def _expansion(y: Array, args: tuple[Array, Array, Array]) -> tuple[Array, None]:
    at, value, slope = args
    return value + slope @ (y - at), None


@eqx.filter_jit
def _init(solver: Any, y: Array, args: tuple[Array, Array, Array]) -> PyTree:
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        struct = jax.eval_shape(lambda: args[1])
        return solver.init(_expansion, y, args, _OPTIONS, struct, None, frozenset())


@eqx.filter_jit
def _step(
    solver: Any, y: Array, args: tuple[Array, Array, Array], state: PyTree
) -> tuple[Array, PyTree, Array, Array]:
    """One step: the accepted point, the state, the next trial point, and whether it is over."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        y, state, _ = solver.step(_expansion, y, args, _OPTIONS, state, frozenset())
        done, result = solver.terminate(_expansion, y, args, _OPTIONS, state, frozenset())
    return y, state, state.y_eval, done | (result != optx.RESULTS.successful)
