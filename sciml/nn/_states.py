"""The user's symbols as one vector, which a network takes and returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import sympy
from jaxtyping import Array

from sciml.dsl import (
    DataError,
    DeclarationError,
    Model,
    ShapeError,
    Unknown,
    concatenate,
    index,
    name_of,
    shape_of,
    stack,
    t,
)


def as_states(states: Any) -> tuple[Any, ...]:
    """Checked symbols: one unknown or several, numbers and vectors that are functions of time."""
    symbols = (states,) if isinstance(states, sympy.Basic) else tuple(states)
    if not symbols:
        raise DeclarationError('no state was given: declare one, x = sm.unknown("x", shape=2)')
    for symbol in symbols:
        if not isinstance(symbol, Unknown) or symbol.args != (t,):
            raise DeclarationError(
                f"{symbol} is no unknown: a state is declared as a function of time, "
                'x = sm.unknown("x", shape=2)'
            )
        if len(symbol.shape) > 1:
            raise ShapeError(
                f"{symbol} has shape {symbol.shape}: a network takes and returns vectors; declare "
                f"it with shape={int(np.prod(symbol.shape))}"
            )
    names = [name_of(symbol) for symbol in symbols]
    for name in names:
        if names.count(name) > 1:
            raise DeclarationError(f"{name} is given twice: name each state once")
    return symbols


def size_of(symbols: Sequence[Any]) -> int:
    """Number of elements of all symbols together."""
    return sum(int(np.prod(symbol.shape)) for symbol in symbols)


def joined(expressions: Sequence[Any]) -> Any:
    """Numbers and vectors as one vector."""
    if len(expressions) == 1 and shape_of(expressions[0]):
        return expressions[0]
    if not any(shape_of(e) for e in expressions):
        return stack(expressions)
    return concatenate([e if shape_of(e) else stack([e]) for e in expressions])


def parts(vector: Any, symbols: Sequence[Any]) -> list[Any]:
    """The parts of a vector that belong to each of the symbols, in their shapes."""
    if len(symbols) == 1 and shape_of(vector) == symbols[0].shape:
        return [vector]
    found, start = [], 0
    for symbol in symbols:
        size = int(np.prod(symbol.shape))
        if not shape_of(vector):  # a network with one output, and a vector of length 1
            found.append(stack([vector]))
        else:
            found.append(index(vector, slice(start, start + size) if symbol.shape else start))
        start += size
    return found


def starting(model: Model, state: Any) -> Model:
    """The model with another initial state, which may be traced."""
    state = jnp.asarray(state, model.dtype)
    if state.shape != model.initial.shape:
        names = ", ".join(piece.name for piece in model.states)
        raise DataError(
            f"the initial state of {names} has shape {model.initial.shape}, not {state.shape}; for "
            "several at once, map over the call by jax.vmap"
        )
    return eqx.tree_at(lambda m: m.initial, model, state)


def checked_times(times: Any, dtype: Any) -> Array:
    """Times as a vector."""
    times = jnp.asarray(times, dtype)
    if times.ndim != 1 or times.size < 2:
        raise DataError(
            f"times have shape {times.shape}: give the time of the initial state and at least one "
            "more, in one vector"
        )
    return times


def unpadded(times: Array) -> tuple[Array, Array]:
    """Increasing times for a series that is filled up by repeating its last one, and its number.

    What is behind the end goes on in steps of the mean length: a path needs increasing times.
    """
    rows = jnp.arange(len(times))
    last = jnp.sum(jnp.diff(times) > 0)
    step = (times[last] - times[0]) / jnp.maximum(last, 1).astype(times.dtype)
    beyond = times[last] + (rows - last).astype(times.dtype) * step
    return jnp.where(rows > last, beyond, times), last
