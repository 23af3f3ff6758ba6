"""Matrices without structure: LU factors by LAPACK."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import jax.scipy.linalg
from jaxtyping import Array

from ._structure import AbstractStructure, full_jacobian


@dataclasses.dataclass(frozen=True)
class Dense(AbstractStructure):
    """All entries; LU factors with partial pivoting."""

    size: int

    def jacobian(self, f: Callable[[Array], Array], y: Array) -> Array:
        return full_jacobian(f, y)

    def diagonal(self, values: Array) -> Array:
        return jnp.diag(values)

    def apply(self, matrix: Array, x: Array) -> Array:
        return matrix @ x

    def factor(self, matrix: Array) -> Any:
        return jax.scipy.linalg.lu_factor(matrix, check_finite=False)

    def solve(self, factors: Any, b: Array) -> Array:
        return jax.scipy.linalg.lu_solve(factors, b, check_finite=False)

    def solve_transposed(self, factors: Any, b: Array) -> Array:
        return jax.scipy.linalg.lu_solve(factors, b, trans=1, check_finite=False)

    def describe(self) -> str:
        return f"dense LU of {self.size} x {self.size}"
