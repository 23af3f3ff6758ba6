"""Large systems by Krylov subspaces, preconditioned."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from sciml.dsl import DeclarationError
from sciml.dsl.codegen.pattern import Pattern

from ._block_jacobi import BlockJacobi
from ._sparse import SparseLU
from ._structure import AbstractStructure

_RESTARTS = 20


@dataclasses.dataclass(frozen=True)
class Krylov(AbstractStructure):
    """Krylov subspaces, preconditioned by the inverses of blocks at each point, or by ILU(0).

    A matrix whose entries are known is solved with by GMRES, as exactly as `tolerance`, relative
    to the right-hand side, restarted after `most` iterations. A stepper that iterates (`BDF`)
    needs no entries: by `solve_near` it takes products of the Jacobian with vectors, and BiCGSTAB.
    Memory is linear in the number of entries.

    Arguments
      preconditioner: "block_jacobi", which takes the unknowns at one point of a grid together, or
        "ilu", elimination that fills nothing in: fewer iterations, each of them far slower.

    Source: Saad, Iterative Methods for Sparse Linear Systems (2003), sections 4.1, 6.5, 7.4, 10.3.
    """

    pattern: Pattern
    tolerance: float = 1e-8
    most: int = 60
    preconditioner: str = "block_jacobi"

    def __post_init__(self) -> None:
        if self.preconditioner not in ("block_jacobi", "ilu"):
            raise DeclarationError(
                f'preconditioner is "block_jacobi" or "ilu", not {self.preconditioner!r}'
            )

    @property
    def size(self) -> int:  # type: ignore[override]
        return self.pattern.shape[0]

    @functools.cached_property
    def near(self) -> AbstractStructure:
        """The structure of which the factors are the preconditioner."""
        if self.preconditioner == "ilu":
            return SparseLU(self.pattern, fill=False)
        return BlockJacobi(self.pattern)

    def jacobian(self, f: Callable[[Array], Array], y: Array) -> Array:
        return self.near.jacobian(f, y)

    def diagonal(self, values: Array) -> Array:
        return self.near.diagonal(values)

    def apply(self, matrix: Array, x: Array) -> Array:
        return self.near.apply(matrix, x)

    def factor(self, matrix: Array) -> tuple[Array, Any]:
        return matrix, self.near.factor(matrix)

    def solve(self, factors: tuple[Array, Any], b: Array) -> Array:
        matrix, near = factors
        inverse = functools.partial(self.near.solve, near)
        return self._gmres(functools.partial(self.apply, matrix), inverse, b)

    def solve_transposed(self, factors: tuple[Array, Any], b: Array) -> Array:
        matrix, near = factors
        product = jax.linear_transpose(functools.partial(self.apply, matrix), b)
        inverse = functools.partial(self.near.solve_transposed, near)
        return self._gmres(lambda x: product(x)[0], inverse, b)

    def solve_near(
        self,
        product: Callable[[Array], Array],
        near: Any,
        b: Array,
        *,
        units: tuple[Array, Array],
        small: Array,
    ) -> Array:
        """A solution of ``A x = b`` from products with `A`, by BiCGSTAB.

        `near` are factors of `self.near`, `units` the unknowns' weights and their inverses. What
        is left of `b`, over the weights, has a root mean square of `small` at most, unless `most`
        iterations were not enough.
        """
        weights, inverse = units
        return bicgstab(
            lambda x: inverse * product(x),
            lambda r: self.near.solve(near, weights * r),
            inverse * b,
            small=small * self.size**0.5,
            most=self.most,
        )

    def _gmres(self, product: Any, inverse: Any, b: Array) -> Array:
        return gmres(product, inverse, b, tolerance=self.tolerance, most=min(self.most, self.size))

    def describe(self) -> str:
        by = "ILU(0)" if self.preconditioner == "ilu" else self.near.describe()
        size, entries = self.size, len(self.pattern.rows)
        return f"Krylov subspaces with {by}, of {size} x {size}, {entries} entries"


def gmres(
    product: Callable[[Array], Array],
    inverse: Callable[[Array], Array],
    b: Array,
    *,
    tolerance: float,
    most: int,
) -> Array:
    """The solution of ``A x = b``, preconditioned from the right; not a number if it is not found.

    Restarted after `most` iterations, up to `_RESTARTS` times.
    """
    small = tolerance * jnp.linalg.norm(b)

    def unfinished(carry: tuple) -> Array:
        count, _, rest = carry
        return (count < _RESTARTS) & (jnp.linalg.norm(rest) > small)

    def better(carry: tuple) -> tuple:
        count, x, rest = carry
        x = x + _arnoldi(product, inverse, rest, small=small, most=most)
        return count + 1, x, b - product(x)

    begun = jnp.zeros((), jnp.int32), jnp.zeros_like(b), b
    _, x, rest = jax.lax.while_loop(unfinished, better, begun)
    return jnp.where(jnp.linalg.norm(rest) <= 1e3 * small, x, jnp.nan)


def _arnoldi(
    product: Callable[[Array], Array],
    inverse: Callable[[Array], Array],
    b: Array,
    *,
    small: Array,
    most: int,
) -> Array:
    """The best of `most` dimensions; Gram and Schmidt done twice, and Givens rotations."""
    dtype = b.dtype
    begun = jnp.linalg.norm(b)
    basis = jnp.zeros((most + 1, b.size), dtype)
    basis = basis.at[0].set(b / jnp.where(begun == 0, 1, begun).astype(dtype))
    upper = jnp.eye(most, dtype=dtype)
    turns = jnp.zeros((most, 2), dtype)
    right = jnp.zeros(most + 1, dtype).at[0].set(begun.astype(dtype))

    def unfinished(carry: tuple) -> Array:
        count, *_, left = carry
        return (count < most) & (left > small)

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
    count, basis, upper, _, right, _ = jax.lax.while_loop(unfinished, longer, start)
    wanted = jnp.where(jnp.arange(most, dtype=count.dtype) < count, right[:most], 0)
    weights = jax.scipy.linalg.solve_triangular(upper, wanted)
    return inverse(weights @ basis[:most])


def bicgstab(
    product: Callable[[Array], Array],
    inverse: Callable[[Array], Array],
    b: Array,
    *,
    small: Array,
    most: int,
) -> Array:
    """A solution of ``A x = b`` that leaves a norm of `small`, preconditioned from the right.

    Two products an iteration, and no basis to keep. What is left is that of the recurrence; after
    `most` iterations, or where that breaks down, the last solution is returned.

    Source: van der Vorst, Bi-CGSTAB, SIAM J. Sci. Stat. Comput. 13 (1992).
    """
    start = b

    def unfinished(carry: tuple) -> Array:
        count, *_, left = carry
        return (count < most) & (left > small**2)

    def better(carry: tuple) -> tuple:
        count, x, r, p, q, along, alpha, omega, _ = carry
        new = jnp.vdot(start, r)
        p = r + (new / along) * (alpha / omega) * (p - omega * q)
        step = jax.lax.optimization_barrier(inverse(p))
        q = product(step)
        alpha = new / jnp.vdot(start, q)
        s = r - alpha * q
        second = jax.lax.optimization_barrier(inverse(s))
        t = product(second)
        across = jnp.vdot(t, s)
        omega = across / jnp.vdot(t, t)
        r = s - omega * t
        x = x + alpha * step + omega * second
        return count + 1, x, r, p, q, new, alpha, omega, jnp.vdot(r, r).real

    one, none = jnp.ones((), b.dtype), jnp.zeros_like(b)
    begun = jnp.zeros((), jnp.int32), none, b, none, none, one, one, one, jnp.vdot(b, b).real
    return jax.lax.while_loop(unfinished, better, begun)[1]
