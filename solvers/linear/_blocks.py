"""Block-tridiagonal systems, eliminated in chunks side by side.

The block rows are cut into `lanes` chunks of `steps` rows each. Arrays have shape
``(steps, m, m, lanes)``, so that one step of a sweep treats all chunks at once in contiguous
memory. The last row of each chunk is its separator; the others are eliminated within the chunk,
which leaves a block-tridiagonal system of the separators, solved by parallel cyclic reduction
(Wang, A parallel method for tridiagonal equations, ACM TOMS 7 (1981); Hockney and Jesshope,
Parallel Computers (1981), 5.4.2).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

SMALL = 2  # up to this size a block is taken apart into numbers: the compiler fuses all
MEDIUM = 8  # up to this size blocks of all lanes are eliminated together; beyond it, by LAPACK


class Sweep(NamedTuple):
    """Factors of the rows within the chunks: ``D'^-1``, ``L D'^-1`` and ``D'^-1 U``."""

    inverse: Array
    below: Array
    above: Array


class Factors(NamedTuple):
    """All factors: sweeps, what the separators do to the other rows, and the separators' own."""

    sweep: Sweep
    left: Any  # of the separator before the chunk
    right: Any  # of that of the chunk
    border: Any  # blocks of the separators' rows, left and right
    reduction: Any
    last: Any


def factor(lower: Array, diagonal: Array, upper: Array) -> Any:
    """Factors of a matrix; not finite where a pivot block is singular."""
    if diagonal.shape[-1] == 1:
        return _eliminate(lower, diagonal, upper)
    sweep = _eliminate(lower[:-1], diagonal[:-1], upper[:-1])
    left, right = _columns(sweep, lower[0])
    border = lower[-1], upper[-1]
    below, above = (_open(a) for a in border)
    reduced = (
        _negative(_product(below, _open(left[-1]))),
        _less(
            _open(diagonal[-1]),
            _product(below, _open(right[-1])),
            _product(above, _open(_after(left[0]))),
        ),
        _negative(_product(above, _open(_after(right[0])))),
    )
    # Without the barrier the compiler computes all this anew for each number that it enters into.
    reduced = jax.lax.optimization_barrier(tuple(_close(a) for a in reduced))
    reduction, last = _reduce(*reduced)
    return Factors(sweep, left, right, border, reduction, last)


def solve(factors: Any, b: Array) -> Array:
    """The solution for a right-hand side of shape ``(steps, m, lanes)``."""
    if isinstance(factors, Sweep):
        return _substitute(factors, b)
    inner = _substitute(factors.sweep, b[:-1])
    below, above = (_open(a) for a in factors.border)
    rest = _less(_vector(b[-1]), _times(below, inner[-1]), _times(above, _after(inner[0])))
    last = _separators(factors, _close(rest))
    before = _before(last)
    moved = _less(
        _vector(inner, 1),
        _times(_open(factors.left, 1), before[None], 1),
        _times(_open(factors.right, 1), last[None], 1),
    )
    return jnp.concatenate([_close(moved, 1), last[None]])


def product(lower: Array, diagonal: Array, upper: Array, x: Array) -> Array:
    """The matrix times a vector of shape ``(steps, m, lanes)``."""
    before = jnp.concatenate([_before(x[-1])[None], x[:-1]])
    after = jnp.concatenate([x[1:], _after(x[0])[None]])
    pairs = (lower, before), (diagonal, x), (upper, after)
    return _sum(jnp.sum(a * v[:, None], axis=2) for a, v in pairs)


def inverses(blocks: Array) -> Array:
    """The inverses of blocks, ``(m, m, lanes)``; not finite where one is singular."""
    return _close(_inverse(_open(blocks)))


def times(blocks: Array, x: Array) -> Array:
    """The products of blocks with vectors of shape ``(m, lanes)``."""
    return _close(_times(_open(blocks), x))


def _eliminate(lower: Array, diagonal: Array, upper: Array) -> Sweep:
    """Block LU within each chunk.

    Only what recurs is in the loop: one compiled loop body computes each of its outputs anew.
    """

    def step(inverse: Array, row: tuple) -> tuple[Array, Array]:
        below, middle, above = (_open(a) for a in row)
        pivot = _less(middle, _product(_product(below, _open(inverse)), above))
        found = _close(_inverse(pivot))
        return found, found

    # The first block below belongs to the separator before the chunk: no row is above it here.
    none = jnp.zeros_like(diagonal[:1])
    shifted = jnp.concatenate([none, upper[:-1]])
    _, inverse = jax.lax.scan(step, none[0], (lower, diagonal, shifted))
    before = jnp.concatenate([none, inverse[:-1]])
    return Sweep(inverse, _products(lower, before), _products(inverse, upper))


