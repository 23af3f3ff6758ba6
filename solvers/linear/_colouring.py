"""Jacobians by few products: columns that share no row are found together."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Inexact

from sciml.dsl.codegen.pattern import Pattern

_SPECIES = 2, 3, 4  # numbers of arrays of one length, of which points may go together
_CYCLES = 12  # how many lengths of cycles of colours are tried


def colour_columns(pattern: Pattern) -> np.ndarray:
    """A colour for each column, 0, 1, ..., such that no two of one colour share a row.

    The best of some attempts: colours in turn, which is best possible for many stencils, and
    greedy choices in the order of the columns, of the points, and by largest degree (Curtis,
    Powell and Reid, On the estimation of sparse Jacobian matrices, J. Inst. Maths Applics 13
    (1974); Welsh and Powell, The Computer Journal 10 (1967)).
    """
    columns = np.arange(pattern.shape[1])
    if not len(pattern.rows):
        return np.zeros(len(columns), np.int32)
    counts = np.bincount(pattern.rows, minlength=pattern.shape[0])
    fewest = int(counts.max())
    degrees = np.bincount(pattern.cols, weights=counts[pattern.rows], minlength=len(columns))
    orders = [columns, np.argsort(-degrees, kind="stable")]
    orders += [columns.reshape(k, -1).T.ravel() for k in _SPECIES if len(columns) % k == 0]
    found = _greedy(pattern, columns)
    for order in orders[1:]:
        if found.max() + 1 > fewest:
            found = min(found, _greedy(pattern, order), key=np.max)
    for length in range(fewest, min(int(found.max()) + 1, fewest + _CYCLES)):
        if is_colouring(pattern, columns % length):
            return (columns % length).astype(np.int32)
    return found


def is_colouring(pattern: Pattern, colours: np.ndarray) -> bool:
    """Whether no two columns of one colour share a row."""
    seen = pattern.rows.astype(np.int64) * (int(colours.max(initial=0)) + 1) + colours[pattern.cols]
    seen.sort()  # ten times faster here than np.unique
    return not (seen[1:] == seen[:-1]).any()


def compressed_jacobian(
    f: Callable[[Array], Array],
    y: Inexact[Array, " columns"],
    *,
    pattern: Pattern,
    colours: np.ndarray,
) -> Inexact[Array, " non_zeros"]:
    """The entries of the Jacobian of `f` at `y`, in the order of the pattern."""
    products = jacobian_products(f, y, colours)
    return products[colours[pattern.cols], pattern.rows]


def jacobian_products(
    f: Callable[[Array], Array], y: Inexact[Array, " columns"], colours: np.ndarray
) -> Inexact[Array, "colours rows"]:
    """The Jacobian times the sum of the columns of each colour."""
    seeds = np.arange(int(colours.max(initial=0)) + 1)[:, None] == colours[None]
    _, product = jax.linearize(f, y)
    return jax.vmap(product)(jnp.asarray(seeds, y.dtype))


def _greedy(pattern: Pattern, order: np.ndarray) -> np.ndarray:
    """The first colour that is free in all rows of a column, column by column.

    The colours taken in a row are the bits of one whole number: the graph of columns that share a
    row, which a single full row makes complete, is never formed.
    """
    by_column = np.argsort(pattern.cols, kind="stable")
    rows = pattern.rows[by_column].tolist()
    starts = np.searchsorted(pattern.cols[by_column], np.arange(pattern.shape[1] + 1)).tolist()
    taken = [0] * pattern.shape[0]
    colours = np.zeros(pattern.shape[1], np.int32)
    for column in order.tolist():
        mine = rows[starts[column] : starts[column + 1]]
        used = 0
        for row in mine:
            used |= taken[row]
        free = ~used & (used + 1)
        for row in mine:
            taken[row] |= free
        colours[column] = free.bit_length() - 1
    return colours
