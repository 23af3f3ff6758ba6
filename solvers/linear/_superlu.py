"""Sparse LU with pivoting by SuperLU, of scipy: for matrices that need it."""

from __future__ import annotations

import collections
import dataclasses
import functools
import hashlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from jaxtyping import Array

from sciml.dsl.codegen.pattern import Pattern

from ._colouring import colour_columns, compressed_jacobian
from ._structure import AbstractStructure

_KEPT = 4  # factors, for the solves that follow with the same matrix


@dataclasses.dataclass(frozen=True)
class SuperLU(AbstractStructure):
    """LU factors with partial pivoting, in an order of few entries; on the host.

    Factors live outside of JAX, and the last ones are kept. Not a number where the matrix is
    singular. Memory is linear in the number of entries and of those that fill in.

    Source: Demmel, Eisenstat, Gilbert, Li, Liu, A supernodal approach to sparse partial pivoting,
    SIAM J. Matrix Anal. Appl. 20 (1999).
    """

    pattern: Pattern

    @property
    def size(self) -> int:  # type: ignore[override]
        return self.pattern.shape[0]

    @functools.cached_property
    def _colours(self) -> np.ndarray:
        return colour_columns(self.pattern)

    @functools.cached_property
    def _own(self) -> np.ndarray:
        """The place of each diagonal entry in the pattern, which has to hold it."""
        return np.flatnonzero(self.pattern.rows == self.pattern.cols)

    def jacobian(self, f: Callable[[Array], Array], y: Array) -> Array:
        return compressed_jacobian(f, y, pattern=self.pattern, colours=self._colours)

    def diagonal(self, values: Array) -> Array:
        return jnp.zeros(self.pattern.size, values.dtype).at[self._own].set(values)

    def apply(self, matrix: Array, x: Array) -> Array:
        return jnp.zeros_like(x).at[self.pattern.rows].add(matrix * x[self.pattern.cols])

    def factor(self, matrix: Array) -> Array:
        return matrix

    def solve(self, factors: Array, b: Array) -> Array:
        return self._called(factors, b, "N")

    def solve_transposed(self, factors: Array, b: Array) -> Array:
        return self._called(factors, b, "T")

    def _called(self, matrix: Array, b: Array, way: str) -> Array:
        def host(entries: Any, right: Any) -> np.ndarray:
            return _solved(self.pattern, np.asarray(entries), np.asarray(right), way)

        shape = jax.ShapeDtypeStruct(b.shape, b.dtype)
        return jax.pure_callback(host, shape, matrix, b, vmap_method="sequential")

    def describe(self) -> str:
        return f"SuperLU of {self.size} x {self.size}, {len(self.pattern.rows)} entries"


_factors: collections.OrderedDict[Any, Any] = collections.OrderedDict()


def _solved(pattern: Pattern, entries: np.ndarray, right: np.ndarray, way: str) -> np.ndarray:
    key = id(pattern), hashlib.blake2b(entries.tobytes()).digest()
    if key not in _factors:
        _factors[key] = pattern, _factored(pattern, entries)  # the pattern, so that its id stays
        while len(_factors) > _KEPT:
            _factors.popitem(last=False)
    lu = _factors[key][1]
    if lu is None or not np.all(np.isfinite(right)):
        return np.full_like(right, np.nan)
    return lu.solve(right, trans=way).astype(right.dtype)


def _factored(pattern: Pattern, entries: np.ndarray) -> Any:
    """The factors; None where there are none."""
    if not np.all(np.isfinite(entries)):
        return None
    matrix = scipy.sparse.csc_matrix((entries, (pattern.rows, pattern.cols)), pattern.shape)
    try:
        return scipy.sparse.linalg.splu(matrix)
    except RuntimeError:  # exactly singular
        return None