def _columns(sweep: Sweep, first: Array) -> tuple[Array, Array]:
    """What the separators before (by the block `first`) and after each chunk do to its rows."""
    none = jnp.zeros_like(first)
    one = none + jnp.eye(first.shape[0], dtype=first.dtype)[:, :, None]

    def down(before: Array, below: Array) -> tuple[Array, Array]:
        found = _close(_negative(_product(_open(below), _open(before))))
        return found, found

    def up(after: Array, row: tuple) -> tuple[Array, Array]:
        right, above = _open(row[0]), _open(row[1])
        left = _less(right, _product(above, _open(after[0])))
        found = jnp.stack([_close(left), _close(_negative(_product(above, _open(after[1]))))])
        return found, found

    _, reduced = jax.lax.scan(down, first, sweep.below[1:])
    reduced = _products(sweep.inverse, jnp.concatenate([first[None], reduced]))
    start = jnp.stack([none, -one])
    _, columns = jax.lax.scan(up, start, (reduced, sweep.above), reverse=True)
    return columns[:, 0], columns[:, 1]


def _substitute(sweep: Sweep, b: Array) -> Array:
    """The solution within each chunk, for separators of value 0."""

    def down(before: Array, row: tuple) -> tuple[Array, Array]:
        below, right = row
        found = _close(_less(_vector(right), _times(_open(below), before)))
        return found, found

    def up(after: Array, row: tuple) -> tuple[Array, Array]:
        inverse, above, right = row
        found = _close(_less(_times(_open(inverse), right), _times(_open(above), after)))
        return found, found

    none = jnp.zeros_like(b[0])
    reduced = jax.lax.scan(down, none, (sweep.below, b))[1]
    return jax.lax.scan(up, none, (sweep.inverse, sweep.above, reduced), reverse=True)[1]


def _reduce(lower: Array, diagonal: Array, upper: Array) -> tuple[Any, Array]:
    """Cyclic reduction of the separators: each step couples rows twice as far apart."""

    def step(carry: tuple, distance: Array) -> tuple[tuple, tuple]:
        lower, diagonal, upper = carry
        inverse = _close(_inverse(_open(diagonal)))
        below = _whole(lower, _moved(inverse, -distance))
        above = _whole(upper, _moved(inverse, distance))
        found = (
            -_whole(below, _moved(lower, -distance)),
            diagonal
            - _whole(below, _moved(upper, -distance))
            - _whole(above, _moved(lower, distance)),
            -_whole(above, _moved(upper, distance)),
        )
        return found, (below, above)

    distances = _distances(diagonal.shape[-1])
    end, steps = jax.lax.scan(step, (lower, diagonal, upper), distances)
    return steps, _close(_inverse(_open(end[1])))


def _separators(factors: Factors, b: Array) -> Array:
    """The values of the separators."""

    def step(b: Array, row: tuple) -> tuple[Array, None]:
        distance, blocks = row
        below, above = (_open(a) for a in blocks)
        before, after = _moved(b, -distance), _moved(b, distance)
        return _close(_less(_vector(b), _times(below, before), _times(above, after))), None

    reduced, _ = jax.lax.scan(step, b, (_distances(b.shape[-1]), factors.reduction))
    return _close(_times(_open(factors.last), reduced))


def _distances(lanes: int) -> Array:
    return jnp.asarray(2 ** np.arange(max(1, (lanes - 1).bit_length())), jnp.int32)


def _moved(a: Array, distance: Array) -> Array:
    """The lanes that far on; zeros where there are none."""
    lanes = a.shape[-1]
    padded = jnp.pad(a, [(0, 0)] * (a.ndim - 1) + [(lanes, lanes)])
    return jax.lax.dynamic_slice_in_dim(padded, lanes + distance, lanes, axis=-1)


def _before(a: Array) -> Array:
    return jnp.concatenate([jnp.zeros_like(a[..., :1]), a[..., :-1]], axis=-1)


def _after(a: Array) -> Array:
    return jnp.concatenate([a[..., 1:], jnp.zeros_like(a[..., :1])], axis=-1)


