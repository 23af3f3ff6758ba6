"""Small matrices of any pattern: elimination written out in scalars, without the zeros."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from ._structure import AbstractStructure, full_jacobian

Position = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Unrolled(AbstractStructure):
    """The entries at `positions` and on the diagonal; LU factors without pivoting.

    Rows are eliminated in the order of Markowitz, which is found beforehand, and so are the entries
    that fill in. Without pivoting, the factors are sound where the diagonal is strong, as it is in
    ``M / (gamma h) - J`` for steps that are small enough; a pivot of zero gives no numbers.

    Source: Sandu, Potra, Carmichael, Damian, Efficient implementation of fully implicit methods for
    atmospheric chemistry (1996), section 3; Markowitz, The elimination form of the inverse (1957).
    """

    size: int
    positions: tuple[Position, ...]
    in_one_kernel = True

    @functools.cached_property
    def entries(self) -> tuple[Position, ...]:
        """Where a matrix has entries, the diagonal included."""
        diagonal = {(i, i) for i in range(self.size)}
        return tuple(sorted(diagonal | set(self.positions)))

    @functools.cached_property
    def order(self) -> tuple[int, ...]:
        """The order of elimination: always the row and column that can fill in least."""
        return _markowitz(self.size, self.entries)

    def jacobian(self, f: Callable[[Array], Array], y: Array) -> dict[Position, Array]:
        whole = full_jacobian(f, y)
        return {place: whole[place] for place in self.entries}

    def diagonal(self, values: Array) -> dict[Position, Array]:
        zero = jnp.zeros((), values.dtype)
        return {(i, j): values[i] if i == j else zero for i, j in self.entries}

    def apply(self, matrix: dict[Position, Array], x: Array) -> Array:
        rows: list[Any] = [jnp.zeros((), x.dtype)] * self.size
        for (i, j), value in matrix.items():
            rows[i] = rows[i] + value * x[j]
        return jnp.stack(rows)

    def factor(self, matrix: dict[Position, Array]) -> dict[Position, Array]:
        """Multipliers below the pivots, inverse pivots, and the rows of the upper factor."""
        a = dict(matrix)
        left = list(self.order)
        for pivot in self.order:
            left.remove(pivot)
            inverse = 1 / a[pivot, pivot]
            a[pivot, pivot] = inverse
            across = [j for j in left if (pivot, j) in a]
            for i in left:
                if (i, pivot) not in a:
                    continue
                a[i, pivot] = a[i, pivot] * inverse
                for j in across:
                    product = a[i, pivot] * a[pivot, j]
                    a[i, j] = a[i, j] - product if (i, j) in a else -product
        return a

    def solve(self, factors: dict[Position, Array], b: Array) -> Array:
        x = [b[i] for i in range(self.size)]
        rank = {i: n for n, i in enumerate(self.order)}
        for pivot in self.order:
            for j in self.order[: rank[pivot]]:
                if (pivot, j) in factors:
                    x[pivot] = x[pivot] - factors[pivot, j] * x[j]
        for pivot in reversed(self.order):
            for j in self.order[rank[pivot] + 1 :]:
                if (pivot, j) in factors:
                    x[pivot] = x[pivot] - factors[pivot, j] * x[j]
            x[pivot] = x[pivot] * factors[pivot, pivot]
        return jnp.stack(x)

    def solve_transposed(self, factors: dict[Position, Array], b: Array) -> Array:
        x = [b[i] for i in range(self.size)]
        rank = {i: n for n, i in enumerate(self.order)}
        for pivot in self.order:
            for j in self.order[: rank[pivot]]:
                if (j, pivot) in factors:
                    x[pivot] = x[pivot] - factors[j, pivot] * x[j]
            x[pivot] = x[pivot] * factors[pivot, pivot]
        for pivot in reversed(self.order):
            for j in self.order[rank[pivot] + 1 :]:
                if (j, pivot) in factors:
                    x[pivot] = x[pivot] - factors[j, pivot] * x[j]
        return jnp.stack(x)

    def describe(self) -> str:
        count = len(self.entries)
        return f"elimination in scalars of {self.size} x {self.size}, {count} entries"


def _markowitz(size: int, entries: tuple[Position, ...]) -> tuple[int, ...]:
    present = set(entries)
    left, order = set(range(size)), []
    while left:
        costs = {}
        for k in left:
            below = sum((i, k) in present for i in left) - 1
            across = sum((k, j) in present for j in left) - 1
            costs[k] = (below * across, k)
        pivot = min(left, key=lambda k: costs[k])
        left.remove(pivot)
        order.append(pivot)
        below = [i for i in left if (i, pivot) in present]
        present |= {(i, j) for i in below for j in left if (pivot, j) in present}
    return tuple(order)
