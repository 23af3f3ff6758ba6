"""One more step, from a random time of a solve."""

from __future__ import annotations

from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ._estimates import Scale, Step, stage_matrix, tableau_of


def further_step(
    terms: Any, solver: Any, args: Any, *, sample: tuple[Any, Any, Any], end: Any, scale: Scale
) -> Step:
    """A step from the sampled time and state, which are constants for the gradient.

    So is the first stage, as published, if that slows the rates down (`slows_down`). `sample` is a
    time, the state there, and the step size where there is no rule for it; `end` the end of the
    interval, past which no step goes; `scale` that of the rule.

    Source: Pal, Edelman, Rackauckas, Locally regularized neural differential equations (2023).
    """
    t, y, size = jax.lax.stop_gradient(sample)
    end = jnp.asarray(end, t.dtype)
    ruled, reused = has_rule(terms, scale), has_first_stage(terms, solver)
    rate = terms.vf(t, y, args) if ruled or reused else None
    constant = jax.lax.stop_gradient(rate)
    if ruled:
        size = first_step_size(terms, solver, t, y, constant, args, scale, end)
    size = jax.lax.stop_gradient(jnp.minimum(size, jnp.abs(end - t)))
    after = t + jnp.where(end < t, -size, size)
    state = solver.init(terms, t, after, y, args)
    if reused:
        first = constant if slows_down(tableau_of(solver)) else rate
        state = jnp.zeros((), bool), first  # of Runge-Kutta methods: is it the first step, and k_1
    y1, error, dense, state, _ = solver.step(terms, t, after, y, args, state, made_jump=False)
    return Step(terms, t, after, y, y1, args, error, dense, state)


def first_step_size(
    terms: Any, solver: Any, t: Array, y: Any, rate: Any, args: Any, scale: Scale, end: Array
) -> Array:
    """The size of a first step from the state `y`, whose rate is known: one evaluation.

    Source: Hairer, Norsett, Wanner, Solving ordinary differential equations I (1993), section
    II.4, the algorithm of the starting step size.
    """
    norm = lambda tree: jnp.asarray(scale.norm(scale(y, y, tree)), t.dtype)  # noqa: E731
    d0, d1 = norm(y), norm(rate)
    tiny = (d0 < 1e-5) | (d1 < 1e-5)
    h0 = jnp.where(tiny, 1e-6, 0.01 * d0 / jnp.where(tiny, 1, d1)).astype(t.dtype)
    h0 = jnp.minimum(h0, jnp.abs(end - t))  # equations may have no meaning past the end
    signed = jnp.where(end < t, -h0, h0)
    ahead = jax.tree.map(lambda u, f: u + signed.astype(u.dtype) * f, y, rate)
    change = jax.tree.map(lambda a, b: a - b, terms.vf(t + signed, ahead, args), rate)
    steepest = jnp.maximum(d1, norm(change) / jnp.where(h0 > 0, h0, 1))
    flat = steepest <= 1e-15
    order = solver.error_order(terms)
    h1 = (0.01 / jnp.where(flat, 1, steepest)) ** (1 / order)
    h1 = jnp.where(flat, jnp.maximum(1e-6, h0 * 1e-3), h1)
    return jnp.minimum(100 * h0, h1)


def has_rule(terms: Any, scale: Scale) -> bool:
    """Whether the size of a first step follows from the equations and the tolerances."""
    return isinstance(terms, dfx.ODETerm) and scale.rtol is not None


def has_first_stage(terms: Any, solver: Any) -> bool:
    """Whether a step takes its first stage from the one before: it can then be given."""
    tableau = tableau_of(solver)
    return isinstance(terms, dfx.ODETerm) and tableau is not None and bool(tableau.fsal)


def slows_down(tableau: Any) -> bool:
    """Whether a gradient that leaves out the first stage makes the rates smaller.

    The weights of an error estimate sum to 0, so that without the first one, b_1, the gradient
    moves the rates by ``b_1 e``, however small e is. With ``u' = z u``, the sign of ``b_1 e / z``
    for small z tells whether that is towards 0: so for Tsit5 and Dopri5, as in the published runs;
    not for Dopri8 and Bosh3, whose first stage has to carry the gradient too.
    """
    z, ones = -0.1, np.ones(tableau.num_stages)
    stages = np.linalg.solve(np.eye(ones.size) - z * stage_matrix(tableau), ones)
    return bool(tableau.b_error[0] * (tableau.b_error @ stages) < 0)


def as_differentiable(solver: Any, adjoint: dfx.AbstractAdjoint) -> Any:
    """The solver with loops over stages that the adjoint can go through, as Diffrax sets them."""
    kinds = {dfx.ForwardMode: "lax", dfx.DirectAdjoint: "bounded"}
    kind = next((k for a, k in kinds.items() if isinstance(adjoint, a)), None)
    looping = isinstance(solver, dfx.AbstractRungeKutta | dfx.AbstractSRK)
    if kind is None or not looping or solver.scan_kind is not None:
        return solver
    return eqx.tree_at(lambda s: s.scan_kind, solver, kind, is_leaf=lambda leaf: leaf is None)


def with_tolerances(solver: Any, scale: Scale) -> Any:
    """An implicit solver with the tolerances that its root finder takes from the step control."""
    if not isinstance(solver, dfx.AbstractImplicitSolver) or scale.rtol is None:
        return solver
    finder: Any = solver.root_finder
    for name in ("rtol", "atol"):
        if not isinstance(getattr(finder, name), int | float | jax.Array):  # a placeholder
            finder = eqx.tree_at(lambda f: getattr(f, name), finder, getattr(scale, name))  # noqa: B023
    if not callable(finder.norm):
        finder = eqx.tree_at(lambda f: f.norm, finder, scale.norm)
    return eqx.tree_at(lambda s: s.root_finder, solver, finder)