# -- algebra of blocks: nested tuples of numbers if small, else arrays; the lanes come last -------
# `skip` axes precede the block: with one, all steps are treated at once.


def _open(a: Array, skip: int = 0) -> Any:
    m = a.shape[skip]
    if m > SMALL:
        return a
    rows = jnp.moveaxis(a, (skip, skip + 1), (0, 1)) if skip else a
    return tuple(tuple(rows[i, j] for j in range(m)) for i in range(m))


def _vector(a: Array, skip: int = 0) -> Any:
    m = a.shape[skip]
    return a if m > SMALL else tuple(jnp.moveaxis(a, skip, 0)[i] for i in range(m))


def _close(a: Any, skip: int = 0) -> Array:
    if not isinstance(a, tuple):
        return a
    if isinstance(a[0], tuple):
        return jnp.stack([jnp.stack(row, axis=skip) for row in a], axis=skip)
    return jnp.stack(a, axis=skip)


def _products(a: Array, b: Array) -> Array:
    """Products of the blocks of all steps."""
    m = a.shape[1]
    if m > MEDIUM:
        return jnp.einsum("sikp,skjp->sijp", a, b)
    return _sum(a[:, :, k, None] * b[:, k, None] for k in range(m))


def _product(a: Any, b: Any) -> Any:
    if isinstance(a, tuple):
        inner = range(len(b))
        return tuple(
            tuple(_sum(row[k] * b[k][j] for k in inner) for j in range(len(b))) for row in a
        )
    return _whole(a, b)


def _whole(a: Array, b: Array) -> Array:
    """The product of blocks that are not taken apart."""
    if a.shape[0] > MEDIUM:
        return jnp.einsum("ikp,kjp->ijp", a, b)
    return _sum(a[:, k, None] * b[None, k] for k in range(a.shape[0]))


def _times(a: Any, x: Array, skip: int = 0) -> Any:
    if isinstance(a, tuple):
        parts = _vector(x, skip)
        return tuple(_sum(e * v for e, v in zip(row, parts, strict=True)) for row in a)
    return jnp.sum(a * jnp.expand_dims(x, skip), axis=skip + 1)


def _sum(terms: Any) -> Any:
    first, *rest = terms
    for term in rest:
        first = first + term
    return first


def _less(a: Any, *others: Any) -> Any:
    return jax.tree.map(lambda x, *rest: x - _sum(rest), a, *others)


def _negative(a: Any) -> Any:
    return jax.tree.map(jnp.negative, a)


def _inverse(a: Any) -> Any:
    if isinstance(a, tuple):
        return _inverse_1(a) if len(a) == 1 else _inverse_2(a)
    if a.shape[0] > MEDIUM:
        # An infinite entry would leave a finite inverse, of zeros.
        finite = jnp.isfinite(a).all(axis=(0, 1), keepdims=True)
        inverse = jnp.moveaxis(jnp.linalg.inv(jnp.moveaxis(a, -1, 0)), 0, -1)
        return jnp.where(finite, inverse, jnp.nan)
    return _gauss_jordan(a)


def _reciprocal(a: Array) -> Array:
    """Not a number for 0 and for infinity: an inverse of 0 would look like a solution."""
    return jnp.where((a != 0) & jnp.isfinite(a), 1 / a, jnp.nan)


def _inverse_1(a: Any) -> Any:
    return ((_reciprocal(a[0][0]),),)


def _inverse_2(a: Any) -> Any:
    (p, q), (r, s) = a
    scale = _reciprocal(p * s - q * r)
    return (s * scale, -q * scale), (-r * scale, p * scale)


def _gauss_jordan(a: Array) -> Array:
    """Inverses of the blocks of all lanes, with pivoting by rows."""
    m = a.shape[0]
    unit = jnp.eye(m, dtype=a.dtype)[:, :, None]
    work = jnp.concatenate([a, jnp.broadcast_to(unit, a.shape)], axis=1)
    rows = jnp.arange(m)[:, None]
    for k in range(m):
        size = jnp.where(rows >= k, jnp.abs(work[:, k]), -1)
        chosen = rows == jnp.argmax(size, axis=0)[None]
        pivot = jnp.sum(jnp.where(chosen[:, None], work, 0), axis=0)
        work = jnp.where(chosen[:, None], work[k][None], work)
        pivot = pivot * _reciprocal(pivot[k])[None]
        work = work - work[:, k, None] * pivot[None]
        work = jnp.where((rows == k)[:, None], pivot[None], work)
    return work[:, m:]
