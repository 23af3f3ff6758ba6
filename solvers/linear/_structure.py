"""What a structure of matrices can do; and a linear solve that is differentiated as such."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact


class AbstractStructure(abc.ABC):
    """Square matrices of one pattern: static and hashable, without any numbers.

    A matrix is a pytree of arrays of the structure's own making, of which the leaves may be added
    and scaled as those of a vector; so are its factors. Numbers are real or complex.
    """

    size: int
    in_one_kernel: bool = False  # whether a step is compiled as one piece (`as_one_kernel`)

    @abc.abstractmethod
    def jacobian(self, f: Callable[[Array], Array], y: Inexact[Array, " size"]) -> Any:
        """The matrix of derivatives of `f` at `y`."""

    @abc.abstractmethod
    def diagonal(self, values: Inexact[Array, " size"]) -> Any:
        """The diagonal matrix of these values."""

    @abc.abstractmethod
    def apply(self, matrix: Any, x: Inexact[Array, " size"]) -> Inexact[Array, " size"]:
        """The product of a matrix and a vector."""

    @abc.abstractmethod
    def factor(self, matrix: Any) -> Any:
        """What solving needs; not a number where the matrix is singular."""

    @abc.abstractmethod
    def solve(self, factors: Any, b: Inexact[Array, " size"]) -> Inexact[Array, " size"]:
        """The solution of ``A x = b``; linear in `b`."""

    @abc.abstractmethod
    def solve_transposed(self, factors: Any, b: Inexact[Array, " size"]) -> Array:
        """The solution of ``A^T x = b``; linear in `b`."""

    @abc.abstractmethod
    def describe(self) -> str:
        """A few words on what it is, for the one who asks why it was chosen."""


def full_jacobian(f: Callable[[Array], Array], y: Array) -> Array:
    """All derivatives of `f` at `y`, real or complex."""
    _, product = jax.linearize(f, y)
    return jax.vmap(product, out_axes=1)(jnp.eye(y.size, dtype=y.dtype))


def linear_solve(structure: AbstractStructure, matrix: Any, factors: Any, b: Array) -> Array:
    """The solution of ``A x = b`` from the factors of `A`, differentiated as one linear solve.

    Derivatives follow from ``A dx = db - dA x``: the factors themselves are not differentiated.
    """

    @jax.custom_jvp
    def solved(matrix: Any, factors: Any, b: Array) -> Array:
        return structure.solve(factors, b)

    @solved.defjvp
    def derivative(primals: Any, tangents: Any) -> Any:
        (matrix, factors, b), (change, _, right) = primals, tangents
        x = solved(matrix, factors, b)
        return x, solved_linearly(structure, matrix, factors, right - structure.apply(change, x))

    return solved(matrix, jax.lax.stop_gradient(factors), b)


def solved_linearly(structure: AbstractStructure, matrix: Any, factors: Any, b: Array) -> Array:
    """The same for factors that nobody differentiates, as a linear map with a known transpose."""
    return jax.lax.custom_linear_solve(
        lambda x: structure.apply(matrix, x),
        b,
        lambda _, right: structure.solve(factors, right),
        lambda _, right: structure.solve_transposed(factors, right),
    )
