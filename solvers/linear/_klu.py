"""Sparse LU by KLU, where klujax is installed: for large matrices on a CPU."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from sciml.dsl.codegen.pattern import Pattern

from ._colouring import colour_columns, compressed_jacobian
from ._structure import AbstractStructure


@dataclasses.dataclass(frozen=True)
class KLU(AbstractStructure):
    """LU factors with pivoting by SuiteSparse's KLU; float64 and complex128 on a CPU.

    The pattern is analysed once. Factors live outside of JAX, so that each solve makes them again.

    Source: Davis, Palamadai Natarajan, Algorithm 907: KLU (2010).
    """

    pattern: Pattern

    @property
    def size(self) -> int:  # type: ignore[override]
        return self.pattern.shape[0]

    @functools.cached_property
    def _colours(self) -> np.ndarray:
        return colour_columns(self.pattern)

    @functools.cached_property
    def _places(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Rows and columns with the diagonal; where the pattern and the diagonal lie in them."""
        whole = np.arange(self.size)
        keys = self.pattern.rows.astype(np.int64) * self.size + self.pattern.cols
        own = whole * (self.size + 1)
        merged = np.union1d(keys, own)
        source = np.full(len(merged), len(keys))
        source[np.searchsorted(merged, keys)] = np.arange(len(keys))
        unit = np.full(len(merged), self.size)
        unit[np.searchsorted(merged, own)] = whole
        rows, cols = (merged // self.size).astype(np.int32), (merged % self.size).astype(np.int32)
        return rows, cols, source, unit

    @functools.cached_property
    def _symbolic(self) -> Any:
        import klujax

        rows, cols, _, _ = self._places
        with jax.ensure_compile_time_eval():
            return klujax.analyze(jnp.asarray(rows), jnp.asarray(cols), self.size)

    def jacobian(self, f: Callable[[Array], Array], y: Array) -> Array:
        entries = compressed_jacobian(f, y, pattern=self.pattern, colours=self._colours)
        return jnp.pad(entries, (0, 1))[self._places[2]]

    def diagonal(self, values: Array) -> Array:
        return jnp.pad(values, (0, 1))[self._places[3]]

    def apply(self, matrix: Array, x: Array) -> Array:
        rows, cols, _, _ = self._places
        return jnp.zeros_like(x).at[rows].add(matrix * x[cols])

    def factor(self, matrix: Array) -> Array:
        return matrix

    def solve(self, factors: Array, b: Array) -> Array:
        import klujax

        rows, cols = map(jnp.asarray, self._places[:2])
        return klujax.solve_with_symbol(rows, cols, factors, b, self._symbolic)

    def solve_transposed(self, factors: Array, b: Array) -> Array:
        import klujax

        rows, cols = map(jnp.asarray, self._places[:2])
        return klujax.tsolve_with_symbol(rows, cols, factors, b, self._symbolic)

    def describe(self) -> str:
        return f"KLU of {self.size} x {self.size}, {len(self.pattern.rows)} entries"
