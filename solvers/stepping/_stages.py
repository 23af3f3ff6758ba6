"""A loop over stages, each made of the two before it, which reverse mode goes back through.

Equinox's loop keeps more states than a step has stages, and moves all of them at each: of a state
of 10 000 numbers that took most of the time of a gradient.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
from jaxtyping import Array

from ._common import as_own_kernels

_ROWS = 24  # states that are kept; of longer loops, where pieces of them begin

Field = Callable[[Any, Array], Array]
Stage = Callable[[Field, Any, Array, Array], Array]


def last_stage(
    stage: Stage, field: Field, count: Array, most: int, before: Array, now: Array
) -> Array:
    """The last of ``x[n + 1] = stage(field, n, x[n - 1], x[n])`` for n below a count.

    The count is at most `most`. More stages may be gone through, for an even number and, under
    `vmap`, for other members: from its count on, a stage has to return the state.
    """
    count = eqxi.unvmap_max(count)

    def convert(field: Field) -> Any:
        return eqx.filter_closure_convert(functools.partial(stage, field), count, before, now)

    both = convert(as_own_kernels(field)), convert(field)  # forwards, and to be differentiated
    return _last((*both, before, now), count, most)


@eqx.filter_custom_vjp
def _last(varied: Any, count: Array, most: int) -> Array:
    closed, _, before, now = varied

    def further(carry: tuple) -> tuple:
        n, before, now = carry
        return n + 1, now, closed(n, before, now)

    begun = jnp.zeros_like(count), before, now
    return jax.lax.while_loop(lambda carry: carry[0] < count, further, begun)[2]


@_last.def_fwd
def _forwards(perturbed: Any, varied: Any, count: Array, most: int) -> tuple[Array, Array]:
    """Keeps all states if there is room for them, and else the two with which a piece begins."""
    closed, _, before, now = varied
    rows, every = _rows(most), _every(count, most)
    kept = jnp.zeros((rows + 1, *now.shape), now.dtype).at[0].set(before)

    def row(n: Any) -> Any:
        piece, place = n // every, n % every
        found = jnp.where(place == 0, 2 * piece + 1, 2 * piece + 2)
        found = jnp.where((place == 0) | (place == every - 1), jnp.minimum(found, rows), rows)
        return jnp.where(every == 1, n + 1, found)

    def further(carry: tuple) -> tuple:
        pair, before, now, kept = carry
        for n in (2 * pair, 2 * pair + 1):
            kept = _put(kept, now, row(n))
            before, now = now, closed(n, before, now)
        return pair + 1, before, now, kept

    pairs = (count + 1) // 2  # XLA 0.10 leaves out a loop by steps of two that is one stage long
    begun = jnp.zeros_like(count), before, now, kept
    _, _, end, kept = jax.lax.while_loop(lambda carry: carry[0] < pairs, further, begun)
    return end, kept


@_last.def_bwd
def _backwards(
    kept: Array, cotangent: Array, perturbed: Any, varied: Any, count: Array, most: int
) -> Any:
    """The pieces from the last to the first; the states within one are made again."""
    closed, given, *_ = varied
    moving, fixed = eqx.partition(given, perturbed[1])
    every = _every(count, most)
    none = jax.tree.map(jnp.zeros_like, moving)

    def back_once(n: Any, before: Array, now: Array, carry: tuple) -> tuple:
        of_before, of_now, total = carry

        def stage(moving: Any, before: Array, now: Array) -> Array:
            return eqx.combine(moving, fixed)(n, before, now)

        more, new, own = jax.vjp(stage, moving, before, now)[1](of_now)
        return new, of_before + own, jax.tree.map(operator.add, total, more)

    def back(first: Any, states: Array, number: Any, carry: tuple) -> tuple:
        def one(n: Any, *carry: Any) -> tuple:
            return as_own_kernels(back_once)(first + n, _at(states, n), _at(states, n + 1), carry)

        def two(carry: tuple) -> tuple:
            pair, *rest = carry
            return pair - 1, *one(2 * pair, *one(2 * pair + 1, *rest))

        begun = (number + 1) // 2 - 1, *carry
        return jax.lax.while_loop(lambda carry: carry[0] >= 0, two, begun)[1:]

    def piece(carry: tuple) -> tuple:
        index, *rest = carry
        first = index * every
        number = jnp.minimum(every, count - first)
        before, now = _at(kept, 2 * index), _at(kept, 2 * index + 1)
        size = int(_longest(most)) + 2
        states = jnp.zeros((size, *now.shape), now.dtype).at[0].set(before).at[1].set(now)

        def further(carry: tuple) -> tuple:
            n, before, now, states = carry
            new = closed(first + n, before, now)
            return n + 1, now, new, _put(states, new, n + 2)

        begun = jnp.zeros_like(count), before, now, states
        needed = number - 1 + number % 2
        states = jax.lax.while_loop(lambda carry: carry[0] < needed, further, begun)[3]
        return index - 1, *back(first, states, number, tuple(rest))

    carry = jnp.zeros_like(cotangent), cotangent, none
    carry = back(0, kept, jnp.where(every == 1, count, 0), carry)
    pieces = jnp.where(every == 1, 0, -(-count // every))
    if most >= _rows(most):
        begun = pieces - 1, *carry
        carry = jax.lax.while_loop(lambda carry: carry[0] >= 0, piece, begun)[1:]
    of_before, of_now, total = carry
    nothing = jax.tree.map(lambda x, p: jnp.zeros_like(x) if p else None, closed, perturbed[0])
    begun = zip((of_before, of_now), perturbed[2:], strict=True)
    return nothing, total, *(c if p else None for c, p in begun)


def _rows(most: int) -> int:
    """How many states are kept; beyond them is a row for those that are not."""
    return min(most + 1, _ROWS)


def _every(count: Array, most: int) -> Array:
    """The length of a piece; 1 where all states are kept."""
    return jnp.where(count < _rows(most), 1, _longest(count))


def _longest(count: Any) -> Any:
    """How many stages a piece has, an even number, where so many are not all kept."""
    return -(-count // _ROWS) * 2


def _at(rows: Array, n: Any) -> Array:
    return jax.lax.dynamic_index_in_dim(rows, n, keepdims=False)


def _put(rows: Array, row: Array, n: Any) -> Array:
    return jax.lax.dynamic_update_index_in_dim(rows, row, n, 0)
