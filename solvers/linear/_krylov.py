"""Large systems by GMRES, preconditioned by an incomplete LU."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from sciml.dsl.codegen.pattern import Pattern

from ._sparse import SparseLU
from ._structure import AbstractStructure


@dataclasses.dataclass(frozen=True)
class Krylov(AbstractStructure):
    """GMRES with ILU(0): elimination that fills nothing in.

    A solve is as exact as `tolerance`, relative to the right-hand side after preconditioning, or
    ends after `most` iterations. Memory is linear in the number of entries.

    Source: Saad, Iterative Methods for Sparse Linear Systems (2003), sections 6.5 and 10.3.
    """

    pattern: Pattern
    tolerance: float = 1e-8
    most: int = 60

    @property
    def size(self) -> int:  # type: ignore[override]
        return self.pattern.shape[0]

    @functools.cached_property
    def _incomplete(self) -> SparseLU:
        return SparseLU(self.pattern, fill=False)

    def jacobian(self, f: Callable[[Array], Array], y: Array) -> Array:
        return self._incomplete.jacobian(f, y)

    def diagonal(self, values: Array) -> Array:
        return self._incomplete.diagonal(values)

    def apply(self, matrix: Array, x: Array) -> Array:
        return self._incomplete.apply(matrix, x)

    def factor(self, matrix: Array) -> tuple[Array, Any]:
        return matrix, self._incomplete.factor(matrix)

    def solve(self, factors: tuple[Array, Any], b: Array) -> Array:
        matrix, incomplete = factors
        inverse = functools.partial(self._incomplete.solve, incomplete)
        return self._gmres(functools.partial(self.apply, matrix), inverse, b)

    def solve_transposed(self, factors: tuple[Array, Any], b: Array) -> Array:
        matrix, incomplete = factors
        product = jax.linear_transpose(functools.partial(self.apply, matrix), b)
        inverse = functools.partial(self._incomplete.solve_transposed, incomplete)
        return self._gmres(lambda x: product(x)[0], inverse, b)

    def _gmres(self, product: Any, inverse: Any, b: Array) -> Array:
        return gmres(product, inverse, b, tolerance=self.tolerance, most=self.most)

    def describe(self) -> str:
        return f"GMRES with ILU(0) of {self.size} x {self.size}, {len(self.pattern.rows)} entries"


def gmres(
    product: Callable[[Array], Array],
    inverse: Callable[[Array], Array],
    b: Array,
    *,
    tolerance: float,
    most: int,
) -> Array:
    """The solution of ``A x = b``, preconditioned from the right; not a number if it is not found.

    Arnoldi's process with Gram and Schmidt done twice, and Givens rotations.
    """
    dtype = b.dtype
    begun = jnp.linalg.norm(b)
    basis = jnp.zeros((most + 1, b.size), dtype)
    basis = basis.at[0].set(b / jnp.where(begun == 0, 1, begun).astype(dtype))
    upper = jnp.eye(most, dtype=dtype)
    turns = jnp.zeros((most, 2), dtype)
    right = jnp.zeros(most + 1, dtype).at[0].set(begun.astype(dtype))

    def unfinished(carry: tuple) -> Array:
        count, *_, left = carry
        return (count < most) & (left > tolerance * begun)

    def longer(carry: tuple) -> tuple:
        count, basis, upper, turns, right, _ = carry
        new = product(inverse(basis[count]))
        first = jnp.conj(basis) @ new
        new = new - first @ basis
        second = jnp.conj(basis) @ new
        new = new - second @ basis
        column, size = first + second, jnp.linalg.norm(new)
        basis = basis.at[count + 1].set(new / jnp.where(size == 0, 1, size).astype(dtype))

        def turned(n: Array, column: Array) -> Array:
            c, s = turns[n]
            one, two = column[n], column[n + 1]
            return column.at[n].set(c * one + s * two).at[n + 1].set(c * two - jnp.conj(s) * one)

        column = jax.lax.fori_loop(jnp.zeros_like(count), count, turned, column)
        one = column[count]
        whole = jnp.sqrt(jnp.abs(one) ** 2 + size**2)
        length = jnp.where(one == 0, 1, jnp.abs(one))
        phase = jnp.where(one == 0, 1, one / length.astype(dtype))
        c, s = (jnp.abs(one) / whole).astype(dtype), phase * (size / whole).astype(dtype)
        turns = turns.at[count].set(jnp.stack([c, s]))
        column = column.at[count].set(c * one + s * size.astype(dtype))
        inside = jnp.arange(most, dtype=count.dtype) <= count
        upper = upper.at[:, count].set(jnp.where(inside, column[:most], 0))
        rest = right[count]
        right = right.at[count].set(c * rest).at[count + 1].set(-jnp.conj(s) * rest)
        return count + 1, basis, upper, turns, right, jnp.abs(right[count + 1])

    start = jnp.zeros((), jnp.int32), basis, upper, turns, right, begun
    count, basis, upper, _, right, left = jax.lax.while_loop(unfinished, longer, start)
    wanted = jnp.where(jnp.arange(most, dtype=count.dtype) < count, right[:most], 0)
    weights = jax.scipy.linalg.solve_triangular(upper, wanted)
    x = inverse(weights @ basis[:most])
    return jnp.where(left <= 1e3 * tolerance * begun, x, jnp.nan)
