"""The transposes of the matrices of a structure: for adjoint equations."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array

from ._dense import Dense
from ._diagonal import Diagonal
from ._structure import AbstractStructure


@dataclasses.dataclass(frozen=True)
class Transposed(AbstractStructure):
    """Matrices whose transposes have a structure: they are kept, and factored, as these transposes.

    A Jacobian is found from products by its transpose, so that the colours of the structure, the
    order of its elimination and its factors serve as they are: a pattern and its transpose can
    differ much in how many colours they need.
    """

    structure: AbstractStructure

    @property
    def size(self) -> int:  # type: ignore[override]
        return self.structure.size

    @property
    def in_one_kernel(self) -> bool:  # type: ignore[override]
        return self.structure.in_one_kernel

    def jacobian(self, f: Callable[[Array], Array], y: Array) -> Any:
        _, pull = jax.vjp(f, y)
        return self.structure.jacobian(lambda x: pull(x)[0], y)

    def diagonal(self, values: Array) -> Any:
        return self.structure.diagonal(values)

    def apply(self, matrix: Any, x: Array) -> Array:
        return jax.linear_transpose(lambda v: self.structure.apply(matrix, v), x)(x)[0]

    def factor(self, matrix: Any) -> Any:
        return self.structure.factor(matrix)

    def solve(self, factors: Any, b: Array) -> Array:
        return self.structure.solve_transposed(factors, b)

    def solve_transposed(self, factors: Any, b: Array) -> Array:
        return self.structure.solve(factors, b)

    def describe(self) -> str:
        return f"{self.structure.describe()}, transposed"


def transposed(structure: AbstractStructure) -> AbstractStructure:
    """The structure of the transposes: the same, where a pattern is its own transpose."""
    return structure if isinstance(structure, Dense | Diagonal) else Transposed(structure)
