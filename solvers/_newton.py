"""Roots of large systems by Newton's method, damped, with the structure of their Jacobian."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from sciml.dsl.codegen.pattern import Pattern

from .linear import AbstractStructure, Dense
from .linear._structure import solved_linearly
from .linear._superlu import SuperLU

_SHORTEST = 2.0**-20  # of a Newton step that is tried
_FEW = 32  # unknowns, for which the matrix is full
_SINGULAR = 0.01  # of the largest condition number that a floating type can hold


class Root(eqx.Module):
    """What Newton's method came to.

    Fields: `good`, whether a root was found; `count`, the iterations; `singular`, whether the
    Jacobian was so at the end; `step`, the last correction, and `loose`, a direction in which the
    equations hardly change: they tell which unknown went wrong.
    """

    good: Bool[Array, ""]
    count: Int[Array, ""]
    singular: Bool[Array, ""]
    step: Float[Array, " unknown"]
    loose: Float[Array, " unknown"]


def root_structure(pattern: Pattern) -> AbstractStructure:
    """The linear algebra of Newton's method: with pivots, as nothing makes the diagonal strong."""
    size = pattern.shape[0]
    return Dense(size) if size <= _FEW else SuperLU(pattern.with_diagonal())


def find_root(
    residual: Callable[[Array], Array],
    guess: Float[Array, " unknown"],
    structure: AbstractStructure,
    pieces: Sequence[slice],
    *,
    tolerance: float,
    max_steps: int,
) -> tuple[Float[Array, " unknown"], Root]:
    """A root of `residual` near `guess`, and how it was found.

    Corrections count relative to the largest value of each of `pieces`. Derivatives are those of
    the implicit function, by one linear solve.

    Source of the damping: Deuflhard, Newton Methods for Nonlinear Problems (2004), section 3.3.
    """

    def solve(f: Callable[[Array], Array], z: Array) -> tuple[Array, tuple]:
        root = _newton(f, z, structure, pieces, tolerance=tolerance, max_steps=max_steps)
        # as floating numbers: the rule of custom_root wants derivatives of them, which are zero
        return root[0], tuple(a.astype(z.dtype) for a in root[1:])

    def tangent(product: Callable[[Array], Array], right: Array) -> Array:
        matrix = structure.jacobian(product, jnp.zeros_like(right))
        return solved_linearly(structure, matrix, structure.factor(matrix), right)

    z, aux = jax.lax.custom_root(residual, guess, solve, tangent, has_aux=True)
    good, count, singular, step, loose = map(jax.lax.stop_gradient, aux)
    return z, Root(good > 0, count.astype(jnp.int32), singular > 0, step, loose)


def _newton(
    residual: Callable[[Array], Array],
    z: Array,
    structure: AbstractStructure,
    pieces: Sequence[slice],
    *,
    tolerance: float,
    max_steps: int,
) -> tuple[Array, ...]:
    def linearised(z: Array) -> Callable[[Array], Array]:
        factors = structure.factor(structure.jacobian(residual, z))
        return lambda right: structure.solve(factors, right)

    def go_on(carry: tuple) -> Array:
        _, _, count, done, failed, _ = carry
        return (count < max_steps) & ~done & ~failed

    def step(carry: tuple) -> tuple:
        z, size, count, _, _, _ = carry
        solve = linearised(z)
        full = -solve(residual(z))
        size = jnp.maximum(size, _sizes(jnp.maximum(jnp.abs(z), jnp.abs(full)), pieces))
        length = _norm(full, size)

        def next_one(share: Array) -> Array:
            return -solve(residual(z + share * full))

        def too_long(carry: tuple) -> Array:
            share, after = carry
            shorter = _norm(after, size) <= (1 - share / 4) * length
            return ~shorter & (share > _SHORTEST)

        def halved(carry: tuple) -> tuple:
            share = carry[0] / 2
            return share, next_one(share)

        one = jnp.ones_like(length)
        share, after = jax.lax.while_loop(too_long, halved, (one, next_one(one)))
        sound, stuck = jnp.all(jnp.isfinite(full)), share <= _SHORTEST
        rounding = length <= tolerance  # where no step makes it smaller
        done = sound & (rounding | (~stuck & (share == 1) & (_norm(after, size) <= tolerance)))
        moved = jnp.where(stuck, z, z + share * full)
        polished = jnp.where(done & ~stuck & jnp.all(jnp.isfinite(after)), moved + after, moved)
        new = jnp.where(sound, polished, z)
        return new, size, count + 1, done, ~done & (stuck | ~sound), full

    none = jnp.zeros((), bool)
    begun = z, jnp.zeros_like(z), jnp.zeros((), jnp.int32), none, none, jnp.zeros_like(z)
    z, size, count, done, _, full = jax.lax.while_loop(go_on, step, begun)
    singular, loose = _is_singular(residual, z, structure)
    good = done & ~singular & jnp.all(jnp.isfinite(z))
    ratio = full / jnp.where(size == 0, 1.0, size)
    return z, good, count, singular, ratio, loose


def _sizes(values: Array, pieces: Sequence[slice]) -> Array:
    """The largest of each piece, in each of its places."""
    parts = [values[piece] for piece in pieces]
    return jnp.concatenate([jnp.full_like(part, jnp.max(part)) for part in parts])


def _norm(step: Array, size: Array) -> Array:
    return jnp.max(jnp.where(size == 0, 0.0, jnp.abs(step) / jnp.where(size == 0, 1.0, size)))


def _is_singular(
    residual: Callable[[Array], Array], z: Array, structure: AbstractStructure
) -> tuple[Array, Array]:
    """Whether the Jacobian is singular to rounding, and a direction in which little changes.

    A lower bound of its condition: by how much the solution of a right side of random signs is
    larger than that.
    """
    signs = np.where(np.random.default_rng(0).random(z.size) < 0.5, -1.0, 1.0)
    matrix = structure.jacobian(residual, z)
    x = structure.solve(structure.factor(matrix), jnp.asarray(signs, z.dtype))
    largest = jnp.max(jnp.abs(jax.tree.leaves(matrix)[0]))
    limit = _SINGULAR / float(jnp.finfo(z.dtype).eps)
    sound = jnp.all(jnp.isfinite(x))
    return ~sound | (largest * jnp.max(jnp.abs(x)) > limit), jnp.where(sound, x, 0.0)
