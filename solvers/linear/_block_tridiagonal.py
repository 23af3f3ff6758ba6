"""Matrices with small blocks on three diagonals, as those of methods of lines in one dimension."""

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

from . import _blocks
from ._colouring import colour_columns, jacobian_products
from ._ordering import block_order
from ._structure import AbstractStructure

_SHORT = 8  # block rows in a chunk, at least
_KERNEL = 10_000  # unknowns, up to which a step is compiled as one kernel


@dataclasses.dataclass(frozen=True)
class BlockTridiagonal(AbstractStructure):
    """Block LU without pivoting between blocks, in chunks side by side.

    The unknowns are brought into an order in which the blocks are small. A matrix is three arrays
    of blocks, below, on and above the diagonal, of shape ``(steps, m, m, chunks)``. `chunks` is
    chosen by the number of blocks unless it is given.
    """

    pattern: Pattern
    chunks: int | None = None
    size: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", self.pattern.shape[0])

    @property
    def in_one_kernel(self) -> bool:  # type: ignore[override]
        return self.block <= _blocks.SMALL and self.size <= _KERNEL

    @property
    def block(self) -> int:
        """The size of a block, m."""
        return self._layout.place.shape[1]

    @property
    def colours(self) -> int:
        """The number of products that the Jacobian is found from."""
        return int(self._layout.colours.max(initial=0)) + 1

    def jacobian(self, f: Callable[[Array], Array], y: Array) -> tuple[Array, Array, Array]:
        layout = self._layout
        products = jnp.ravel(jacobian_products(f, y, layout.colours))
        products = jnp.pad(products, (0, 1))  # where nothing is stored
        lower, diagonal, upper = (products[index] for index in layout.entries)
        return lower, diagonal, upper

    def diagonal(self, values: Array) -> tuple[Array, Array, Array]:
        blocks = jnp.where(self._layout.unit, self._enter(values)[:, :, None], 0)
        none = jnp.zeros_like(blocks)
        return none, blocks, none

    def apply(self, matrix: tuple[Array, Array, Array], x: Array) -> Array:
        return self._leave(_blocks.product(*matrix, self._enter(x)))

    def factor(self, matrix: tuple[Array, Array, Array]) -> Any:
        lower, diagonal, upper = matrix
        if self._layout.unused.any():
            diagonal = jnp.where(self._layout.unused, jnp.ones((), diagonal.dtype), diagonal)
        return _blocks.factor(lower, diagonal, upper)

    def solve(self, factors: Any, b: Array) -> Array:
        return self._leave(_blocks.solve(factors, self._enter(b)))

    def solve_transposed(self, factors: Any, b: Array) -> Array:
        (found,) = jax.linear_transpose(lambda x: self.solve(factors, x), b)(b)
        return found

    def describe(self) -> str:
        layout = self._layout
        _, m, chunks = layout.place.shape
        blocks = -(-self.size // m)
        return (
            f"block LU of {blocks} blocks of {m} x {m} on three diagonals, in {chunks} chunks; "
            f"Jacobian from {self.colours} products"
        )

    def _enter(self, x: Array) -> Array:
        """A vector, ``(steps, m, chunks)``; 0 in the places that belong to no unknown."""
        layout = self._layout
        padded = jnp.pad(x, (0, 1)) if layout.place.size > self.size else x
        return padded[layout.place]

    def _leave(self, x: Array) -> Array:
        return jnp.ravel(x)[self._layout.back]

    @functools.cached_property
    def _layout(self) -> _Layout:
        return _layout(self.pattern, self.chunks)


@dataclasses.dataclass(frozen=True, eq=False)
class _Layout:
    """Where everything lies.

    `place`: the unknown in each place, or the size where there is none; `back`: the place of each
    unknown; `entries`: for the three arrays of blocks, the entry in the products with the colours,
    or their number; `unit`: the diagonal of the blocks; `unused`: that of places without unknown.
    """

    place: np.ndarray
    back: np.ndarray
    colours: np.ndarray
    entries: tuple[np.ndarray, ...]
    unit: np.ndarray
    unused: np.ndarray


@functools.lru_cache(maxsize=64)
def _layout(pattern: Pattern, chunks: int | None) -> _Layout:
    size = pattern.shape[0]
    order, m, offset = block_order(pattern)
    blocks = max(1, -(-(size + offset) // m))
    chunks = _chunks(blocks, m) if chunks is None else chunks
    steps = -(-blocks // chunks)
    linear = np.full(chunks * steps * m, size, np.int32)
    linear[offset : offset + size] = order
    place = linear.reshape(chunks, steps, m).transpose(1, 2, 0)
    used = place < size
    back = np.empty(size, np.int32)
    back[place[used]] = np.flatnonzero(used)
    unit = np.eye(m, dtype=bool)[None, :, :, None]
    colours = colour_columns(pattern)
    entries = _entries(pattern, np.argsort(order) + offset, (chunks, steps, m), colours)
    return _Layout(place, back, colours, entries, unit, unit & ~used[:, :, None])


def _chunks(blocks: int, m: int) -> int:
    """A power of two, about twice the square root of the number of blocks; 1 where few or large."""
    if m > _blocks.MEDIUM:
        return 1
    most = 2 ** int(np.log2(max(1, blocks // _SHORT)))
    return min(most, 2 ** int(np.ceil(np.log2(np.sqrt(blocks)))))


def _entries(
    pattern: Pattern, place: np.ndarray, shape: tuple[int, int, int], colours: np.ndarray
) -> tuple[np.ndarray, ...]:
    chunks, steps, m = shape
    rows, cols = place[pattern.rows], place[pattern.cols]
    source = colours[pattern.cols].astype(np.int64) * pattern.shape[0] + pattern.rows
    none = (int(colours.max(initial=0)) + 1) * pattern.shape[0]
    found = np.full((3, steps, m, m, chunks), none, np.int32)
    block = rows // m
    found[cols // m - block + 1, block % steps, rows % m, cols % m, block // steps] = source
    return tuple(found)
