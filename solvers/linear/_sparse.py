"""Sparse LU in JAX itself: the elimination is planned once, and done as one loop over its steps."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from jaxtyping import Array

from sciml.dsl.codegen.pattern import Pattern, by_row

from ._colouring import colour_columns, compressed_jacobian
from ._ordering import bandwidth, reverse_cuthill_mckee
from ._structure import AbstractStructure

_SMALL = 400  # unknowns, up to which a step with these factors is compiled as one kernel
_STEPS, _PER_ENTRY = 300_000, 30  # of elimination, of which one is always counted
_NARROW = 8  # bandwidth up to which an order of small bandwidth fills in least, or nearly so


@dataclasses.dataclass(frozen=True)
class SparseLU(AbstractStructure):
    """LU factors without pivoting, of any pattern; a matrix is the vector of its entries.

    Each step of elimination is ``a[i,j] -= a[i,k] a[k,j] / a[k,k]``: XLA makes of a loop over a
    list of them a few nanoseconds each on a CPU, whatever the pattern is, and compiles it at once.
    Without pivoting, the factors are sound where the diagonal is strong, as it is in
    ``M / (gamma h) - J`` for steps that are small enough; a pivot of zero gives no numbers.

    Source: Duff, Erisman, Reid, Direct Methods for Sparse Matrices (2017), chapters 5 and 10.
    """

    pattern: Pattern
    fill: bool = True  # without it the elimination is incomplete, ILU(0)

    @property
    def size(self) -> int:  # type: ignore[override]
        return self.pattern.shape[0]

    @property
    def in_one_kernel(self) -> bool:  # type: ignore[override]
        return self.size <= _SMALL

    @functools.cached_property
    def plan(self) -> _Plan:
        """The order, where entries fill in, and the steps of the elimination."""
        return _planned(self.pattern, fill=self.fill)

    def jacobian(self, f: Callable[[Array], Array], y: Array) -> Array:
        plan = self.plan
        entries = compressed_jacobian(f, y, pattern=self.pattern, colours=plan.colours)
        return jnp.pad(entries, (0, 1))[plan.source]

    def diagonal(self, values: Array) -> Array:
        plan = self.plan
        own = np.where(plan.rows == plan.cols, plan.order[plan.rows], self.size)
        return jnp.pad(values, (0, 1))[own]

    def apply(self, matrix: Array, x: Array) -> Array:
        plan = self.plan
        terms = matrix * x[plan.order[plan.cols]]
        if self.in_one_kernel:  # where there is no scatter
            return jnp.sum(jnp.pad(terms, (0, 1))[plan.by_row], axis=1)[plan.rank]
        return jnp.zeros_like(x).at[plan.order[plan.rows]].add(terms)

    def factor(self, matrix: Array) -> tuple[Array, Array]:
        """Off the diagonal the entries of L and U in ``D L U``, and the inverse of D."""
        plan = self.plan
        steps = jnp.asarray(plan.steps)

        def step(n: Array, a: Array) -> Array:
            i_j, i_k, k_j, k_k = steps[n]
            return a.at[i_j].add(-a[i_k] * a[k_j] / a[k_k], mode="promise_in_bounds")

        a = _loop(len(plan.steps), step, matrix)
        inverse = 1 / a[plan.diagonal]
        return a[plan.place] * inverse[plan.row], inverse

    def solve(self, factors: tuple[Array, Array], b: Array) -> Array:
        entries, inverse = factors
        plan = self.plan
        x = b[plan.order] * inverse
        return _substituted(entries, plan.row, plan.col, x)[plan.rank]

    def solve_transposed(self, factors: tuple[Array, Array], b: Array) -> Array:
        entries, inverse = factors
        plan = self.plan
        x = _substituted(entries[::-1], plan.col[::-1], plan.row[::-1], b[plan.order])
        return (x * inverse)[plan.rank]

    def describe(self) -> str:
        plan = self.plan
        filled = len(plan.rows) - len(self.pattern.rows)
        return (
            f"sparse LU of {self.size} x {self.size}, {len(self.pattern.rows)} entries, "
            f"{max(filled, 0)} filled in"
        )


@dataclasses.dataclass(frozen=True, eq=False)
class _Plan:
    """An elimination; rows and columns are counted in the order of the pivots."""

    order: np.ndarray  # the unknown that is eliminated k-th
    rank: np.ndarray
    rows: np.ndarray
    cols: np.ndarray
    steps: np.ndarray  # of the places of ij, ik, kj, kk
    source: np.ndarray  # the place of each entry in the pattern; its length, for those filled in
    diagonal: np.ndarray
    row: np.ndarray  # of the entries off the diagonal, in the order in which substitution uses them
    col: np.ndarray
    place: np.ndarray  # of these entries among all
    colours: np.ndarray

    @functools.cached_property
    def by_row(self) -> np.ndarray:
        """The places of the entries of each row, filled up with the number of all entries."""
        return by_row(self.rows, len(self.order))


def _planned(pattern: Pattern, *, fill: bool) -> _Plan:
    size = pattern.shape[0]
    found = _eliminated(pattern, fill, limit(pattern)) or _eliminated(pattern, fill)
    assert found is not None  # the second has no limit
    order, across, below = found
    rank = np.argsort(order)
    pairs = sorted((k, j) for k in range(size) for j in across[k])
    pairs += [(i, k) for k in range(size) for i in below[k]] + [(k, k) for k in range(size)]
    rows, cols = np.array(sorted(pairs), np.int32).reshape(-1, 2).T
    place = {pair: n for n, pair in enumerate(zip(rows.tolist(), cols.tolist(), strict=True))}
    steps = [
        (place[i, j], place[i, k], place[k, j], place[k, k])
        for k in range(size)
        for i in below[k]
        for j in across[k]
        if (i, j) in place
    ]
    source = np.full(len(rows), len(pattern.rows), np.int32)
    given = zip(rank[pattern.rows].tolist(), rank[pattern.cols].tolist(), strict=True)
    source[[place[pair] for pair in given]] = np.arange(len(pattern.rows))
    diagonal = np.array([place[k, k] for k in range(size)], np.int32)
    down, up = np.flatnonzero(rows > cols), np.flatnonzero(rows < cols)
    forth = down[np.lexsort((rows[down], cols[down]))]
    back = up[np.lexsort((rows[up], -cols[up]))]
    uses = np.concatenate([forth, back])
    return _Plan(
        order=order,
        rank=rank,
        rows=rows,
        cols=cols,
        steps=np.array(steps, np.int32).reshape(-1, 4),
        source=source,
        diagonal=diagonal,
        row=rows[uses],
        col=cols[uses],
        place=uses,
        colours=colour_columns(pattern),
    )


def elimination_order(pattern: Pattern) -> np.ndarray:
    """An order of the unknowns in which little fills in: by bandwidth, or by minimum degree."""
    narrow = reverse_cuthill_mckee(pattern)
    if bandwidth(pattern, narrow) <= _NARROW < pattern.shape[0]:
        return narrow
    return minimum_degree(pattern)


def minimum_degree(pattern: Pattern) -> np.ndarray:
    """The order of multiple minimum degree, of the symmetrised pattern, by SuperLU."""
    matrix = pattern.to_scipy().astype(float)
    matrix = matrix + matrix.T
    weights = np.asarray(matrix.sum(axis=1)).ravel() + 1.0
    sound = (matrix + scipy.sparse.diags(2 * weights)).tocsc()  # no pivot is needed
    return np.argsort(
        scipy.sparse.linalg.splu(
            sound, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}
        ).perm_c
    )


def _filled(
    rows: np.ndarray, cols: np.ndarray, size: int, *, fill: bool, most: float
) -> tuple[list[list[int]], list[list[int]]] | None:
    """The entries right of each pivot in its row, and below it in its column, filled in.

    None, if there are more than `most` pairs of them.
    """
    across: list[set[int]] = [set() for _ in range(size)]
    below: list[set[int]] = [set() for _ in range(size)]
    for i, j in zip(rows.tolist(), cols.tolist(), strict=True):
        if i < j:
            across[i].add(j)
        elif i > j:
            below[j].add(i)
    pairs = 0
    for k in range(size if fill else 0):
        pairs += len(below[k]) * len(across[k])
        if pairs > most:
            return None
        for i in below[k]:
            for j in across[k]:
                if i < j:
                    across[i].add(j)
                elif i > j:
                    below[j].add(i)
    return [sorted(a) for a in across], [sorted(b) for b in below]


@functools.lru_cache(maxsize=32)  # counting the steps and planning them both ask
def _eliminated(
    pattern: Pattern, fill: bool, most: float = np.inf
) -> tuple[np.ndarray, list, list] | None:
    """The order of the unknowns, and the entries right of each pivot and below it."""
    order = elimination_order(pattern) if fill else reverse_cuthill_mckee(pattern)
    rank = np.argsort(order)
    rows, cols = rank[pattern.rows], rank[pattern.cols]
    found = _filled(rows, cols, pattern.shape[0], fill=fill, most=most)
    return None if found is None else (order, *found)


def limit(pattern: Pattern) -> int:
    """How many steps of elimination are counted: with more, other linear algebra is better."""
    return max(_STEPS, _PER_ENTRY * pattern.size)


def count_steps(pattern: Pattern) -> float:
    """How many steps the elimination takes, before it is planned; infinity above `limit`."""
    found = _eliminated(pattern, True, limit(pattern))
    if found is None:
        return np.inf
    _, across, below = found
    return sum(len(a) * len(b) for a, b in zip(across, below, strict=True))


def _substituted(entries: Array, rows: np.ndarray, cols: np.ndarray, x: Array) -> Array:
    """``x[row] -= entry x[col]``, entry by entry."""
    row, col = jnp.asarray(rows), jnp.asarray(cols)

    def step(n: Array, x: Array) -> Array:
        return x.at[row[n]].add(-entries[n] * x[col[n]], mode="promise_in_bounds")

    return _loop(len(rows), step, x)


def _loop(count: int, step: Callable[[Array, Array], Array], x: Any) -> Any:
    if not count:
        return x
    return jax.lax.fori_loop(jnp.int32(0), jnp.int32(count), step, x)
