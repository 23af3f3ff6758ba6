"""Blocks on the diagonal, one for each point of a grid: an approximation that inverts cheaply."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from sciml.dsl.codegen.pattern import Pattern, by_row

from ._blocks import inverses, times
from ._colouring import colour_columns, compressed_jacobian
from ._structure import AbstractStructure

_MOST = 8  # unknowns at a point


@dataclasses.dataclass(frozen=True)
class BlockJacobi(AbstractStructure):
    """A sparse matrix, of which only the couplings at one point are inverted.

    A matrix is the vector of its entries; its factors are the inverses of the blocks, of shape
    ``(m, m, points)``. A state is taken for `m` arrays of `points` values, one after the other,
    where the pattern couples these at each point; else each unknown is a block.

    Source: Saad, Iterative Methods for Sparse Linear Systems (2003), section 4.1.1.
    """

    pattern: Pattern

    @property
    def size(self) -> int:  # type: ignore[override]
        return self.pattern.shape[0]

    @functools.cached_property
    def block(self) -> int:
        """How many unknowns there are at each point."""
        counts = {m: _count_coupled(self.pattern, m) for m in range(2, _MOST + 1)}
        most = max(counts, key=lambda m: counts[m])  # the first: 2 of 4 arrays, if 4 bring no more
        return most if 2 * counts[most] > self.size else 1

    @functools.cached_property
    def _colours(self) -> np.ndarray:
        return colour_columns(self.pattern)

    @functools.cached_property
    def _diagonal(self) -> np.ndarray:
        """The unknown whose place on the diagonal each entry is; their number, for the others."""
        rows, cols = self.pattern.rows, self.pattern.cols
        return np.where(rows == cols, rows, self.size)

    @functools.cached_property
    def _blocks(self) -> np.ndarray:
        """The entry at each place of the blocks; their number where there is none."""
        rows, cols, m = self.pattern.rows, self.pattern.cols, self.block
        points = self.size // m
        own = np.flatnonzero(rows % points == cols % points)
        found = np.full((m, m, points), len(rows))
        found[rows[own] // points, cols[own] // points, rows[own] % points] = own
        return found

    @functools.cached_property
    def _by_row(self) -> np.ndarray:
        return by_row(self.pattern.rows, self.size)

    def jacobian(self, f: Callable[[Array], Array], y: Array) -> Array:
        return compressed_jacobian(f, y, pattern=self.pattern, colours=self._colours)

    def diagonal(self, values: Array) -> Array:
        return jnp.pad(values, (0, 1))[self._diagonal]

    def apply(self, matrix: Array, x: Array) -> Array:
        terms = jnp.pad(matrix * x[self.pattern.cols], (0, 1))
        return jnp.sum(terms[self._by_row], axis=1)

    def factor(self, matrix: Array) -> Array:
        return inverses(jnp.pad(matrix, (0, 1))[self._blocks])

    def solve(self, factors: Array, b: Array) -> Array:
        return times(factors, b.reshape(self.block, -1)).ravel()

    def solve_transposed(self, factors: Array, b: Array) -> Array:
        return self.solve(jnp.swapaxes(factors, 0, 1), b)

    def describe(self) -> str:
        return f"inverted blocks of {self.block} on the diagonal"


def _count_coupled(pattern: Pattern, m: int) -> int:
    """How many entries couple an unknown to another one at its place in m arrays of one length."""
    size = pattern.shape[0]
    if size % m or size == m:
        return 0
    rows, cols = pattern.rows, pattern.cols
    return int(np.count_nonzero((rows != cols) & (rows % (size // m) == cols % (size // m))))
