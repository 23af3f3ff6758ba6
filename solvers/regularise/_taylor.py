"""High derivatives of a solution, from its equations alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import jet
from jaxtyping import Array

from ._estimates import Step, stage_matrix, tableau_of, weighted


def taylor_size(step: Step, solver: Any, order: int) -> Array:
    """The integral over a step of the squared derivative, by the weights of the method.

    ``h sum_i b_i |d^K u / dt^K (t_i, g_i)|^2`` over the stages g_i.
    """
    tableau = tableau_of(solver)
    assert tableau is not None
    used = np.flatnonzero(tableau.b_sol)
    matrix = stage_matrix(tableau)[used]
    stages = jax.tree.map(lambda u, k: u[None] + weighted(matrix, k), step.y0, step.dense["k"])
    places = np.asarray([tableau.c1, *tableau.c])[used]
    h = step.t1 - step.t0
    times = step.t0 + jnp.asarray(places, jnp.result_type(h)) * h

    def rate(t: Array, u: Any) -> Any:
        return step.terms.vf(t, u, step.args)

    def squared(t: Array, u: Any) -> Array:
        high = time_derivative(rate, t, u, order)
        squares = [jnp.sum(jnp.abs(leaf) ** 2) for leaf in jax.tree.leaves(high)]
        return jnp.sum(jnp.stack([s.astype(step.dtype) for s in squares]))

    return step.size * weighted(tableau.b_sol[used], jax.vmap(squared)(times, stages))


def time_derivative(rate: Callable, t: Array, u: Any, order: int) -> Any:
    """``d^K u / dt^K`` of ``du/dt = rate(t, u)``, by Taylor mode.

    Where an operation has no rule for it in JAX, by nested forward mode, at 2^K times the cost.
    """
    try:
        return _by_taylor(rate, t, u, order)
    except (NotImplementedError, KeyError):
        return _by_nesting(rate, t, u, order)


def _by_taylor(rate: Callable, t: Array, u: Any, order: int) -> Any:
    """Each derivative of the rate gives the next one of the solution."""
    if order == 1:
        return rate(t, u)
    leaves, structure = jax.tree.flatten(u)

    def flat(t: Array, *leaves: Array) -> list[Array]:
        return jax.tree.leaves(rate(t, jax.tree.unflatten(structure, leaves)))

    zero, one = jnp.zeros_like(t), jnp.ones_like(t)
    found = [jax.tree.leaves(rate(t, u))]  # the derivatives of each leaf, from the first on
    for known in range(1, order):
        of_time = [one, *[zero] * (known - 1)]
        series = [of_time, *(list(of_leaf) for of_leaf in zip(*found, strict=True))]
        first, further = jet.jet(flat, (t, *leaves), series)
        found = [list(first), *([of[n] for of in further] for n in range(known))]
    return jax.tree.unflatten(structure, found[-1])


def _by_nesting(rate: Callable, t: Array, u: Any, order: int) -> Any:
    """The derivative along ``(1, rate)``, over and over."""
    derivative = rate
    for _ in range(order - 1):
        derivative = _along(derivative, rate)
    return derivative(t, u)


def _along(function: Callable, rate: Callable) -> Callable:
    def derivative(t: Array, u: Any) -> Any:
        return jax.jvp(function, (t, u), (jnp.ones_like(t), rate(t, u)))[1]

    return derivative
