"""Diagonal matrices: unknowns that do not see one another."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ._structure import AbstractStructure


@dataclasses.dataclass(frozen=True)
class Diagonal(AbstractStructure):
    """The diagonal alone; solving is dividing."""

    size: int
    in_one_kernel = True

    def jacobian(self, f: Callable[[Array], Array], y: Array) -> Array:
        return jax.jvp(f, (y,), (jnp.ones_like(y),))[1]

    def diagonal(self, values: Array) -> Array:
        return values

    def apply(self, matrix: Array, x: Array) -> Array:
        return matrix * x

    def factor(self, matrix: Array) -> Array:
        return 1 / matrix

    def solve(self, factors: Array, b: Array) -> Array:
        return factors * b

    def solve_transposed(self, factors: Array, b: Array) -> Array:
        return factors * b

    def describe(self) -> str:
        return f"division by a diagonal of {self.size}"
