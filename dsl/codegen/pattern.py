"""Pattern: which entries of a Jacobian can be other than zero."""

from __future__ import annotations

import dataclasses
import functools
import io
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from .dependence import dependence
from .program import Program

_DRAWN = 4.0  # inches, the longer side of the picture


@dataclasses.dataclass(frozen=True, eq=False)
class Pattern:
    """The places of the non-zeros of a matrix, by row and then by column; equal by content."""

    shape: tuple[int, int]
    rows: np.ndarray
    cols: np.ndarray

    @classmethod
    def of(cls, matrix: Any) -> Pattern:
        """The pattern of what a matrix stores (sparse), or of its entries that are not zero."""
        matrix = scipy.sparse.csr_matrix(matrix)
        matrix.sum_duplicates()
        rows = np.repeat(np.arange(matrix.shape[0], dtype=np.int32), np.diff(matrix.indptr))
        cols = matrix.indices.astype(np.int32)
        for array in (rows, cols):
            array.flags.writeable = False
        return cls((int(matrix.shape[0]), int(matrix.shape[1])), rows, cols)

    @property
    def size(self) -> int:
        """Number of non-zeros."""
        return len(self.rows)

    @functools.cached_property
    def bandwidth(self) -> tuple[int, int]:
        """The distances of the outermost non-zeros below and above the diagonal."""
        distance = self.rows.astype(np.int64) - self.cols
        return int(max(0, distance.max(initial=0))), int(max(0, -distance.min(initial=0)))

    def to_scipy(self) -> scipy.sparse.csr_matrix:
        """The matrix that is true at the non-zeros."""
        starts = np.searchsorted(self.rows, np.arange(self.shape[0] + 1)).astype(np.int32)
        values = np.ones(self.size, bool)
        parts: Any = (values, self.cols.copy(), starts)
        return scipy.sparse.csr_matrix(parts, shape=self.shape)

    def with_diagonal(self) -> Pattern:
        """The same, with the diagonal."""
        diagonal = scipy.sparse.eye_array(self.shape[0], dtype=bool, format="csr")
        return Pattern.of(self.to_scipy() + diagonal)

    def with_places_of(self, other: Pattern) -> Pattern:
        """The places of both."""
        return Pattern.of(self.to_scipy() + other.to_scipy()) if other.size else self

    def plot(self, ax: Any = None) -> Any:
        """Draws the non-zeros; returns the axes.

        Needs matplotlib, ``pip install "sciml-jax[plot]"``.
        """
        if ax is None:
            import matplotlib.pyplot as plt

            ax = plt.subplots(figsize=_figsize(self.shape), layout="constrained")[1]
        _draw(self, ax)
        return ax

    def __str__(self) -> str:
        rows, cols = self.shape
        share = 100 * self.size / max(1, rows * cols)
        lower, upper = self.bandwidth
        band = str(lower) if lower == upper else f"{lower} below and {upper} above"
        return (
            f"pattern of {rows} x {cols}, {self.size} non-zeros ({share:.3g} %), bandwidth {band}"
        )

    __repr__ = __str__

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        try:
            from matplotlib.figure import Figure
        except ImportError:  # the picture is an extra, the text is not
            return {"text/plain": str(self)}
        figure = Figure(figsize=_figsize(self.shape), layout="constrained")
        _draw(self, figure.subplots())
        written = io.BytesIO()
        figure.savefig(written, format="png")
        return {"text/plain": str(self), "image/png": written.getvalue()}

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Pattern) and self._key == other._key)

    def __hash__(self) -> int:
        return self._hash

    @functools.cached_property
    def _key(self) -> tuple:
        return self.shape, self.rows.tobytes(), self.cols.tobytes()

    @functools.cached_property
    def _hash(self) -> int:
        return hash(self._key)


def jacobian_pattern(function: Callable[..., Any], y: Any, *, args: tuple = ()) -> Pattern:
    """Where the Jacobian of ``function(y, *args)`` with respect to `y` can be other than zero.

    Found from the operations of the function, never from numbers: no non-zero is missed, whatever
    the values of `y` and `args`. `y` is a vector, or anything that has its shape and dtype; so is
    the result of the function. Raises `PatternError` where the pattern is too dense to be stored.
    """
    return Pattern.of(dependence(function, y, args))


def program_pattern(program: Program, args: tuple, dtype: Any) -> Pattern:
    """The pattern of a program's vector field; kept with it, for each make of its networks."""
    leaves, tree = jax.tree.flatten(args)
    makes = tuple((x.shape, x.dtype) if eqx.is_array(x) else x for x in leaves)
    kept = program.__dict__.setdefault("_patterns", {})
    if (tree, makes) not in kept:
        time, y = jnp.zeros((), dtype), jax.ShapeDtypeStruct((program.size,), dtype)
        kept[tree, makes] = jacobian_pattern(
            lambda y, t, args: program.rhs(t, y, *args), y, args=(time, args)
        )
    return kept[tree, makes]


def _figsize(shape: tuple[int, int]) -> tuple[float, float]:
    longest = max(1, *shape)
    return tuple(max(1.0, _DRAWN * n / longest) for n in (shape[1], shape[0]))  # pyright: ignore


def _draw(pattern: Pattern, ax: Any) -> None:
    rows, cols = pattern.shape
    # One mark has the size of an entry, as long as that can be seen.
    points = 72 * _DRAWN * 0.8 / max(1, rows, cols)
    ax.plot(pattern.cols, pattern.rows, "s", markersize=max(0.6, points), markeredgewidth=0)
    ax.set(xlim=(-0.5, cols - 0.5), ylim=(rows - 0.5, -0.5), aspect="equal")
    ax.set(xlabel="with respect to", ylabel="rate of", title=f"{pattern.size} non-zeros")


def by_row(rows: np.ndarray, size: int) -> np.ndarray:
    """The entries of each of `size` rows, by their numbers, filled up with the number of all."""
    counts = np.bincount(rows, minlength=size)
    table = np.full((size, max(1, int(counts.max()))), len(rows), np.int32)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    table[rows, within] = np.arange(len(rows))
    return table
